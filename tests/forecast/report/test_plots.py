"""Public plots: each draws into the axes it is given and returns them, and what it draws is what the report shows."""

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import forecast
from forecast import plots
from forecast.errors import ForecastError
from forecast.report import figures
from forecast.report.figures import asked
from forecast.verify.scores import Backtest, bundled_backtest

ROOT = Path(__file__).parents[3]

OF_POSTERIOR = ("frontier", "headline", "isoflop", "optimum", "regret", "return_on_loss")


@pytest.fixture(autouse=True)
def _no_windows():
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def found(posterior: forecast.Posterior) -> Backtest:
    backtest = bundled_backtest(posterior.runs)
    assert backtest is not None
    return backtest


@pytest.fixture(scope="module")
def view(posterior: forecast.Posterior, recommendation: forecast.Recommendation) -> figures.View:
    return figures.look(posterior, recommendation)


@pytest.fixture(scope="module")
def better(posterior: forecast.Posterior) -> forecast.Posterior:
    """The same recipe with lower losses."""
    level = posterior.draws["level_shift@0"] - 1.0
    runs = replace(posterior.runs, source="better.csv")
    return replace(posterior, runs=runs, draws={**posterior.draws, "level_shift@0": level})


def drawn(axes: Axes) -> list[list[list[float]]]:
    """Points of every line and scatter, in order."""
    return [line.get_xydata().tolist() for line in axes.lines] + [
        points.get_offsets().tolist()
        for points in axes.collections
        if len(points.get_offsets()) > 1 and not isinstance(points, mpl.collections.PolyCollection)
    ]


@pytest.mark.parametrize("name", OF_POSTERIOR)
def test_a_plot_draws_what_the_report_does_where_told(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, view: figures.View, name: str
) -> None:
    figure, (first, second) = plt.subplots(1, 2)
    returned = getattr(plots, name)(posterior, recommendation=recommendation, ax=second)
    assert returned is second
    assert not first.has_data()
    assert plt.get_fignums() == [figure.number]
    report = figures.optimum(view, "params") if name == "optimum" else getattr(figures, name)(view)
    assert drawn(second) == drawn(report.axes[0])
    figure.canvas.draw()


def test_without_axes_a_plot_makes_its_figure(posterior: forecast.Posterior) -> None:
    before = dict(mpl.rcParams)
    axes = plots.optimum(posterior, of="samples")
    assert plt.get_fignums() == [axes.figure.number]
    assert axes.get_ylabel() == "best samples D"
    budget = 10 * posterior.largest_flops()
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(diamonds, budget)
    assert dict(mpl.rcParams) == before


def test_outcome_and_backtest_are_drawn(posterior: forecast.Posterior, score: forecast.Score, found: Backtest) -> None:
    axes = plots.outcome(posterior, score, target="return")
    assert [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "*"] == [5000.0, 5000.0]
    axes = plots.backtest(found, "nethack-transformer", method="power_law")
    assert axes.get_ylabel().startswith("loss")
    table, excess = posterior.runs.group_table("all"), posterior.runs.frontier_excess()
    assert drawn(axes) == drawn(figures.past_forecasts(table, excess, found, "all", "power_law").axes[0])


