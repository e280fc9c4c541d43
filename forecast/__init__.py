"""Forecast loss, return and the compute-optimal configuration of a training run, with uncertainty.

    runs = forecast.read_runs("nethack-transformer")
    posterior = forecast.fit(runs)
    posterior.predict(3e7, 1e11).table()
    forecast.recommend(posterior, flops=1e19)

`forecast.classical` holds the methods it is measured against, `forecast.published` the bundled tables.
"""

from forecast.sampler import prepare_jax

prepare_jax()  # before anything touches jax, which settles its devices once

from forecast import backtest  # noqa: E402
from forecast.fit import compare, fit, prior_predictive  # noqa: E402
from forecast.points import predict_points, read_points  # noqa: E402
from forecast.posterior import Posterior, Prediction, load_posterior  # noqa: E402
from forecast.published import datasets  # noqa: E402
from forecast.recommend import Recommendation, Required, recommend, required  # noqa: E402
from forecast.runs import Runs, TableError, read_columns, read_runs  # noqa: E402

__all__ = [
    "Posterior",
    "Prediction",
    "Recommendation",
    "Required",
    "Runs",
    "TableError",
    "backtest",
    "compare",
    "datasets",
    "fit",
    "load_posterior",
    "predict_points",
    "prior_predictive",
    "read_columns",
    "read_points",
    "read_runs",
    "recommend",
    "required",
]
