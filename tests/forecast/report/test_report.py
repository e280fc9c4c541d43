"""The page and its figures: whole, true to the numbers, and the same twice."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forecast
from forecast.bayes.diagnostics import Diagnostics
from forecast.numbers import count, digits, plain, power, scientific
from forecast.report import figures
from forecast.report.figures.returns import return_axis
from forecast.report.figures.style import blank, spread
from forecast.report.figures.ticks import log_ticks
from forecast.report.page import write_report


class _Page(HTMLParser):
    """Addresses that the page loads, those it links to, and its text by cell."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self._in_cell = False
        self.source = page.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        if tag == "a":
            self.links.append(named["href"] or "")
        elif address := named.get("src") or named.get("href"):
            self.loads.append(address)
        if "id" in named:
            self.ids.append(named["id"] or "")
        if tag in ("td", "th"):
            self._in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def posterior() -> forecast.Posterior:
    return forecast.fit(forecast.read_runs("nethack-transformer"), chains=2, draws=100, warmup=100)


@pytest.fixture(scope="module")
def recommendation(posterior: forecast.Posterior) -> forecast.Recommendation:
    return forecast.recommend(posterior, flops=1e19)


@pytest.fixture(scope="module")
def view(posterior: forecast.Posterior, recommendation: forecast.Recommendation) -> figures.View:
    return figures.look(posterior, recommendation)


@pytest.fixture(scope="module")
def folder(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert write_report(posterior, [recommendation], out, replicates=0) == out / "index.html"
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> _Page:
    return _Page(folder / "index.html")


def test_page_is_self_contained(page: _Page) -> None:
    assert page.loads, "no figure on the page"
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.loads)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "@import" not in page.source
    assert "url(" not in page.source
    assert set(page.links) == {
        "https://github.com/princeton-nlp/il-scaling-in-games",
        "https://arxiv.org/abs/2307.09423",
    }
    assert len(page.source) < 4e6


def test_ids_are_unique(page: _Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_page_holds_the_recommendation(page: _Page, recommendation: forecast.Recommendation) -> None:
    assert recommendation.returns is not None
    at = page.cells.index("parameters N")
    assert page.cells[at + 1 : at + 3] == [count(recommendation.params), count(recommendation.optimum_params["median"])]
    at = page.cells.index("return of the new run")
    q = recommendation.returns
    wanted = [
        digits(q["median"]),
        *(f"{digits(q[a])} to {digits(q[b])}" for a, b in (("q25", "q75"), ("q05", "q95"))),
    ]
    assert page.cells[at + 2 : at + 5] == wanted
    assert recommendation.sentence in page.source


def test_sources_of_uncertainty_add_up(page: _Page, recommendation: forecast.Recommendation) -> None:
    at = page.cells.index("… and the noise of a run")
    q = recommendation.loss
    assert page.cells[at + 1] == f"{digits(q['q05'])} to {digits(q['q95'])}"
    widths = []
    for name in (
        "the law and the drift of its exponents",
        "… and its pace beyond the data",
        "… and the noise of a run",
    ):
        low, high = page.cells[page.cells.index(name) + 1].split(" to ")
        widths.append(float(high) - float(low))
    rounding = 0.001  # half of the last digit at either end
    assert widths[0] < widths[2]
    assert widths[0] <= widths[1] + rounding
    assert widths[1] <= widths[2] + 1.01 * rounding


def test_every_row_set_aside_is_listed(page: _Page, posterior: forecast.Posterior) -> None:
    listed = page.source.split("<details>")[1].split("</details>")[0]
    rows = [int(row) for row in re.findall(r"<tr>\s*<td>(\d+)</td>", listed)]
    assert rows == sorted(posterior.set_aside.index)
    for reason in posterior.set_aside.unique():
        assert listed.count(reason) == int((posterior.set_aside == reason).sum())


def test_notes_and_provenance_are_shown(page: _Page, posterior: forecast.Posterior) -> None:
    for note in posterior.runs.notes:
        assert note.split("`")[0].split("https")[0].split("'")[0] in page.source
    assert posterior.runs.sha256 in page.source


def test_failed_verdict_stands_above_the_recommendation(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, tmp_path: Path
) -> None:
    checks = posterior.diagnostics.checks.assign(passed=False)
    failed = replace(posterior, diagnostics=Diagnostics(checks=checks, diverging=posterior.diagnostics.diverging))
    text = write_report(failed, [recommendation], tmp_path, replicates=0).read_text(encoding="utf-8")
    between = text[text.index('<h2 id="recommendation">') : text.index(recommendation.sentence)]
    assert "DO NOT TRUST this forecast yet" in between
    assert "FAILED" in text


def test_same_forecast_gives_the_same_bytes(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, folder: Path, tmp_path: Path
) -> None:
    write_report(posterior, [recommendation], tmp_path, replicates=0)
    for first in sorted(p for p in folder.rglob("*") if p.is_file()):
        assert (tmp_path / first.relative_to(folder)).read_bytes() == first.read_bytes(), first.name


def test_comparison_timings_and_command_are_shown_where_given(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, tmp_path: Path
) -> None:
    names = ["law", "elpd", "se", "difference", "difference_se", "pareto_k_high"]
    table = pd.DataFrame(
        [["additive", 123.4, 5.6, 0.0, 0.0, 0.25], ["drifting", 100.0, 6.0, -23.4, 4.0, 0.1]], columns=names
    )
    out = write_report(
        posterior, [recommendation], tmp_path, comparison=table, timings={"fit": 12.34}, command="x <&> y", replicates=0
    )
    page = _Page(out)
    at = page.cells.index("additive")
    assert page.cells[at + 1 : at + 6] == ["123.4", "5.6", "0.0", "0.0", "25%"]
    assert "−23.4" in page.cells
    assert "fit 12.3 s" in page.source
    assert "x &lt;&amp;&gt; y" in page.source


def test_no_recommendation_is_refused(posterior: forecast.Posterior, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recommendation"):
        write_report(posterior, [], tmp_path)


def test_table_without_returns(posterior: forecast.Posterior, tmp_path: Path) -> None:
    table = posterior.runs.table.drop(columns=["return_mean", "return_se", "episodes"])
    posterior = replace(posterior, runs=forecast.read_runs(table), spec=replace(posterior.spec, returns=False))
    found = forecast.recommend(posterior, flops=1e17)
    page = _Page(write_report(posterior, [found], tmp_path, replicates=0))
    assert "return of the new run" not in page.cells
    assert "within the compute of the table" in page.source
    assert not (tmp_path / "figures" / "all-return_on_loss.svg").exists()


@pytest.fixture
def score(recommendation: forecast.Recommendation, tmp_path: Path) -> forecast.Score:
    """The recommendation, and two seeds that carried it out, one of them a miss."""
    file = tmp_path / "recommendation.toml"
    file.write_text(recommendation.to_toml(), encoding="utf-8")
    row = {c: getattr(recommendation, c) for c in ("params", "samples", "flops")}
    seeds = [
        {
            **row,
            "run": f"s{k}",
            "loss": loss,
            "loss_se": 0.001,
            "return_mean": 5000.0,
            "return_se": 200.0,
            "episodes": 9,
        }
        for k, loss in enumerate((float(recommendation.loss["median"]), 0.3))  # type: ignore[index]
    ]
    return forecast.score(file, forecast.read_runs(pd.DataFrame(seeds), to_fit=False))


def test_page_shows_the_outcome_of_the_forecast(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, score: forecast.Score, tmp_path: Path
) -> None:
    page = _Page(write_report(posterior, [recommendation], tmp_path / "out", scores=[score], replicates=0))
    assert score.sentence in page.source
    assert "1 of 2 inside the 90% interval" in page.source
    assert "Forecast and outcome" in page.source
    at = page.cells.index("percentile of the outcome")
    assert page.cells[at + 1] == "50%"
    assert page.cells[at + 3] == ">99%"
    assert (tmp_path / "out" / "figures" / "all-outcome.svg").exists()
    assert len(page.ids) == len(set(page.ids))


def test_outcomes_and_frozen_intervals_are_drawn_in_place(view: figures.View, score: forecast.Score) -> None:
    figure = figures.outcome(view, score)
    assert len(figure.axes) == 2
    for axes, target in zip(figure.axes, ("loss", "return"), strict=True):
        stars = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "*"]
        wanted = [[o.flops, s.outcome] for o in score.outcomes for s in o.scores if s.target == target]
        assert [s[0] for s in stars] == wanted
        low, high = axes.get_ylim()
        assert all(low < y < high for _, y in wanted)
        promised = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2]
        five = score.frozen.five[target]
        assert [five["q05"], five["q95"]] in promised


