"""Recordings as others will read them: NLD-AA's layout, every key as it was pressed, and no game lost."""

import bz2
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from nle import dataset, nethack

from training.errors import ConfigError, DataError, MachineError
from training.record.nethack import recorder
from training.record.nethack.folder import cut_to_whole_lines, read_list, verify, xlog_rows
from training.record.nethack.players import RandomPlayer
from training.record.nethack.recorder import collect
from training.record.nethack.session import Rules, Session

NEVER = lambda: False  # noqa: E731
IGNORE = lambda steps: None  # noqa: E731


class Script:
    """A player that presses the keys it is given, then waits."""

    keys = ("tty_chars",)

    def __init__(self, text):
        self.text = text
        self.sent = []

    def begin(self, seed):
        self.sent = []

    def act(self, observation):
        index = len(self.sent)
        key = ord(self.text[index]) if index < len(self.text) else ord("s")
        self.sent.append(key)
        return [int(action) for action in nethack.ACTIONS].index(key)


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


def read_back(out, tmp_path, length=4096):
    """file name -> what nle.dataset gives of each game, without padding."""
    db = str(tmp_path / "read.db")
    dataset.db.create(filename=db)
    dataset.add_nledata_directory(str(out), "games", filename=db)
    loader = dataset.TtyrecDataset("games", batch_size=1, seq_length=length, dbfilename=db, shuffle=False)
    games = {}
    for game in loader._gameids:
        (batch, *rest) = loader.get_ttyrec(game)
        assert not any((part["gameids"] == game).any() for part in rest)
        held = batch["gameids"][0] == game
        games[Path(loader.get_paths(game)[0]).name] = {name: array[0][held] for name, array in batch.items()}
    return games


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("recorded") / "games"
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


def test_keys_and_scores_come_back_through_nle_dataset(tmp_path):
    script = Script("hjkl.s20s:i\x1b<>yubn")
    recording = Session(tmp_path, Rules(task="mon-hum-neu-mal", seed=1, max_episode_steps=60), script)
    row = recording.play(0, 0, None, NEVER, IGNORE)
    sent = list(script.sent)
    recording.close()
    game = read_back(tmp_path, tmp_path)[row.file]
    keys = game["keypresses"].tolist()
    assert row.steps == len(sent) == 60
    start = next(at for at in range(5) if keys[at : at + 60] == sent)  # NLE itself presses a few keys at the start
    assert keys[start + 60 : start + 65] == [27, 27, 27, nethack.Command.QUIT, ord("y")]
    assert game["scores"].max() == row.score
    assert row.death == "quit"
    assert bytes(game["tty_chars"][start][22]).strip().startswith(b"Agent the Candidate")


# Each leaves the game waiting for something: a direction, a count, an item, a name, a menu, a yes or no, more text.
OPEN_ENDS = {
    "direction": "o",
    "kick": "\x04",
    "count": "20",
    "item": "e",
    "call": "C",
    "engraving": "E-",
    "menu": "i",
    "extended": "#",
    "travel": "_",
    "look": ";",
    "really quit": chr(nethack.Command.QUIT),
    "pray": chr(nethack.Command.PRAY),
    "options": "O",
    "drop": "D",
    "prefix": "F",
    "history": "V",
}


def test_no_game_is_lost_in_the_middle_of_a_prompt(tmp_path):
    """One session, a game cut off in each kind of prompt: all have their row and their recording, in order."""
    script = Script("")
    recording = Session(tmp_path, Rules(task="mon-hum-neu-mal", seed=2, max_episode_steps=10**6), script)
    rows = []
    for number, text in enumerate(OPEN_ENDS.values()):
        script.text = text
        rows.append(recording.play(0, number, len(text), NEVER, IGNORE))
    recording.close()
    assert [row.cut_off for row in rows] == ["steps"] * len(rows)
    assert [row.death for row in rows] == ["quit"] * len(rows)
    (log,) = tmp_path.glob("*/*.xlogfile")
    assert [row["ttyrecname"] for row in xlog_rows(log)] == [row.file for row in rows]
    assert verify(tmp_path)[0] == len(OPEN_ENDS)


