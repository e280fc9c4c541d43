"""Tasks by the names that configs give them, and their games side by side."""

import numpy as np
import pytest

from training.errors import ConfigError
from training.games.atari import AtariTask
from training.games.nethack.game import NetHackTask
from training.games.tasks import task_of, vector_of


def test_a_name_and_the_number_of_actions_make_a_task():
    assert task_of("nethack", "NetHackScore", 0) == NetHackTask(name="NetHackScore")
    assert task_of("nethack", "val-dwa-law-fem", 121, 30) == NetHackTask(character="val-dwa-law-fem", max_steps=30)
    assert task_of("atari", "Pong", 6) == AtariTask(game="Pong")
    assert task_of("atari", "Pong", 18, 30) == AtariTask(game="Pong", full_actions=True, max_steps=30)
    with pytest.raises(ConfigError, match="no Atari game"):
        task_of("atari", "Chess", 6)


@pytest.mark.parametrize("task", [NetHackTask(max_steps=3), AtariTask(game="Pong", max_steps=3)])
def test_more_workers_than_games_are_not_started(task):
    with vector_of(task, count=2, workers=5, seed=1, games=2) as vector:
        vector.reset()
        results = [result for _ in range(3) for result in vector.step(np.zeros(2, int)).results]
    assert [(result.game, result.length) for result in results] == [(0, 3), (1, 3)]