def test_a_forecast_of_another_table_or_group_is_not_shown(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, score: forecast.Score, tmp_path: Path
) -> None:
    other = replace(score, frozen=replace(score.frozen, sha256="0" * 64))
    with pytest.raises(ValueError, match="made from another table"):
        write_report(posterior, [recommendation], tmp_path, scores=[other], replicates=0)
    other = replace(score, frozen=replace(score.frozen, group="chess"))
    with pytest.raises(ValueError, match="'chess', and the report shows all"):
        write_report(posterior, [recommendation], tmp_path, scores=[other], replicates=0)
    with pytest.raises(ValueError, match="two of the scored forecasts are of one group"):
        write_report(posterior, [recommendation], tmp_path, scores=[score, score], replicates=0)


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
    marked = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "D"]
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
    _, (axes,) = blank(height=3.0)
    return_axis(axes, np.array(seen), np.array([0.3, 400.0]))
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


def test_numbers_as_people_read_them() -> None:
    assert [count(x) for x in (725, 999.6, 188793, 31e6, 5.6e9, 171e9, 999_900)] == [
        "725", "1 k", "189 k", "31 M", "5.6 B", "171 B", "1 M",
    ]  # fmt: skip
    assert [digits(x) for x in (0.14, 1.28, 5517, -0.03, 0, 0.9996, float("nan"))] == [
        "0.140", "1.28", "5,520", "−0.0300", "0", "1.00", "–",
    ]  # fmt: skip
    assert [plain(x) for x in (0.14, 5.0, 1000, 17500, 0.0005)] == ["0.14", "5", "1,000", "17,500", "0.0005"]
    assert [scientific(x) for x in (1e19, 2.05e17, 9.999e18)] == ["1e19", "2.05e17", "1e19"]
    assert [power(x) for x in (1e18, 2e18)] == ["$10^{18}$", r"$2{\cdot}10^{18}$"]


def test_labels_are_spread_apart_and_kept_inside() -> None:
    assert spread([0.2, 0.6], 0.1) == pytest.approx([0.2, 0.6])
    assert spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert spread([0.0, 0.0, 0.9, 1.0, 1.0], 0.1) == pytest.approx([0.0, 0.1, 0.8, 0.9, 1.0])
