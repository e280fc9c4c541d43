"""Atari against a single emulator stepped by hand, and against itself over threads."""

import numpy as np
import pytest
from ale_py import ALEInterface, roms
from helpers import record_steps

from training.errors import ConfigError
from training.games.atari import AtariTask, AtariVector


def overlaps(size: int, target: int) -> np.ndarray:
    """[target, size]: the share of each new pixel that an old one covers."""
    edges = np.arange(target + 1) * size / target
    old = np.arange(size)
    covered = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return covered.clip(0) * target / size


def test_frames_are_those_of_a_single_emulator() -> None:
    """Without stickiness nothing is random: the emulator itself, its last two frames merged by their maximum and the
    210 x 160 screen averaged by area (Mnih et al., 2015), up to one grey level of rounding.
    """
    emulator = ALEInterface()
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.loadROM(str(roms.get_rom_path("breakout")))
    emulator.reset_game()
    choices, rows, columns = emulator.getMinimalActionSet(), overlaps(210, 84), overlaps(160, 84)
    actions = np.random.default_rng(0).integers(0, 4, 150)
    with AtariVector(AtariTask(game="Breakout", sticky=0.0), count=1) as vector:
        seen = record_steps(vector, actions[:, None])
    steps = 0
    for step, action in enumerate(actions, 1):
        reward, screens = 0, []
        for _ in range(4):
            reward += emulator.act(choices[action])
            screens.append(emulator.getScreenGrayscale().astype(float))
        assert reward == seen["reward"][step, 0]
        assert emulator.game_over() == seen["terminated"][step, 0]
        if emulator.game_over():
            break
        expected = rows @ np.maximum(screens[2], screens[3]) @ columns.T
        assert np.abs(seen["pixels"][step, 0, -1] - expected).max() <= 1
        assert np.array_equal(seen["pixels"][step, 0, :-1], seen["pixels"][step - 1, 0, 1:])
        steps += 1
    assert steps > 50


def test_each_life_lost_is_told_once() -> None:
    lost, ended = 0, np.zeros(2, bool)
    with AtariVector("Breakout", count=2, seed=1) as vector:
        vector.reset()
        for action in np.random.default_rng(0).integers(0, 4, (400, 2)):
            frame = vector.step(action)
            assert frame.life_lost is not None
            assert (frame.life_lost >= frame.terminated).all()
            lost += frame.life_lost * ~ended
            ended |= frame.terminated
            if ended.all():
                break
    assert ended.all()
    assert lost.tolist() == [5, 5]


def test_any_number_of_threads_plays_the_same_games() -> None:
    actions = np.random.default_rng(0).integers(0, 4, (220, 2))
    runs = []
    for threads, seed in ((1, 4), (2, 4), (2, 5)):
        with AtariVector("Breakout", count=2, threads=threads, seed=seed) as vector:
            runs.append(record_steps(vector, actions))
    one, two, other = runs
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["pixels"], other["pixels"])
    assert one["start"].sum() > 2
    assert one["start"].sum() - 2 == (one["terminated"] | one["truncated"]).sum()


def test_a_listed_game_is_the_same_in_any_slot() -> None:
    def scores(count: int) -> list[tuple[float, int]]:
        results = []
        with AtariVector(AtariTask(game="Breakout"), count=count, games=3, seed=1) as vector:
            transition = vector.reset()
            while transition.playing.any():
                # a rule that looks at the screen only
                transition = vector.step(transition.fields["pixels"].sum((1, 2, 3)).astype(int) % 4)
                results += transition.results
        results.sort(key=lambda result: result.game)
        assert [result.game for result in results] == [0, 1, 2]
        return [(result.score, result.length) for result in results]

    assert scores(1) == scores(2)


def test_actions_stick_a_quarter_of_the_time() -> None:
    """Machado et al. (2018): each frame repeats the action of the frame before with probability p, whatever is asked.

    Games of Freeway, frame by frame: nothing, up, nothing. The chicken has gone up for no frame (p), for one, (1 - p)²,
    or for two, (1 - p) p, which are three different screens.
    """
    count, trials, p, screens = 4, 80, 0.25, []
    with AtariVector(AtariTask(game="Freeway", frame_skip=1, max_steps=4), count=count, seed=2) as vector:
        vector.reset()
        for _ in range(trials):
            for action in (0, 1, 0):
                transition = vector.step(np.full(count, action))
            screens.append(transition.fields["pixels"][:, -1].copy())
            assert vector.step(np.zeros(count, int)).start.all()
    _, sizes = np.unique(np.concatenate(screens).reshape(trials * count, -1), axis=0, return_counts=True)
    expected = np.array([(1 - p) * p, p, (1 - p) ** 2])
    assert len(sizes) == 3
    spread = np.sqrt(expected * (1 - expected) / (trials * count))
    assert np.all(np.abs(np.sort(sizes) / (trials * count) - expected) < 4 * spread)


def test_a_limit_truncates_after_so_many_actions() -> None:
    with AtariVector(AtariTask(game="Pong", max_steps=30), count=2) as vector:
        seen = record_steps(vector, np.zeros((65, 2), int))
    assert np.flatnonzero(seen["truncated"][:, 0]).tolist() == [30, 60]
    assert np.flatnonzero(seen["start"][:, 0]).tolist() == [0, 30, 60]
    assert not seen["terminated"].any()
    assert seen["game"][[0, 30, 60], 0].tolist() == [0, 2, 4]


def test_a_game_that_ended_by_itself_shows_no_last_frame() -> None:
    ended = 0
    with AtariVector("Breakout", count=2, seed=3) as vector:
        vector.reset()
        for action in np.random.default_rng(0).integers(0, 4, (300, 2)):
            transition = vector.step(action)
            ended += int(transition.terminated.sum())
            assert not transition.final
    assert ended >= 2


def test_scores_are_unclipped() -> None:
    rng, results, total, biggest = np.random.default_rng(0), [], np.zeros(2), 0.0
    with AtariVector(AtariTask(game="MsPacman", max_steps=100), count=2) as vector:
        vector.reset()
        for _ in range(100):
            transition = vector.step(rng.integers(0, vector.actions, 2))
            total += transition.reward
            biggest = max(biggest, transition.reward.max())
            results += transition.results
    assert [result.score for result in results] == total.tolist()
    assert biggest >= 10


def test_games_go_by_either_spelling() -> None:
    assert AtariTask(game="NameThisGame").game == AtariTask(game="name_this_game").game == "name_this_game"
    assert AtariTask(game="Breakout").actions == 4
    assert AtariTask(game="Breakout", full_actions=True).actions == 18
    camel = {rom: "".join(word.capitalize() for word in rom.split("_")) for rom in roms.get_all_rom_ids()}
    assert all(AtariTask(game=name).game == rom for rom, name in camel.items())


def test_a_wrong_task_is_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="breakout"):
        AtariTask(game="Brekout")
    with pytest.raises(ConfigError, match="sticky"):
        AtariTask(game="Breakout", sticky=1.5)
