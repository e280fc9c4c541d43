"""Recordings as others will read them: NLD-AA's layout, the same for a seed, and a true list of games."""

import bz2
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from nle import nethack

from training.errors import ConfigError, DataError
from training.record.nethack import recorder
from training.record.nethack.folder import cut_to_whole_lines, read_list, verify, xlog_rows
from training.record.nethack.players import RandomPlayer
from training.record.nethack.recorder import collect


def raw(path):
    """(frames, keys) of a recording: the bytes drawn, and the keys pressed, without the times."""
    data, at, drawn, keys = bz2.decompress(Path(path).read_bytes()), 0, [], []
    while at < len(data):
        _, _, length, channel = struct.unpack_from("<iiiB", data, at)
        content = data[at + 13 : at + 13 + length]
        at += 13 + length
        if channel == 0:
            # As the game ends NetHack misses a file, and says so with the folder's name: the one thing that differs.
            drawn.append(b"" if b"Cannot open file" in content else content)
        elif channel == 1:
            keys.append(content[0])
    return drawn, keys


def games_of(out):
    """(stream, number) -> (drawn, keys) of every game in a folder."""
    return {(row["stream"], row["number"]): raw(out / row["session"] / row["file"]) for row in read_list(out)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("recorded") / "games [v2]"  # brackets, which nle.dataset takes for a pattern
    return out, collect(out, games=3, player="bot", workers=1, seed=7, max_episode_steps=150)


def test_layout_is_that_of_nld_aa(recorded):
    out, summary = recorded
    (folder,) = [path for path in out.iterdir() if path.is_dir()]
    (log,) = folder.glob("nle.*.xlogfile")
    pid = log.name.split(".")[1]
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"nle.{pid}.xlogfile", *(f"nle.{pid}.{number}.ttyrec3.bz2" for number in range(3))]
    )
    rows = xlog_rows(log)
    assert [row["ttyrecname"] for row in rows] == [f"nle.{pid}.{number}.ttyrec3.bz2" for number in range(3)]
    assert {row["name"] for row in rows} == {"Agent"}
    assert {(row["role"], row["race"], row["gender"], row["align"]) for row in rows} == {("Mon", "Hum", "Mal", "Neu")}
    assert verify(out) == (3, sum(path.stat().st_size for path in folder.glob("*.bz2")))
    points = [int(row["points"]) for row in rows]
    assert summary.mean_score == pytest.approx(np.mean(points))
    assert summary.standard_error == pytest.approx(np.std(points, ddof=1) / 3**0.5)
    assert (summary.games, summary.steps, summary.cut_off) == (3, 450, 3)


def test_same_seed_same_games_for_one_worker_and_two(recorded, tmp_path):
    out, _ = recorded
    collect(tmp_path / "two", games=3, player="bot", workers=2, seed=7, max_episode_steps=150)
    one, two = games_of(out), games_of(tmp_path / "two")
    assert one.keys() == two.keys() == {(0, 0), (1, 0), (2, 0)}
    assert one == two
    assert len({tuple(keys) for _, keys in one.values()}) == 3


def test_steps_are_made_exactly_and_their_last_games_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "STREAM_STEPS", 400)
    told = []
    ask = {"steps": 1201, "player": "random", "seed": 5, "max_episode_steps": 250}
    summary = collect(tmp_path / "two", workers=2, progress=lambda *told_now: told.append(told_now), **ask)
    assert summary.steps == 1201
    rows = read_list(tmp_path / "two")
    assert sorted({row["stream"] for row in rows}) == [0, 1, 2]
    assert sum(row["steps"] for row in rows) == 1201
    assert sum(row["cut_off"] == "steps" for row in rows) == 3
    assert summary.games == len(rows) == verify(tmp_path / "two")[0]
    assert told[-1] == (1201, 1201)
    collect(tmp_path / "one", workers=1, **ask)
    assert games_of(tmp_path / "one") == games_of(tmp_path / "two")


