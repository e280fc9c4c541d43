"""The memory game in place of NetHack, for the tests of reinforcement learning."""

import dataclasses

import pytest
from memory_game import MemoryGame
from memory_runs import ACTIONS

from training.games.nethack.game import NetHackTask
from training.learn import rl


@dataclasses.dataclass
class Task:
    task: NetHackTask
    actions: int = ACTIONS


@pytest.fixture
def memory_game(monkeypatch):
    """Runs play the memory game; returns the options of its games, to be changed."""
    options: dict = {}
    task = NetHackTask()
    monkeypatch.setattr(rl, "task_of", lambda *given: Task(task))
    monkeypatch.setattr(rl, "vector_of", lambda task, count, workers, seed: MemoryGame(count, seed=seed, **options))
    measured = {"return_mean": 0.5, "return_se": 0.1, "episodes": 2}
    monkeypatch.setattr(rl, "measured_return", lambda *given: dict(measured))
    return options
