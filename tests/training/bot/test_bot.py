"""The scripted NetHack player: its map reading and paths against drawn maps, its manners in prompts, its play."""

import itertools
from collections import deque

import numpy as np
import pytest
from nle import nethack

from training.bot import paths
from training.bot.bot import Bot
from training.bot.lore import ACTION, ACTION_COUNT, FIRST_INDEX
from training.bot.screen_reader import OBSERVATION_KEYS, Screen
from training.games.nethack.game import NetHackTask, begin, make
from training.record.nethack.players import RandomPlayer

CMAP = nethack.GLYPH_CMAP_OFF
JACKAL = next(kind for kind in range(nethack.NUMMONS) if nethack.permonst(kind).mname == "jackal")
# What the letters of drawn maps stand for, as NetHack's glyphs.
GLYPHS = {" ": 0, "|": 1, "-": 2, ".": 19, "#": 21, "+": 15, "/": 13, "<": 23, ">": 24, "^": 46, "}": 32}
GLYPHS = {letter: CMAP + symbol for letter, symbol in GLYPHS.items()}
GLYPHS |= {"@": 327, "d": nethack.GLYPH_MON_OFF + JACKAL, "f": nethack.GLYPH_PET_OFF + JACKAL, "0": 1906 + 447}


def observe(drawn, *, message="", question=False, line=False, more=False, **stats):
    """An observation of a drawn map, whose @ is the player."""
    glyphs = np.full(nethack.DUNGEON_SHAPE, CMAP, np.int16)
    for row, text in enumerate(drawn.strip("\n").split("\n"), start=1):
        for column, letter in enumerate(text):
            glyphs[row, column] = GLYPHS[letter]
    (row,), (column,) = np.nonzero(glyphs == GLYPHS["@"])
    status = np.zeros(nethack.BLSTATS_SHAPE, np.int64)
    given = {"hp": 14, "hpmax": 14, "xp": 1, "depth": 1, "hunger": 1, "time": 1} | stats
    for name, value in given.items():
        status[getattr(nethack, f"NLE_BL_{name.upper()}")] = value
    status[nethack.NLE_BL_X], status[nethack.NLE_BL_Y] = column, row
    terminal = np.full((24, 80), ord(" "), np.uint8)
    terminal[0, : len(message)] = list(message.encode())
    return {
        "glyphs": glyphs,
        "blstats": status,
        "message": np.frombuffer(message.encode().ljust(256, b"\0"), np.uint8),
        "misc": np.array([question, line, more], np.int32),
        "tty_chars": terminal,
        "inv_letters": np.zeros(55, np.uint8),
        "inv_oclasses": np.full(55, nethack.MAXOCLASSES, np.uint8),
        "inv_strs": np.zeros((55, 80), np.uint8),
    }


def key(bot, observation):
    return chr(nethack.ACTIONS[bot.act(observation)])


def slow_distances(start, walkable, doors):
    """Breadth-first search a square at a time, by the rules of movement as the manual states them."""
    far, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        row, column = divmod(here, 80)
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            there = (row + down) * 80 + column + right
            if not (0 <= row + down < 21 and 0 <= column + right < 79) or there in far or not walkable >> there & 1:
                continue
            if down and right and (doors >> here & 1 or doors >> there & 1):
                continue
            far[there] = far[here] + 1
            queue.append(there)
    return far