def test_a_plot_names_what_it_draws(posterior: forecast.Posterior) -> None:
    legend = plots.frontier(posterior).get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert {"median", "90% interval", "power law", "Huber", "within 5% of the best", "beyond the data"} <= set(names)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p, s, b: plots.headline(p.runs), "posterior is a Runs"),
        (lambda p, s, b: plots.headline(p, ax=plt.figure()), "ax is a Figure; give matplotlib Axes"),
        (lambda p, s, b: plots.regret(p, recommendation=1e19), r"recommendation is 1e\+19; give what forecast.recomm"),
        (lambda p, s, b: plots.optimum(p, of="loss"), "of 'loss' does not exist; choose one of params, samples"),
        (lambda p, s, b: plots.isoflop(p, group="chess"), "no group 'chess'"),
        (lambda p, s, b: plots.outcome(p, s, target="elo"), "target 'elo' does not exist"),
        (lambda p, s, b: plots.outcome(p, p), "score is a Posterior"),
        (lambda p, s, b: plots.backtest(b, p.runs, method="mine"), "method 'mine' does not exist"),
        (lambda p, s, b: plots.backtest(p.runs, p.runs), "found is a Runs"),
        (lambda p, s, b: plots.backtest(b, "atari-cnn"), "several groups; name one"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(
    posterior: forecast.Posterior, score: forecast.Score, found: Backtest, draw, message: str
) -> None:
    with pytest.raises(ForecastError, match=message):
        draw(posterior, score, found)
    assert not [n for n in plt.get_fignums() if plt.figure(n).axes]


def test_every_public_plot_says_what_it_takes() -> None:
    for name in plots.__all__:
        function = getattr(plots, name)
        assert function.__doc__
        assert "ax" in function.__wrapped__.__code__.co_varnames


def test_answers_to_further_questions_are_drawn(posterior: forecast.Posterior) -> None:
    watched = forecast.watch(posterior, run="z8l5ifb2", samples=3e9)
    axes = plots.watched(posterior, watched)
    assert axes.lines[1].get_ydata()[-1] == pytest.approx(watched.loss["median"])
    assert axes.lines[1].get_xdata()[-1] == pytest.approx(3e9)
    plan = forecast.next_runs(posterior, target_flops=1e19, spend=1e18)
    offsets = plots.plan(posterior, plan).collections[-1].get_offsets().tolist()
    assert offsets == plan.runs[["flops", "params"]].to_numpy().tolist()
    for wrong in (lambda: plots.watched(posterior, plan), lambda: plots.plan(posterior, watched)):
        with pytest.raises(ForecastError, match="found is a"):
            wrong()


def test_two_recipes_are_drawn(posterior: forecast.Posterior, better: forecast.Posterior) -> None:
    found = forecast.compare_recipes(posterior, better)
    medians = plots.recipes(found).lines[1].get_ydata()
    at = int(np.argmin(abs(np.log(found.reached["flops"] / found.flops))))
    assert medians[at] == pytest.approx(found.values[1]["median"])
    saved = plots.recipes(found, of="saved").lines[0].get_ydata()
    assert saved[at] == pytest.approx(found.compute["median"])
    with pytest.raises(ForecastError, match="of 'more' does not exist"):
        plots.recipes(found, of="more")


@pytest.mark.parametrize("name", ["$x$", "$\\frac$", "L" * 300, "{x} %s"])
def test_a_recipe_of_any_name_is_drawn(posterior: forecast.Posterior, better: forecast.Posterior, name: str) -> None:
    found = replace(forecast.compare_recipes(posterior, better), names=(name, "b"))
    for of in ("reached", "saved"):
        axes = plots.recipes(found, of=of)
        axes.figure.canvas.draw()
    assert axes.xaxis.label.get_window_extent().width < axes.figure.bbox.width
    legend = plots.recipes(found).get_legend()
    assert legend is not None
    shown = legend.get_texts()[0].get_text().replace(r"\$", "$")
    assert shown == (name if len(name) < 25 else "LLLLLLLLLLLL…LLLLLLLLLLLL")


def test_letters_that_the_font_lacks_warn_nobody(posterior: forecast.Posterior, better: forecast.Posterior) -> None:
    found = replace(forecast.compare_recipes(posterior, better), names=("日本", "b"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "日本" in figures.svg(asked.reached(found)).decode()


def test_a_notebook_stays_interactive_after_a_plot(tmp_path: Path) -> None:
    """As a notebook's, this backend makes matplotlib interactive when it is loaded, which is when a figure is made."""
    (tmp_path / "inline_backend.py").write_text(
        "import matplotlib\n"
        "from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas\n"
        "matplotlib.interactive(True)\n"
    )
    code = (
        "import forecast\nfrom matplotlib import pyplot as plt\n"
        f"forecast.plots.isoflop(forecast.load_posterior({str(ROOT / 'tests/data/posterior.nc')!r}))\n"
        "print(plt.isinteractive())"
    )
    place = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "MPLBACKEND": "module://inline_backend"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=place)
    assert done.stdout == "True\n", done.stderr