def test_a_player_cannot_save_the_game_away(tmp_path):
    script = Script("SySySy")
    recording = Session(tmp_path, Rules(task="mon-hum-neu-mal", seed=3, max_episode_steps=40), script)
    row = recording.play(0, 0, None, NEVER, IGNORE)
    recording.close()
    assert row.steps == 40
    assert verify(tmp_path)[0] == 1


def test_a_game_that_stands_still_is_ended(tmp_path):
    rules = Rules(task="mon-hum-neu-mal", seed=4, max_episode_steps=10**6, no_progress=30)
    recording = Session(tmp_path, rules, Script("i" + "\x04\x1b" * 100))
    assert recording.play(0, 0, None, NEVER, IGNORE).cut_off == "stuck"
    recording.close()
    assert verify(tmp_path)[0] == 1


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


CHILD = """
    import sys
    from training.record.nethack.recorder import collect
    from training.interrupts import InterruptedRunError
    if __name__ == "__main__":
        try:
            collect(sys.argv[1], steps=10**7, workers=2, seed=1)
        except InterruptedRunError as error:
            print(error)
            sys.exit(130)
"""


def begin_recording(tmp_path):
    """A process that records, once both of its workers are at play."""
    program = tmp_path / "record.py"
    program.write_text(textwrap.dedent(CHILD))
    out = tmp_path / "games"
    child = subprocess.Popen([sys.executable, program, out], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    deadline = time.monotonic() + 60
    while len(list(out.glob("*/*.bz2"))) < 2:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    return child, out


def listed_and_readable(out):
    logs = [row["ttyrecname"] for path in out.glob("*/*.xlogfile") for row in xlog_rows(path)]
    assert len(logs) == len(read_list(out)) == verify(out)[0]
    return logs


def test_a_line_that_a_crash_cut_short_spoils_no_other(recorded, tmp_path):
    out, _ = recorded
    lines = (out / "games.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "games.jsonl").write_bytes(lines[0] + lines[1][:20])
    assert [row["number"] for row in read_list(tmp_path)] == [json.loads(lines[0])["number"]]
    cut_to_whole_lines(tmp_path)
    with open(tmp_path / "games.jsonl", "ab") as file:
        file.write(lines[1])
    assert read_list(tmp_path) == [json.loads(line) for line in lines[:2]]


def test_a_damaged_list_of_games_is_refused_by_line(tmp_path):
    (tmp_path / "games.jsonl").write_text('{"stream": 0}\n{"stream\n')
    with pytest.raises(DataError, match="line 2 is not JSON"):
        read_list(tmp_path)


def test_sigterm_leaves_every_game_whole(tmp_path):
    child, out = begin_recording(tmp_path)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.count("\n") == 1
    assert "kept" in said
    files = [path.name for path in out.glob("*/*.bz2")]
    assert sorted(listed_and_readable(out)) == sorted(files)  # not one file without its row
    assert [row["cut_off"] for row in read_list(out)].count("stopped") == 2


def workers_of(pid):
    names = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    return [int(name) for name in names if b"spawn_main" in (Path("/proc") / name / "cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_a_worker_that_dies_is_replaced_and_the_rest_goes_on(tmp_path):
    child, out = begin_recording(tmp_path)
    first = workers_of(child.pid)
    os.kill(first[0], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while len(set(workers_of(child.pid)) - {first[0]}) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert listed_and_readable(out)


def test_a_full_disk_is_one_sentence_and_keeps_the_games(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(recorder.shutil, "disk_usage", lambda path: usage(2**30, 2**30, 2**20))
    with pytest.raises(MachineError, match=r"free on the disk; \d+ whole games .* kept") as refused:
        collect(tmp_path / "games", games=50, workers=2, player="random", max_episode_steps=5000)
    assert "\n" not in str(refused.value)
    assert len(read_list(tmp_path / "games")) < 50
    listed_and_readable(tmp_path / "games")


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


def test_workers_that_only_die_end_the_recording(tmp_path, capfd):
    from recorder_policy import Deadly

    with pytest.raises(MachineError, match=r"3 workers in a row died.*0 whole games"):
        collect(tmp_path / "games", games=9, player=Deadly(), workers=1)
    assert list((tmp_path / "games").iterdir()) == []


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
