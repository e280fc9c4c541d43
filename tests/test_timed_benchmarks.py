"""The benchmarks that fill a time, on whatever machine, run here too, small, and stop in time."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script, out, minutes, *more):
    begun = time.monotonic()
    command = [sys.executable, str(BENCHMARKS / script), "--minutes", str(minutes), "--out", str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, time.monotonic() - begun


@pytest.mark.slow
def test_results_are_kept_and_not_measured_again(tmp_path):
    told, seconds = run("gpu.py", tmp_path, 0.5)
    assert seconds < 60
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert kept[0]["kind"] == "step"
    assert kept[0]["frames_per_second"] > 0
    assert "left out" in told
    assert f"{kept[0]['frames_per_second']:,.0f} frames/s" in (tmp_path / "table.md").read_text()
    again, seconds = run("gpu.py", tmp_path, 0.01)
    assert "left out" in again
    assert seconds < 30
    assert [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()] == kept


@pytest.mark.slow
def test_every_measurement_has_a_result(tmp_path):
    run("gpu.py", tmp_path, 10)
    kept = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {r["kind"] for r in kept} == {"step", "gradient", "shards", "bc", "rl", "loader", "side by side", "sweep"}
    assert not [r for r in kept if "error" in r]


@pytest.mark.slow
def test_a_player_is_trained_played_and_exported(tmp_path):
    told, _ = run("atari_experts.py", tmp_path, 0.7, "Pong", "--seeds", "0", "--params", "5e4", "--episodes", "2")
    player = tmp_path / "Pong-0" / "player"
    card = json.loads((player / "card.json").read_text())
    assert card["frames"] >= 2048
    assert card["bytes"] < 1e6
    assert f"{card['return_mean']:.1f} ± " in told
    again, seconds = run(
        "atari_experts.py", tmp_path, 0.7, "Pong", "--seeds", "0", "--params", "5e4", "--episodes", "2"
    )
    assert again == told, "the run is over: it only plays"
    assert seconds < 120
    run("atari_experts.py", tmp_path / "on", 0.2, "Pong", "--seeds", "0", "--init", str(player), "--episodes", "2")
    more = json.loads((tmp_path / "on" / "Pong-0" / "player" / "card.json").read_text())
    assert more["goes_on_from"] == card
    assert more["frames"] > card["frames"]
    assert more["flops"] > card["flops"]


@pytest.mark.slow
def test_the_loop_closes(tmp_path):
    run("gpu_loop.py", tmp_path, 5)
    table = tmp_path / "sweep" / "runs.csv"
    assert len(table.read_text().splitlines()) == 5
    (tmp_path / "recommendation.toml").write_text(
        "[recommendation]\nflops = 8e9\nparams.recommended = 1e4\nsamples.recommended = 4000\n"
    )
    told, _ = run("gpu_loop.py", tmp_path, 5, "--outcome", str(tmp_path / "recommendation.toml"))
    assert told.endswith("outcome.csv: 1 rows.\n")


@pytest.mark.slow
def test_a_loop_whose_time_is_up_says_so(tmp_path):
    told, seconds = run("gpu_loop.py", tmp_path, 0.001)
    assert "call this again to go on" in told
    assert seconds < 40
