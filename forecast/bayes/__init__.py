"""The Bayesian fit: sampling, diagnostics, and the posterior it ends with."""

from forecast.bayes.diagnostics import Diagnostics
from forecast.bayes.fit import compare, fit, prior_predictive
from forecast.bayes.points import predict_points, read_points
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import Prediction
from forecast.bayes.saved import load_posterior

__all__ = [
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
