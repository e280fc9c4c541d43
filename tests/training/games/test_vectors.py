"""What every vectorised environment promises, whatever game it plays."""

from collections.abc import Callable

import numpy as np
import pytest
from helpers import record_steps

from training.errors import ConfigError
from training.games.atari import AtariTask, AtariVector
from training.games.nethack.game import NetHackTask
from training.games.nethack.vector import NetHackVector
from training.games.vector import Vector

LIMIT = 30


def nethack(limit: int = 1000, **settings: int | None) -> Vector:
    """Of two worker processes where there are two games."""
    return NetHackVector(NetHackTask(max_steps=limit), workers=min(2, settings["count"] or 1), **settings)


def atari(limit: int = 1000, **settings: int | None) -> Vector:
    return AtariVector(AtariTask(game="Breakout", max_steps=limit), **settings)


@pytest.fixture(params=[nethack, atari])
def make(request: pytest.FixtureRequest) -> Callable[..., Vector]:
    return request.param


@pytest.mark.parametrize("games", [None, 2])
def test_a_game_cut_off_shows_its_last_frame(make: Callable[..., Vector], games: int | None) -> None:
    """That of the same game where it may go on; a game that begins in its place shows another."""
    with make(count=2, seed=3) as vector:
        actions = np.random.default_rng(0).integers(0, vector.actions, (LIMIT, 2))
        longer = record_steps(vector, actions)
    with make(LIMIT, count=2, seed=3, games=games) as vector:
        transition = vector.reset()
        for action in actions:
            assert not transition.final
            transition = vector.step(action)
        final, begun = transition.final, {name: values.copy() for name, values in transition.fields.items()}
        if games is None:
            assert not vector.step(actions[0]).final
    assert sorted(final) == [0, 1]
    screen = next(iter(begun))
    for slot in range(2):
        assert final[slot].keys() == begun.keys()
        for name, values in final[slot].items():
            assert np.array_equal(values, longer[name][LIMIT, slot]), (slot, name)
        if games is None:
            assert not np.array_equal(final[slot][screen], begun[screen][slot])


def test_same_seed_same_games(make: Callable[..., Vector]) -> None:
    runs = []
    for seed in (4, 4, 5):
        with make(count=2, seed=seed) as vector:
            actions = np.random.default_rng(0).integers(0, vector.actions, (40, 2))
            runs.append(record_steps(vector, actions))
    one, two, other = runs
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("settings", [{"count": 0}, {"count": 2, "games": 0}, {"count": 1, "seed": -1}])
def test_wrong_settings_are_refused(make: Callable[..., Vector], settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        make(**settings)


def test_wrong_use_is_refused_in_a_sentence(make: Callable[..., Vector]) -> None:
    with make(count=2) as vector:
        with pytest.raises(RuntimeError, match="reset"):
            vector.step(np.zeros(2, int))
        vector.reset()
        for actions in (np.zeros(3, int), np.zeros(2), np.array([0, vector.actions]), np.array([-1, 0])):
            with pytest.raises(ValueError, match="ction"):
                vector.step(actions)
    with pytest.raises(RuntimeError, match="closed"):
        vector.reset()
    with pytest.raises(RuntimeError, match="closed"):
        vector.step(np.zeros(2, int))
