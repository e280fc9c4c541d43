"""Forecast loss, return and the compute-optimal configuration of a training run, with uncertainty.

    posterior = forecast.fit("nethack-transformer")    # or a file, a DataFrame, or what read_runs returned
    posterior.predict(3e7, 1e11)
    forecast.recommend(posterior, flops=1e19)
    forecast.plots.headline(posterior)

`forecast.plots` draws it. `forecast.classical` holds the methods it is measured against, `forecast.published` the
bundled tables.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecast import classical, plots, published
    from forecast.bayes.fit import compare, fit, prior_predictive
    from forecast.bayes.points import predict_points, read_points
    from forecast.bayes.posterior import Posterior
    from forecast.bayes.prediction import Prediction
    from forecast.bayes.saved import load_posterior
    from forecast.decide.next_runs import Plan, next_runs
    from forecast.decide.recipes import Recipes, compare_recipes
    from forecast.decide.recommend import Recommendation, recommend
    from forecast.decide.required import Required, required
    from forecast.decide.watch import Watched, watch
    from forecast.errors import ForecastError, TableError
    from forecast.published.catalogue import datasets
    from forecast.runs.read import read_columns, read_runs
    from forecast.runs.table import Runs
    from forecast.verify import backtest
    from forecast.verify.outcome import Score, score

    __version__: str

__all__ = [
    "ForecastError",
    "Plan",
    "Posterior",
    "Prediction",
    "Recipes",
    "Recommendation",
    "Required",
    "Runs",
    "Score",
    "TableError",
    "Watched",
    "__version__",
    "backtest",
    "classical",
    "compare",
    "compare_recipes",
    "datasets",
    "fit",
    "load_posterior",
    "next_runs",
    "plots",
    "predict_points",
    "prior_predictive",
    "published",
    "read_columns",
    "read_points",
    "read_runs",
    "recommend",
    "required",
    "score",
    "watch",
]

_MODULES = {
    "bayes.fit": ("compare", "fit", "prior_predictive"),
    "bayes.points": ("predict_points", "read_points"),
    "bayes.posterior": ("Posterior",),
    "bayes.prediction": ("Prediction",),
    "bayes.saved": ("load_posterior",),
    "classical": (),
    "decide.next_runs": ("Plan", "next_runs"),
    "decide.recipes": ("Recipes", "compare_recipes"),
    "decide.recommend": ("Recommendation", "recommend"),
    "decide.required": ("Required", "required"),
    "decide.watch": ("Watched", "watch"),
    "errors": ("ForecastError", "TableError"),
    "plots": (),
    "published": (),
    "published.catalogue": ("datasets",),
    "runs.read": ("read_columns", "read_runs"),
    "runs.table": ("Runs",),
    "verify.backtest": (),
    "verify.outcome": ("Score", "score"),
}
"""Where each public name stands; a module without names is public itself, under the last part of its own."""
_PLACES = {name: f"{__name__}.{module}:{name}" for module, names in _MODULES.items() for name in names} | {
    module.rpartition(".")[2]: f"{__name__}.{module}" for module, names in _MODULES.items() if not names
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for (PEP 562): all of them together take seconds."""
    if name == "__version__":
        from importlib.metadata import version

        value = version("game-scaling")
    elif name in _PLACES:
        module, _, own = _PLACES[name].partition(":")
        value = getattr(import_module(module), own) if own else import_module(module)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