def test_append_records_what_is_missing(recorded, tmp_path):
    out, _ = recorded
    part = tmp_path / "part"
    shutil.copytree(out, part)
    with pytest.raises(ConfigError, match=r"not empty.*--append"):
        collect(part, games=5, player="bot", workers=1, seed=7, max_episode_steps=150)
    summary = collect(part, games=5, player="bot", workers=2, seed=7, max_episode_steps=150, append=True)
    assert summary.games == 2
    assert sorted(row["stream"] for row in read_list(part)) == [0, 1, 2, 3, 4]
    assert verify(part)[0] == 5
    nothing = collect(part, games=5, player="bot", seed=7, max_episode_steps=150, append=True)
    assert (nothing.games, nothing.mean_score) == (0, None)
    assert nothing.notes == (f"{part} holds all that is asked for already.",)


def test_a_line_that_a_crash_cut_short_spoils_no_other(recorded, tmp_path):
    out, _ = recorded
    lines = (out / "games.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "games.jsonl").write_bytes(lines[0] + lines[1][:20])
    assert [row["number"] for row in read_list(tmp_path)] == [json.loads(lines[0])["number"]]
    cut_to_whole_lines(tmp_path)
    with open(tmp_path / "games.jsonl", "ab") as file:
        file.write(lines[1])
    assert read_list(tmp_path) == [json.loads(line) for line in lines[:2]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"stream', "it is not JSON"),
        ("[" * 200_000, "it is not JSON"),
        ("7", "it is 7"),
        ('{"stream": 0}', "it has no counted"),
        ('{"stream": "x", "task": "@", "seed": 0, "player": "", "counted": "", "number": 0, "steps": 1}', "'x'"),
    ],
)
def test_a_damaged_list_of_games_is_refused_by_line(recorded, tmp_path, line, words):
    first = (recorded[0] / "games.jsonl").read_text().splitlines()[0]
    (tmp_path / "games.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(DataError, match=f"line 2 is no game .*{words}"):
        read_list(tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "either steps or games"),
        ({"steps": 5, "games": 5}, "either steps or games"),
        ({"games": 0}, "games must be at least 1"),
        ({"games": 1, "task": "wiz-elf"}, "wiz-elf"),
        ({"games": 1, "player": "autoascend"}, "autoascend"),
        ({"games": 1, "workers": 0}, "workers"),
        ({"games": 1, "seed": -1}, "0 or more, got -1"),
    ],
    ids=str,
)
def test_refusals_come_before_any_work(tmp_path, settings, words):
    with pytest.raises(ConfigError, match=words):
        collect(tmp_path / "games", **settings)
    assert not (tmp_path / "games").exists()


def test_a_policy_gets_its_memory_and_the_action_before(tmp_path):
    """A policy that tells what it was given: it always answers with one action more than the one before."""
    torch = pytest.importorskip("torch")
    from recorder_policy import Counting

    collect(tmp_path / "games", games=1, player=Counting(), workers=1, max_episode_steps=30)
    ((_, keys),) = games_of(tmp_path / "games").values()
    expected = [int(nethack.ACTIONS[(5 + step) % 8]) for step in range(30)]
    assert any(keys[at : at + 30] == expected for at in range(5))
    assert torch.is_inference_mode_enabled() is False


def test_random_draws_are_the_games_own():
    one, other = RandomPlayer(), RandomPlayer()
    one.begin(3)
    other.begin(3)
    assert [one.act({}) for _ in range(50)] == [other.act({}) for _ in range(50)]


def test_the_list_of_games_says_what_the_logs_say(recorded):
    out, _ = recorded
    for row in read_list(out):
        (log,) = (out / row["session"]).glob("*.xlogfile")
        (told,) = [line for line in xlog_rows(log) if line["ttyrecname"] == row["file"]]
        assert (row["score"], row["turns"]) == (int(told["points"]), int(told["turns"]))
    assert json.loads((out / "games.jsonl").read_text().splitlines()[0])["seed"] == 7
