"""What a session shows: a few lines of text for every result, and a table in a notebook that no name can break."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

import forecast
from forecast.model.encode import encode
from forecast.runs.cost import group_costs
from forecast.verify.scores import bundled_backtest

HOSTILE = "<script>alert('x')</script>"


class _Table(HTMLParser):
    """Tags and the texts of the cells."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.cells = set(), []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def hostile(additive, planted):
    """A posterior whose group and source are markup."""
    runs = replace(forecast.read_runs(planted(0).assign(group=HOSTILE)), source="<b>.csv")
    return replace(additive, runs=runs, encoding=encode(runs), cost=group_costs(runs), paces={})


@pytest.fixture(scope="module")
def results(nethack, hostile, tmp_path_factory):
    recommendation = forecast.recommend(nethack, flops=1e19)
    frozen = tmp_path_factory.mktemp("reprs") / "recommendation.toml"
    frozen.write_text(recommendation.to_toml())
    row = {"params": recommendation.params, "samples": recommendation.samples, "flops": recommendation.flops}
    outcome = nethack.runs.table.head(1).assign(**row, loss=0.14, return_mean=5000.0)
    return {
        "Runs": hostile.runs,
        "Posterior": hostile,
        "Prediction": hostile.predict([1e6, 1e7], 1e9),
        "Recommendation": recommendation,
        "Required": forecast.required(hostile, loss=0.5),
        "Plan": forecast.next_runs(hostile, target_flops=1e20, spend=1e19, count=2),
        "Score": forecast.score(frozen, outcome),
        "Diagnostics": hostile.diagnostics,
        "Backtest": bundled_backtest(nethack.runs),
    }


NAMES = ["Runs", "Posterior", "Prediction", "Recommendation", "Required", "Plan", "Score", "Diagnostics", "Backtest"]


@pytest.mark.parametrize("name", NAMES)
def test_text_is_short_and_html_is_a_table(results, name):
    result = results[name]
    assert type(result).__name__ == name
    assert len(repr(result)) < 700
    assert len(repr(result).splitlines()) <= 7
    table = _Table(result._repr_html_())
    assert {"table", "th", "td"} <= table.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert not any("array(" in cell or "e+0" in cell for cell in table.cells)


@pytest.mark.parametrize("name", ["Runs", "Posterior"])
def test_names_of_others_are_escaped_in_html(results, name):
    source = results[name]._repr_html_()
    assert HOSTILE not in source
    assert "&lt;script&gt;" in source
    assert "&lt;b&gt;.csv" in source
    assert HOSTILE in _Table(source).cells


def test_a_prediction_tells_its_first_points_in_words(additive):
    text = repr(additive.predict([1e7] * 9, 1e9))
    assert text.startswith("Prediction of 9 new runs")
    assert text.count("10 M parameters, 1 B samples: loss ") == 5
    assert text.endswith("and 4 more")
    many = additive.predict([1e7] * 300, 1e9)._repr_html_()
    assert "the first 100 of 300 rows" in many
    assert many.count("<tr>") == 101


def test_a_table_of_many_groups_names_a_few(planted):
    table = planted(0)
    table["group"] = [f"game {i % 7}" for i in range(len(table))]
    runs = forecast.read_runs(table, to_fit=False)
    assert repr(runs).endswith("groups game 0, game 1, game 2, game 3, game 4 and 2 more")
    assert runs._repr_html_().count("<tr>") == 8


def test_cells_of_tables_are_written_as_in_sentences(results):
    cells = _Table(results["Recommendation"]._repr_html_()).cells
    params = cells[cells.index("params") + 1]
    assert f"train {params} parameters" in repr(results["Recommendation"])
    checks = _Table(results["Diagnostics"]._repr_html_()).cells
    assert {"✓", "✗"} & set(checks)
