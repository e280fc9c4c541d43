"""One game against NLE's own rules, and against NetHack's own log of it."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from nle import nethack

from training.config.cloning import CloningConfig
from training.errors import ConfigError
from training.games.nethack.game import Game, NetHackTask, begin, make
from training.games.nethack.library import share_code

MOVES = [0, 1, 2, 3, 4, 5, 6, 7]
ESCAPE = nethack.ACTIONS.index(nethack.Command.ESC)
DOWN = nethack.ACTIONS.index(nethack.MiscDirection.DOWN)


def frames_of_nle(task: NetHackTask, seeds: tuple[int, int], actions) -> list[tuple]:
    env = make(task, observation_keys=("tty_chars", "tty_colors", "tty_cursor", "blstats"))
    observation, frames = begin(env, *seeds), []
    for action in [None, *actions]:
        reward = end = 0
        if action is not None:
            observation, reward, done, _, info = env.step(int(action))
            end = int(info["end_status"]) if done else 0
        frames.append((*(observation[key].copy() for key in ("tty_chars", "tty_colors", "tty_cursor")), reward, end))
        if end:
            break
    env.close()
    return frames


def frames_of_game(task: NetHackTask, seeds: tuple[int, int], actions) -> list[tuple]:
    game, frames = Game(task), []
    game.begin(*seeds)
    for action in [None, *actions]:
        reward, terminated, truncated = (0, False, False) if action is None else game.step(int(action))
        screen = (game.chars.copy(), game.colors.copy(), game.cursor.copy())
        frames.append((*screen, reward, 1 if terminated else -1 if truncated else 0))
        if terminated or truncated:
            break
    game.close()
    return frames


@pytest.mark.parametrize("name", ["NetHackChallenge", "NetHackScore"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_game_goes_as_nle_steps_it(name: str, seed: int) -> None:
    task = NetHackTask(name=name, character="@" if seed == 2 else "mon-hum-neu-mal")
    actions = np.random.default_rng(seed).integers(0, task.actions, 1500)
    theirs, ours = (play(task, (seed, 7), actions) for play in (frames_of_nle, frames_of_game))
    assert len(theirs) == len(ours) > 100
    for their, our in zip(theirs[:-1], ours[:-1], strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(their, our, strict=True))
    assert theirs[-1][4] == ours[-1][4]


def test_a_limit_truncates_where_nle_terminates() -> None:
    task = NetHackTask(max_steps=20)
    actions = [MOVES[0]] * 30
    theirs, ours = frames_of_nle(task, (1, 1), actions), frames_of_game(task, (1, 1), actions)
    assert len(theirs) == len(ours) == 21
    assert theirs[-1][4] == ours[-1][4] == -1


def test_a_game_without_progress_is_cut_off_when_asked() -> None:
    task = NetHackTask(no_progress=50)
    escape = [ESCAPE] * 200
    ours, theirs = frames_of_game(task, (1, 1), escape), frames_of_nle(task, (1, 1), escape)
    assert len(ours) - 1 == 50
    assert abs(len(theirs) - len(ours)) <= 1  # NLE counts each step twice and the first frame once


def test_seeds_name_the_game() -> None:
    actions = np.random.default_rng(0).integers(0, 8, 300)
    games = [frames_of_game(NetHackTask(), seeds, actions) for seeds in ((5, 6), (5, 6), (9, 6))]
    screens = [np.stack([frame[0] for frame in game]) for game in games]
    assert np.array_equal(screens[0], screens[1])
    assert not np.array_equal(screens[0], screens[2])


def test_the_largest_seeds_are_taken() -> None:
    actions = np.zeros(3, np.int64)
    first, again = (frames_of_game(NetHackTask(), (2**63 - 1, 2**63 - 1), actions)[0][0] for _ in range(2))
    assert np.array_equal(first, again)
    other = frames_of_game(NetHackTask(), (2**63 - 2, 2**63 - 1), actions)[0][0]
    assert not np.array_equal(first, other)


def last_log_line(game: Game) -> dict[str, str]:
    with open(os.path.join(game.env.nethack._vardir, "xlogfile")) as log:
        return dict(field.split("=", 1) for field in log.read().splitlines()[-1].split("\t"))


def test_the_score_is_what_nethack_logs() -> None:
    """NetHack's done() in end.c: whoever is killed loses a tenth, rounded down, of the gold gained, which counts as
    score. The log is NetHack's own; its birth date also shows that the wall clock has no part in a game.
    """
    game = Game(NetHackTask(max_steps=20_000))
    choices = np.array(MOVES + list(range(8, 16)) + [ESCAPE] * 3 + [DOWN] * 3)
    column, gained, deepest = nethack.NLE_BL_GOLD, 0, 0
    for seed in (0, 4, 10, 33, 39):  # among them gold and deep levels
        rng = np.random.default_rng(seed)
        game.begin(seed, 0)
        first_gold, first_score, rewards, ended = int(game._status[column]), game.score, 0.0, False
        truncated = False
        while not ended:
            gold = int(game._status[column])
            reward, terminated, truncated = game.step(int(rng.choice(choices)))
            rewards, ended = rewards + reward, terminated or truncated
        assert rewards == game.score - first_score
        if truncated:
            continue
        logged = last_log_line(game)
        lost = max(gold - first_gold, 0) // 10 if int(logged["deaths"]) else 0
        assert int(logged["points"]) == game.score - lost
        assert logged["starttime"] == "1000000000"
        gained, deepest = max(gained, gold - first_gold), max(deepest, int(logged["maxlvl"]))
    game.close()
    assert gained >= 100
    assert deepest >= 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"character": "monk"}, "mon-hum-neu-mal"),
        ({"name": "NetHackGold"}, "NetHackChallenge or NetHackScore"),
        ({"max_steps": 0}, "at least one step"),
    ],
)
def test_a_task_that_cannot_be_played_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        NetHackTask(**settings)


TEXTS = {
    "val-dwa-law-fem": ("NetHackChallenge", "val-dwa-law-fem"),
    "@": ("NetHackChallenge", "@"),
    "NetHackScore": ("NetHackScore", "mon-hum-neu-mal"),
    "NetHackChallenge": ("NetHackChallenge", "mon-hum-neu-mal"),
    "NetHackScore:@": ("NetHackScore", "@"),
    "NetHackChallenge:sam-hum-law-mal": ("NetHackChallenge", "sam-hum-law-mal"),
}
WRONG = ("", ":", "NetHackScore:", ":@", "NetHackGold:@", "nethackscore", "NetHackScore:monk", "@:NetHackScore", "@:@")


def test_a_text_names_a_task_and_a_config_takes_the_same_texts() -> None:
    for text, (name, character) in TEXTS.items():
        assert NetHackTask.of(text, max_steps=7) == NetHackTask(name=name, character=character, max_steps=7)
        assert CloningConfig(params=1, samples=10**5, flops=1, task=text).task == text
    for text in WRONG:
        with pytest.raises(ConfigError):
            NetHackTask.of(text)
        with pytest.raises(ConfigError):
            CloningConfig(params=1, samples=10**5, flops=1, task=text)


def test_nothing_is_recorded_unless_asked(tmp_path) -> None:
    env = make(NetHackTask())
    assert env.savedir is None
    env.close()
    env = make(NetHackTask(max_steps=5), savedir=str(tmp_path / "games"))
    begin(env, 1, 1)
    while not env.step(0)[2]:
        pass
    env.close()
    assert [path.name for path in (tmp_path / "games").glob("*.xlogfile")]


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are shared on Linux alone")
def test_games_of_a_process_share_the_code_of_nethack() -> None:
    task = NetHackTask(name="NetHackScore")
    first, second = Game(task), Game(task)
    first.begin(1, 7)
    begin(second.env, 1, 7)
    assert share_code(first.env.nethack.dlpath) == share_code(second.env.nethack.dlpath) == 0, "it is shared already"
    code = {line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if " r-xp " in line}
    assert str(os.stat(second.env.nethack.dlpath).st_ino) not in code
    for action in np.random.default_rng(0).integers(0, task.actions, 300).tolist():
        if first.step(action)[1]:
            break
    for game in (first, second):
        game.close()


@pytest.mark.skipif(sys.platform != "linux", reason="libraries are shared on Linux alone")
def test_a_game_with_shared_code_goes_as_one_with_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task, actions = NetHackTask(name="NetHackScore"), np.random.default_rng(3).integers(0, 23, 800)
    Game(task).begin(9, 9)  # from now on others share its code
    shared = frames_of_game(task, (5, 7), actions)
    monkeypatch.setattr("training.games.nethack.game.share_code", lambda path: 0)
    alone = frames_of_game(task, (5, 7), actions)
    assert len(shared) == len(alone) > 100
    for one, other in zip(shared, alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
