"""Many games at once: the same games as one by one, whatever happens to the processes that play them."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import record_steps
from nle import nethack

from training.errors import ConfigError, MachineError
from training.games.nethack.game import Game, NetHackTask
from training.games.nethack.process import WorkerProcess
from training.games.nethack.vector import NetHackVector
from training.games.vector import game_seeds

SHORT = NetHackTask(max_steps=60)
FIELDS = ("chars", "colors", "cursor")


def actions_for(count: int, steps: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 121, (steps, count))


def by_hand(seed: int, slot: int, count: int, actions: np.ndarray) -> dict[str, np.ndarray]:
    """The same for one slot: one raw environment, its games begun and stepped here."""
    game, number, rows = Game(SHORT), slot, []
    game.begin(*game_seeds(seed, number, 2))
    for action in [None, *actions]:
        reward, terminated, truncated = (0, False, False) if action is None else game.step(int(action))
        start = action is None or terminated or truncated
        if terminated or truncated:
            number += count
            game.begin(*game_seeds(seed, number, 2))
        screen = {name: getattr(game, name).copy() for name in FIELDS}
        flags = {"start": start, "game": number, "reward": reward, "terminated": terminated, "truncated": truncated}
        rows.append(screen | flags)
    game.close()
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def test_any_number_of_workers_plays_the_same_games() -> None:
    count, actions = 5, actions_for(5, 150)
    for workers in (1, 2):
        with NetHackVector(SHORT, count=count, workers=workers, seed=3) as vector:
            seen = record_steps(vector, actions)
        for slot in range(count):
            expected = by_hand(3, slot, count, actions[:, slot])
            for name, values in expected.items():
                assert np.array_equal(seen[name][:, slot], values), (workers, slot, name)
        assert seen["start"].sum() >= 3 * count


def test_seeds_slots_and_game_numbers_give_different_games() -> None:
    first = {}
    for seed in (0, 1):
        with NetHackVector(SHORT, count=3, workers=1, seed=seed) as vector:
            seen = record_steps(vector, np.zeros((60, 3), int))
        for step, slot in np.argwhere(seen["start"]):
            first[seed, slot, step] = seen["chars"][step, slot].tobytes()
    assert len(first) == len(set(first.values())) == 12


def test_a_game_that_ended_by_itself_shows_no_last_frame() -> None:
    quitting = [nethack.ACTIONS.index(nethack.Command.QUIT), nethack.ACTIONS.index(ord("y"))]
    keys = [*quitting, *[nethack.ACTIONS.index(nethack.Command.ESC)] * 10]
    ended = 0
    with NetHackVector(SHORT, count=2, workers=1) as vector:
        vector.reset()
        for key in keys:
            transition = vector.step(np.array([key, 0]))
            ended += len(transition.results)
            assert not transition.final
            assert not transition.truncated.any()
    assert ended >= 1


def test_reset_begins_from_the_first_games_even_in_mid_step() -> None:
    actions = actions_for(2, 20)
    with NetHackVector(SHORT, count=2, workers=2) as vector:
        first = record_steps(vector, actions)
        vector.send(actions[0])
        second = record_steps(vector, actions)
    for name in first:
        assert np.array_equal(first[name], second[name]), name


def test_an_interrupted_wait_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    actions = actions_for(2, 20)
    with NetHackVector(SHORT, count=2, workers=2) as vector:
        first = record_steps(vector, actions)
        vector.send(actions[0])
        with monkeypatch.context() as patch:

            def interrupt(self: WorkerProcess) -> bool:
                raise KeyboardInterrupt

            patch.setattr(WorkerProcess, "answered", interrupt)
            with pytest.raises(KeyboardInterrupt):
                vector.receive()
        second = record_steps(vector, actions)
    for name in first:
        assert np.array_equal(first[name], second[name]), name


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_worker_is_replaced_and_the_others_notice_nothing(stop: signal.Signals) -> None:
    actions = actions_for(4, 40)
    with NetHackVector(SHORT, count=4, workers=2, seed=5) as vector:
        undisturbed = record_steps(vector, actions)
    patience = 60.0 if stop == signal.SIGKILL else 1.0
    with NetHackVector(SHORT, count=4, workers=2, seed=5, patience=patience) as vector:
        vector.reset()
        pids = vector.worker_pids
        for step, action in enumerate(actions):
            if step == 10:
                os.kill(pids[1], stop)
                with pytest.warns(RuntimeWarning, match=rf"worker {pids[1]} .*slots 2 to 3"):
                    transition = vector.step(action)
                assert transition.truncated.tolist() == [False, False, True, True]
                assert transition.start.tolist() == [False, False, True, True]
                assert not transition.terminated.any()
                assert not transition.reward[2:].any()
                assert not transition.final
                results = [(r.slot, r.game, r.length, r.truncated, r.crashed) for r in transition.results]
                assert results == [(2, 2, 10, True, True), (3, 3, 10, True, True)]
                game = Game(SHORT)
                game.begin(*game_seeds(5, 2 + 4, 2))
                assert transition.game[2] == 2 + 4
                assert np.array_equal(transition.fields["chars"][2], game.chars)
                game.close()
            else:
                transition = vector.step(action)
            for name in FIELDS:
                assert np.array_equal(transition.fields[name][:2], undisturbed[name][step + 1, :2])
        assert vector.worker_pids[0] == pids[0]
        assert vector.worker_pids[1] != pids[1]


@pytest.mark.parametrize("crash", [False, True])
def test_a_fixed_number_of_games_is_played_once_each(crash: bool) -> None:
    with NetHackVector(SHORT, count=4, workers=2, games=7) as vector:
        transition, results, steps = vector.reset(), [], 0
        while transition.playing.any():
            if crash and steps == 70:  # slots 0, 1 and 2 are in their second games, slot 3 is idle
                assert transition.playing.tolist() == [True, True, True, False]
                os.kill(vector.worker_pids[1], signal.SIGKILL)
                with pytest.warns(RuntimeWarning, match="SIGKILL"):
                    transition = vector.step(np.zeros(4, int))
            else:
                transition = vector.step(np.zeros(4, int))
            results += transition.results
            steps += 1
    lengths = {result.game: result.length for result in results if not result.crashed}
    assert sorted(result.game for result in results) == list(range(7))
    assert [(result.game, result.length) for result in results if result.crashed] == ([(6, 10)] if crash else [])
    assert set(lengths.values()) == {60}


def test_the_score_of_a_game_is_what_its_rewards_add_up_to() -> None:
    keys = [*range(16), *[nethack.ACTIONS.index(nethack.Command.ESC)] * 3]
    moves = np.random.default_rng(0).choice(keys, (4000, 4))
    total, checked = np.zeros(4), 0
    with NetHackVector(count=4, workers=1, seed=1) as vector:
        vector.reset()
        for action in moves:
            transition = vector.step(action)
            total += transition.reward
            for result in transition.results:
                assert result.score == total[result.slot]
                total[result.slot], checked = 0, checked + 1
    assert checked


def shared_memory() -> set[str]:
    return {entry.name for entry in Path("/dev/shm").iterdir()} if Path("/dev/shm").exists() else set()


def folders() -> set[str]:
    return {entry.name for entry in Path(tempfile.gettempdir()).glob("nethack-*")}


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


def test_close_leaves_no_process_no_memory_and_no_file() -> None:
    shared, temporary, files = shared_memory(), folders(), len(os.listdir("/proc/self/fd"))
    vector = NetHackVector(SHORT, count=2, workers=2)
    vector.reset()
    pids = vector.worker_pids
    vector.send(np.zeros(2, int))
    vector.close()
    vector.close()
    assert all(gone(pid) for pid in pids)
    assert shared_memory() == shared
    assert folders() <= temporary
    assert len(os.listdir("/proc/self/fd")) <= files
    with pytest.raises(RuntimeError, match="closed"):
        vector.step(np.zeros(2, int))


@pytest.mark.parametrize("ending", ["raise KeyError('planted')", "raise SystemExit", "os.kill(os.getpid(), 9)"])
def test_nothing_is_left_however_the_program_ends(ending: str, tmp_path: Path) -> None:
    script = (
        "import os, numpy as np\n"
        "from training.games.nethack.vector import NetHackVector\n"
        "vector = NetHackVector(count=2, workers=2)\n"
        "vector.reset()\n"
        "print(*vector.worker_pids, flush=True)\n"
        "vector.send(np.zeros(2, int))\n" + ending
    )
    before = shared_memory()
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    pids = [int(word) for word in run.stdout.split()]
    assert len(pids) == 2, run.stderr
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not (all(map(gone, pids)) and not list(tmp_path.iterdir())):
        time.sleep(0.05)
    assert all(map(gone, pids))
    assert shared_memory() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"count": 2, "workers": 3}, {"count": 1, "task": "nobody"}])
def test_wrong_settings_are_refused_in_a_sentence(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NetHackVector(**settings)


def test_a_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = folders()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(MachineError, match="exit code"), NetHackVector(count=1, workers=1) as vector:
        vector.reset()
    assert folders() <= temporary
