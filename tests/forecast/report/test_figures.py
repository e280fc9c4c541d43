"""Figures: what they draw is what the forecast says, on axes and with ticks and labels that can be read."""

from itertools import combinations, pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

import forecast
from forecast.report import figures
from forecast.report.figures import drawn, style
from forecast.report.figures.returns import return_axis
from forecast.report.figures.style import SMALL, paint
from forecast.report.figures.ticks import log_ticks


@pytest.fixture(scope="module")
def view(posterior: forecast.Posterior, recommendation: forecast.Recommendation) -> figures.View:
    return figures.look(posterior, recommendation)


def test_outcomes_and_frozen_intervals_are_drawn_in_place(view: figures.View, score: forecast.Score) -> None:
    assert figures.scored_targets(score) == ["loss", "return"]
    for target in ("loss", "return"):
        (axes,) = figures.outcome(view, score, target).axes
        stars = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "*"]
        wanted = [[o.flops, s.outcome] for o in score.outcomes for s in o.scores if s.target == target]
        assert [s[0] for s in stars] == wanted
        low, high = axes.get_ylim()
        assert all(low < y < high for _, y in wanted)
        promised = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
        five = score.frozen.five[target]
        assert [five["q05"], five["q95"]] in promised


@pytest.mark.parametrize("limits", [{"max_samples": 3e9}, {"max_params": 5e7}])
def test_the_drawn_path_keeps_the_limits_of_the_recommendation(
    posterior: forecast.Posterior, limits: dict[str, float]
) -> None:
    wanted = forecast.recommend(posterior, flops=1e19, **limits)
    view = figures.look(posterior, wanted)
    at = np.flatnonzero(view.frontier.flops == wanted.flops)[0]
    assert view.frontier.chosen_params[at] == pytest.approx(wanted.params, rel=1e-6)
    assert view.frontier.chosen_samples[at] == pytest.approx(wanted.samples, rel=1e-6)
    assert wanted.loss is not None
    assert np.median(view.path.loss[:, at]) == pytest.approx(wanted.loss["median"], rel=0.02)  # another run's luck


def test_figures_keep_matplotlibs_settings(view: figures.View) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.svg(figures.headline(view))
    assert dict(matplotlib.rcParams) == before


def test_headline_marks_the_recommendation(view: figures.View) -> None:
    axes = figures.headline(view).axes[0]
    returns = view.recommendation.returns
    assert returns is not None
    marked = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "_"]
    assert marked == [[[view.recommendation.flops, returns["median"]]]]


def test_frontier_is_no_worse_than_any_size_on_the_budget(view: figures.View) -> None:
    i = int(np.argmin(np.abs(view.frontier.flops - 1e18)))
    budget = float(view.frontier.flops[i])
    sizes = np.geomspace(1e5, 1e9, 60)
    loss = np.exp(view.few.log_loss(sizes, budget / view.few.cost["all"](sizes), group="all"))
    assert np.all(view.frontier.best[:, i] <= loss.min(axis=1) * 1.002)
    spent = view.few.cost["all"](view.frontier.params[:, i]) * view.frontier.samples[:, i]
    np.testing.assert_allclose(spent, budget)


