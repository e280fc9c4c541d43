"""Forecast loss, return and the compute-optimal configuration of a training run, with uncertainty.

    posterior = forecast.fit("nethack-transformer")    # or a file, a DataFrame, or what read_runs returned
    posterior.predict(3e7, 1e11)
    forecast.recommend(posterior, flops=1e19)
    forecast.plots.headline(posterior)

`forecast.plots` draws it. `forecast.classical` holds the methods it is measured against, `forecast.published` the
bundled tables.
"""

from forecast import plots
from forecast.bayes.fit import compare, fit, prior_predictive
from forecast.bayes.points import predict_points, read_points
from forecast.bayes.posterior import Posterior
from forecast.bayes.prediction import Prediction
from forecast.bayes.saved import load_posterior
from forecast.decide.next_runs import Plan, next_runs
from forecast.decide.recommend import Recommendation, recommend
from forecast.decide.required import Required, required
from forecast.errors import TableError
from forecast.published import datasets
from forecast.runs.read import read_columns, read_runs
from forecast.runs.table import Runs
from forecast.verify import backtest
from forecast.verify.outcome import Score, score

__all__ = [
    "Plan",
    "Posterior",
    "Prediction",
    "Recommendation",
    "Required",
    "Runs",
    "Score",
    "TableError",
    "backtest",
    "compare",
    "datasets",
    "fit",
    "load_posterior",
    "next_runs",
    "plots",
    "predict_points",
    "prior_predictive",
    "read_columns",
    "read_points",
    "read_runs",
    "recommend",
    "required",
    "score",
]