@pytest.mark.parametrize("seed", range(20))
def test_waves_reach_every_square_at_its_distance(seed):
    draw = np.random.default_rng(seed)
    walkable = paths.bits(draw.random((21, 79)) < draw.uniform(0.4, 0.9))
    doors = paths.bits(draw.random((21, 79)) < 0.2)
    start = int(draw.integers(21)) * 80 + int(draw.integers(79))
    expected = slow_distances(start, walkable, doors)
    found = {at: far for far, wave in enumerate(paths.flood(start, walkable, doors)) for at in paths.squares(wave)}
    assert found == expected
    assert paths.reachable(start, walkable, doors) == sum(1 << at for at in expected)
    for goal in list(expected)[:: max(1, len(expected) // 10)]:
        way = paths.path(start, 1 << goal, walkable, doors)
        assert len(way) == expected[goal]
        assert all(one_move(here, there, doors) for here, there in itertools.pairwise([start, *way]))


def one_move(here, there, doors):
    (row, column), (other_row, other_column) = divmod(here, 80), divmod(there, 80)
    down, right = abs(row - other_row), abs(column - other_column)
    through_door = doors >> here & 1 or doors >> there & 1
    return max(down, right) == 1 and not (down and right and through_door)


def test_no_path_is_an_empty_path():
    room = paths.bits(np.eye(21, 79, dtype=bool))
    assert paths.path(0, 1 << 79 * 2, room, 0) == []
    assert paths.path(0, 0, room, 0) == []


def test_a_map_is_read_as_drawn():
    screen = Screen(observe("-----\n|@.d+##\n|f>0/\n-----", hp=3, hpmax=9, depth=4))
    at = lambda row, column: 1 << (row + 1) * 80 + column  # noqa: E731
    assert screen.here == 2 * 80 + 1
    assert (screen.hp, screen.max_hp, screen.depth) == (3, 9, 4)
    assert screen.stairs_down == at(2, 2)
    assert screen.shut == at(1, 4)
    assert screen.doors == at(1, 4) | at(2, 4)
    assert screen.boulders == at(2, 3)
    assert screen.walk == sum(at(*place) for place in [(1, 1), (1, 2), (1, 3), (1, 5), (1, 6), (2, 1), (2, 2), (2, 4)])
    assert [(monster.name, monster.at) for monster in screen.monsters] == [("jackal", 2 * 80 + 3)]


def test_walks_the_shortest_way_down_when_all_is_seen():
    assert key(Bot(), observe("------\n|@...|\n|...>|\n------", xp=10)) in "nl"
    assert key(Bot(), observe("---\n|>|\n|@|\n---", xp=10)) == "k"


def test_fights_what_is_adjacent_before_anything_else():
    assert key(Bot(), observe("-----\n|@d>|\n|...|\n-----", xp=10)) == "l"
    assert key(Bot(), observe("-----\n|@f>|\n|...|\n-----", xp=10)) != "F"


def test_no_diagonal_step_through_a_door():
    drawn = "  #\n--/--\n|@..|\n-----"
    assert key(Bot(), observe(drawn)) == "l"


def test_prays_when_dying_and_answers_yes_once():
    bot = Bot()
    drawn = "-----\n|@d.|\n-----"
    assert key(bot, observe(drawn, hp=2, time=400)) == chr(nethack.Command.PRAY)
    asked = observe(drawn, hp=2, time=400, question=True, message="Are you sure you want to pray? [yn] (n) ")
    assert key(bot, asked) == "y"
    assert key(bot, observe(drawn, hp=2, time=401)) == "E"  # too soon to pray again: hide behind Elbereth


@pytest.mark.parametrize("prompt", [{"question": True}, {"line": True}, {"more": True}, {}], ids=str)
def test_a_prompt_that_will_not_end_is_met_with_every_way_out(prompt):
    """A made-up game that never goes on: the bot must not repeat itself, and never errs."""
    bot = Bot()
    keys = [key(bot, observe("---\n|@|\n---", message="What?", **prompt)) for _ in range(200)]
    assert all(ord(pressed) in ACTION for pressed in keys)
    if prompt:
        assert {"\x1b", "\r", " ", "n", "q", "y"} <= set(keys)


def test_survives_any_prompt_in_a_real_game():
    """A stranger presses random keys and leaves menus, counts and questions behind; the bot gets out and plays on."""
    env = make(NetHackTask(), observation_keys=OBSERVATION_KEYS)
    chance = RandomPlayer()
    for game in range(6):
        begin(env, game, game)
        chance.begin(game)
        observation = dict(zip(env._observation_keys, env.nethack._obs, strict=True))
        bot = Bot()
        for step in range(900):
            stranger = step % 60 < 10
            action = chance.act(observation) if stranger else bot.act(observation)
            assert 0 <= action < ACTION_COUNT
            if nethack.ACTIONS[action] in (nethack.Command.QUIT, nethack.Command.SAVE):
                continue
            if step % 60 == 10:
                turn = observation["blstats"][nethack.NLE_BL_TIME]
            if env.nethack.step(int(nethack.ACTIONS[action]))[1]:
                break
            if step % 60 == 59:
                assert observation["blstats"][nethack.NLE_BL_TIME] > turn
    env.close()


def test_same_observations_same_keys():
    env = make(NetHackTask(), observation_keys=OBSERVATION_KEYS)
    begin(env, 5, 5)
    observation = dict(zip(env._observation_keys, env.nethack._obs, strict=True))
    one, other = Bot(), Bot()
    for _ in range(600):
        action = one.act(observation)
        assert other.act(observation) == action
        if env.nethack.step(int(nethack.ACTIONS[action]))[1]:
            break
    env.close()


def test_first_index_names_the_key_that_a_recording_holds():
    assert len(set(FIRST_INDEX)) == 118
    assert all(nethack.ACTIONS[first] == nethack.ACTIONS[index] for index, first in enumerate(FIRST_INDEX))


def score_of(act, seed, steps):
    env = make(NetHackTask(), observation_keys=OBSERVATION_KEYS)
    begin(env, seed, seed)
    observation = dict(zip(env._observation_keys, env.nethack._obs, strict=True))
    score = 0
    for _ in range(steps):
        score = max(score, int(observation["blstats"][nethack.NLE_BL_SCORE]))
        if env.nethack.step(int(nethack.ACTIONS[act(observation)]))[1]:
            break
    env.close()
    return score


def test_scores_far_more_than_chance():
    """At 1,500 steps on four fixed games: at least 150 points more on average, and ten times as much."""
    chance = RandomPlayer()
    chance.begin(0)
    bot = np.mean([score_of(Bot().act, seed, 1500) for seed in range(4)])
    random = np.mean([score_of(chance.act, seed, 1500) for seed in range(4)])
    assert bot >= random + 150
    assert bot >= 10 * random