def test_path_at_the_budget_is_the_recommended_run(view: figures.View) -> None:
    i = int(np.flatnonzero(view.frontier.flops == view.recommendation.flops)[0])
    assert view.path.returns is not None
    assert view.recommendation.returns is not None
    np.testing.assert_allclose(np.median(view.path.returns[:, i]), view.recommendation.returns["median"], rtol=0.02)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (1e14, 1e18, [1e14, 1e15, 1e16, 1e17, 1e18]),
        (1e10, 1e21, [1e10, 1e12, 1e14, 1e16, 1e18, 1e20]),  # every second power of ten
        (3e5, 2e8, [3e5, 1e6, 3e6, 1e7, 3e7, 1e8]),
        (2000, 7e4, [2000, 5000, 1e4, 2e4, 5e4]),
        (8.0, 70.0, [10, 15, 20, 30, 50, 70]),
        (0.15, 0.31, [0.15, 0.2, 0.25, 0.3]),
        (100.0, 101.0, [100, 100.2, 100.4, 100.6, 100.8, 101]),  # no round number but one: even steps
    ],
)
def test_log_ticks(low: float, high: float, wanted: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(wanted, rel=1e-12)


def test_log_ticks_refuse_what_has_no_logarithm() -> None:
    with pytest.raises(ValueError, match="give 0 < low < high"):
        log_ticks(0.0, 1.0)


def test_log_ticks_are_few_and_inside() -> None:
    rng = np.random.default_rng(0)
    for low, ratio in zip(10 ** rng.uniform(-6, 20, 300), 10 ** rng.uniform(0.01, 15, 300), strict=True):
        found = log_ticks(low, low * ratio)
        assert 3 <= len(found) <= 10, (low, ratio, found)
        assert low * (1 - 1e-8) <= found[0] < found[-1] <= low * ratio * (1 + 1e-8)


@pytest.mark.parametrize(
    ("seen", "scale"),
    [
        ([0.5, 3.0, 90.0], "log"),
        ([0.0, 0.5, 3.0, 90.0], "symlog"),  # one zero must not flatten all the rest
        ([-0.2, 0.5, 3.0, 90.0], "symlog"),
        ([-20.0, 0.5, 3.0, 20.0], "linear"),
        ([40.0, 90.0], "linear"),
        ([0.0, 0.0], "linear"),
        ([-3.0, -1.0], "linear"),
    ],
)
def test_axis_of_returns_shows_each_row(seen: list[float], scale: str) -> None:
    def draw(axes: Axes) -> list[Artist]:
        return_axis(axes, np.array(seen), np.array([0.3, 400.0]))
        return []

    (axes,) = paint(SMALL, draw).axes
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    assert low < min(seen)
    assert high > 400
    if scale == "symlog":
        ticks = axes.get_yticks()
        assert ticks[0] == 0
        assert {1.0, 10.0, 100.0} <= set(ticks)
        heights = axes.transData.transform([(0.0, y) for y in (low, 0.5, high)])[:, 1]
        assert (heights[1] - heights[0]) / (heights[2] - heights[0]) < 0.25


SHOWN = {
    "headline": lambda view: figures.headline(view),
    "narrow": lambda view: figures.headline(view, figures.SMALL),
    "tile": figures.tile,
    "isoflop": figures.isoflop,
    "frontier": figures.frontier,
    "optimum": lambda view: figures.optimum(view, "params"),
    "returns": figures.return_on_loss,
    "regret": figures.regret,
}


@pytest.mark.parametrize("name", SHOWN)
def test_nothing_in_a_figure_is_cut_off_or_hidden(view: figures.View, name: str) -> None:
    figure = SHOWN[name](view)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    whole = figure.bbox
    for legend in figure.legends:
        for text in legend.get_texts():
            box = text.get_window_extent(canvas.get_renderer())
            assert box.x1 <= whole.x1 + 1, text.get_text()
            assert box.y0 >= whole.y0 - 1, text.get_text()
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in legend.get_texts()]
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        boxes = [label.get_window_extent(canvas.get_renderer()) for label in axis.get_ticklabels() if label.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes)), [label.get_text() for label in axis.get_ticklabels()]


def test_svg_joins_points_and_keeps_each(view: figures.View) -> None:
    text = figures.svg(figures.headline(view)).decode()
    root = ElementTree.fromstring(text)
    paths = [path.get("d", "") for path in root.iter("{http://www.w3.org/2000/svg}path")]
    near = int(view.near.sum())
    played = view.table["return_mean"].notna()
    assert sum(d.count("h0") for d in paths) >= int((played & view.table["aside"].isna()).sum()) >= near
    assert text.count("<use") < 60  # ticks and keys; a point has no element of its own
    assert "prefers-color-scheme:dark" in text
    assert "<text" in text


@pytest.mark.parametrize("colour", [style.INK, style.QUIET, style.FORECAST, style.CHOSEN, style.OUTCOME])
def test_colours_of_words_and_lines_can_be_seen_in_the_dark(colour: str) -> None:
    def light(of: str) -> float:
        parts = [int(of[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert (light(drawn._DARK[colour]) + 0.05) / (light(drawn._DARK["#ffffff"]) + 0.05) > 4.5
    assert 1.05 / (light(colour) + 0.05) > 3
