"""The Bayesian fit: laws, model and priors, which rows count, sampling, diagnostics, and the posterior it ends with."""

from forecast.bayes.diagnostics import Diagnostics
from forecast.bayes.fit import compare, fit, prior_predictive
from forecast.bayes.laws import LAWS
from forecast.bayes.points import predict_points, read_points
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import Prediction
from forecast.bayes.saved import load_posterior

__all__ = [
    "LAWS",
    "Diagnostics",
    "Posterior",
    "Prediction",
    "compare",
    "fit",
    "load_posterior",
    "predict_points",
    "prior_predictive",
    "read_points",
]
