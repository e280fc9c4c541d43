"""The tasks of every environment by name, and the games of a task side by side."""

from typing import Any

from training.games.atari import AtariTask, AtariVector
from training.games.nethack.game import NetHackTask
from training.games.nethack.vector import NetHackVector
from training.games.vector import Vector

Task = NetHackTask | AtariTask
FULL_ACTIONS = 18
"""Of an Atari console; a game's minimal set has fewer, unless it uses them all."""


def task_of(env: str, task: str, actions: int, episode_steps: int = 0) -> Task:
    """What `task` names, for a policy with so many actions; games are cut off at episode_steps, 0 for its own limit."""
    limit: dict[str, Any] = {"max_steps": episode_steps} if episode_steps else {}
    if env == "nethack":
        return NetHackTask.of(task, **limit)
    return AtariTask(game=task, full_actions=actions == FULL_ACTIONS, **limit)


def vector_of(task: Task, *, count: int, workers: int | None = None, seed: int = 0, games: int | None = None) -> Vector:
    """`count` games of a task side by side; `games` of them, or games without end.

    workers: cores to play on, no more than games side by side; all of the machine if None.
    """
    workers = None if workers is None else min(workers, count)
    if isinstance(task, NetHackTask):
        return NetHackVector(task, count=count, workers=workers, seed=seed, games=games)
    return AtariVector(task, count=count, threads=workers, seed=seed, games=games)
