"""Reports that answer further questions: a run under way, another recipe, the runs to make next."""

import json

import pytest
from helpers import assert_refused, command
from typer.testing import CliRunner

from forecast.cli import main
from forecast.cli.commands import app

RUN = "z8l5ifb2"


@pytest.fixture(scope="module")
def saved(nethack, additive, two_groups, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    for name, posterior in {"nethack": nethack, "other": additive, "games": two_groups}.items():
        posterior.save(folder / f"{name}.nc")
    return folder


def test_each_answer_is_a_part_of_the_page(saved, tmp_path):
    more = ["--next-spend", "1e18", "--watch", RUN, "--watch-samples", "3e9", "--against", str(saved / "other.nc")]
    done = CliRunner().invoke(app, ["report", str(saved / "nethack.nc"), "--out", str(tmp_path), *more, "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    watched, compared, planned = told["answers"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert watched["run"] == RUN
    assert watched["sentence"] in page
    assert compared["a"]["name"] == "nethack-transformer"
    assert planned["target_flops"] == told["recommendations"][0]["flops"]
    assert planned["sentence"] in page
    titles = ("A run under way", "Beside ", "Which runs to make next")
    assert [page.index(f">{title}") for title in titles] == sorted(page.index(f">{title}") for title in titles)
    for name in ("watched", "reached", "saved", "plan", "after"):
        assert (tmp_path / "figures" / f"all-{name}.svg").is_file()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--watch", RUN], "--watch and --watch-samples belong together"),
        (["--watch", "nobody", "--watch-samples", "3e9"], "no run 'nobody'"),
        (["--watch", RUN, "--watch-samples", "3"], "already has"),
        (["--next-spend", "-1"], "spend"),
        (["--against", "games.nc"], "none of which is called all"),
        (["--against", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_the_report(saved, tmp_path, monkeypatch, capsys, more, said):
    monkeypatch.chdir(saved)
    call = command(main, "forecast", monkeypatch, capsys)
    assert_refused(call("report", "nethack.nc", "--out", tmp_path / "report", *more), said)
    assert not (tmp_path / "report").exists()
