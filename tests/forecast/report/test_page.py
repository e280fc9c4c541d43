"""The page: whole, true to the numbers, and the same twice."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import forecast
from forecast.bayes.diagnostics import Diagnostics
from forecast.numbers import count, digits, plain, power, scientific
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
    assert all(address.startswith("data:image/svg+xml;charset=utf-8,<svg") for address in page.loads)
    assert not {"link", "iframe"} & set(page.tags)
    assert not re.search(r"<script[^>]* src=", page.source)
    assert "@import" not in page.source
    assert not re.search(r"url\((?!%23)", page.source)  # but for what clips a figure's lines
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(", page.source)
    assert set(page.links) == {
        "https://github.com/princeton-nlp/il-scaling-in-games",
        "https://arxiv.org/abs/2307.09423",
    }
    assert len(page.source) < 1e6


def test_ids_are_unique(page: _Page) -> None:
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize(("first", "second"), [("diagnostics", "diagnostics-sure"), ("a b", "a-b")])
def test_no_name_of_a_group_breaks_the_page(
    report_of_two: Callable[..., Path], tmp_path: Path, first: str, second: str
) -> None:
    page = _Page(report_of_two(first, second, tmp_path))
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert {first, second} <= set(page.cells)
    pictures = [path.name for path in (tmp_path / "figures").glob("*-headline.svg")]
    assert len(pictures) == 2


def test_page_holds_the_recommendation(page: _Page, recommendation: forecast.Recommendation) -> None:
    assert recommendation.returns is not None
    assert recommendation.sentence in page.source
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
    listed = page.source.split('<details class="listed">')[1].split("</details>")[0]
    rows = [int(row) for row in re.findall(r'<tr>\s*<td data-label="row">(\d+)</td>', listed)]
    assert rows == sorted(posterior.set_aside.index)
    for reason in posterior.set_aside.unique():
        assert listed.count(reason) == int((posterior.set_aside == reason).sum())


def test_notes_and_provenance_are_shown(page: _Page, posterior: forecast.Posterior) -> None:
    for note in posterior.runs.notes:
        assert note.split("`")[0].split("https")[0].split("'")[0] in page.source
    assert posterior.runs.sha256 in page.source


@pytest.mark.parametrize(
    ("checks", "told"),
    [(slice(None), "DO NOT TRUST this forecast yet"), (["number of model sizes"], "Take this forecast with care")],
)
def test_verdict_stands_above_the_recommendation(
    posterior: forecast.Posterior, tmp_path: Path, checks: Any, told: str
) -> None:
    table = posterior.diagnostics.checks.set_index("check")
    table.loc[checks, "passed"] = False
    diagnostics = Diagnostics(checks=table.reset_index(), diverging=posterior.diagnostics.diverging)
    failed = replace(posterior, diagnostics=diagnostics)
    recommendation = forecast.recommend(failed, flops=1e17)
    text = write_report(failed, [recommendation], tmp_path, replicates=0).read_text(encoding="utf-8")
    between = text[text.index('<h2 id="recommendation">') : text.index(recommendation.sentence)]
    assert told in between
    assert ("FAILED" in text) == told.startswith("DO NOT")
    assert "take care" in text


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


def test_page_shows_the_outcome_of_the_forecast(
    posterior: forecast.Posterior, recommendation: forecast.Recommendation, score: forecast.Score, tmp_path: Path
) -> None:
    page = _Page(write_report(posterior, [recommendation], tmp_path / "out", scores=[score], replicates=0))
    assert score.sentence in page.source
    assert "1 of 2 inside the 90% interval" in page.source
    assert "Forecast and outcome" in page.source
    at = page.cells.index("percentile of the outcome")
    assert page.cells[at + 1] == "50th"
    assert page.cells[at + 3] == "above 99th"
    assert (tmp_path / "out" / "figures" / "all-outcome-loss.svg").exists()
    assert len(page.ids) == len(set(page.ids))


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


def test_numbers_as_people_read_them() -> None:
    assert [count(x) for x in (725, 999.6, 188793, 31e6, 5.6e9, 171e9, 999_900)] == [
        "725", "1 k", "189 k", "31 M", "5.6 B", "171 B", "1 M",
    ]  # fmt: skip
    assert [digits(x) for x in (0.14, 1.28, 5517, -0.03, 0, 0.9996, float("nan"))] == [
        "0.140", "1.28", "5,520", "−0.0300", "0", "1.00", "–",
    ]  # fmt: skip
    assert [plain(x) for x in (0.14, 5.0, 1000, 17500, 0.0005)] == ["0.14", "5", "1,000", "17,500", "0.0005"]
    assert [scientific(x) for x in (1e19, 2.05e17, 9.999e18)] == ["1e19", "2.05e17", "1e19"]
    assert [power(x) for x in (1e18, 2e18)] == ["10¹⁸", "2·10¹⁸"]
