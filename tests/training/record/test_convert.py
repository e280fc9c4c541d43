"""Recorded games against the frames that the environment showed, and against nle's own reader."""

import bz2
import shutil
from pathlib import Path

import numpy as np
import pytest
from nle import dataset, nethack
from nle.env.tasks import NetHackChallenge
from random_shards import read

from training.errors import ConfigError, DataError
from training.record.nethack.convert import convert
from training.record.nethack.encoding import ACTIONS, expert_frames

SAFE = [ACTIONS.index(ord(key)) for key in "hjklyubns"]
"""Moving and searching: no menus, no prompts that quitting could get stuck in."""
HERO = "sam-hum-law-fem"
NO_ACTION = next(key for key in range(ord("!"), 256) if key not in ACTIONS)


def play(env, rng):
    """Play one game of random safe actions; what was shown, the key sent, and whether the player sent it."""
    shown, keys, own = [], [], []
    send, places = (
        env.nethack.step,
        [env._observation_keys.index(f"tty_{name}") for name in ("chars", "colors", "cursor")],
    )
    players_turn = False

    def recorded(key):
        nonlocal players_turn
        shown.append([np.array(env.last_observation[place]) for place in places])  # the buffers are reused
        keys.append(int(key))
        own.append(players_turn)
        players_turn = False
        return send(key)

    env.nethack.step = recorded
    # The challenge refuses env.seed and nethack.set_initial_seeds.
    env.nethack._pynethack.set_initial_seeds(*rng.integers(2**31, size=2).tolist(), False, None)
    env.reset()
    env.nethack.step(NO_ACTION)
    done = False
    while not done:
        players_turn = True
        _, _, done, _, _ = env.step(int(rng.choice(SAFE)))
    env.nethack.step = send
    chars, colors, cursor = (np.stack(part) for part in zip(*shown, strict=True))
    return {"chars": chars, "colors": colors, "cursor": cursor, "keys": keys, "own": own}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder in NLD-AA's layout with two sessions of four games, and what each recording must hold."""
    root = tmp_path_factory.mktemp("nld")
    rng = np.random.default_rng(0)
    truth = {}
    for session in ("first", "second"):
        env = NetHackChallenge(savedir=str(root / session), save_ttyrec_every=1, max_episode_steps=40, character=HERO)
        games = [play(env, rng) for _ in range(4)]
        env.close()
        for path in (root / session).glob("*.bz2"):
            truth[f"{session}/{path.name}"] = games[int(path.name.split(".")[2])]
    assert len(truth) == 8
    return root, truth


@pytest.fixture(scope="module")
def shards(recorded, tmp_path_factory):
    return convert(recorded[0], tmp_path_factory.mktemp("shards") / "s", holdout=0.25)


def ttyrec_games(root, folder):
    """Every game under root as nle's TtyrecDataset reads it, by file."""
    database = str(folder / "games.db")
    dataset.db.create(database)
    dataset.add_nledata_directory(str(root), "games", database)
    data = dataset.TtyrecDataset("games", batch_size=1, seq_length=16, dbfilename=database, shuffle=False)
    games = {}
    for game in data._gameids:
        pieces = data.get_ttyrec(game, 16)
        real = np.concatenate([piece["gameids"][0] == game for piece in pieces])
        games[data.get_paths(game)[0]] = {
            name: np.concatenate([piece[name][0] for piece in pieces])[real] for name in pieces[0]
        } | {"points": data.get_meta(game)["points"]}
    return games


def test_shards_hold_what_ttyrec_dataset_reads(recorded, shards, tmp_path):
    expected = ttyrec_games(recorded[0], tmp_path)
    assert {game.name for game in shards.games} == set(expected)
    for game in shards.games:
        theirs, ours = expected[game.name], read(shards, game)
        assert ours["chars"].dtype == ours["colors"].dtype == ours["cursor"].dtype == np.uint8
        np.testing.assert_array_equal(ours["chars"], theirs["tty_chars"])
        np.testing.assert_array_equal(ours["colors"], theirs["tty_colors"])
        np.testing.assert_array_equal(ours["cursor"], theirs["tty_cursor"])
        np.testing.assert_array_equal(ours["score"], theirs["scores"])
        known = np.isin(theirs["keypresses"], ACTIONS)
        np.testing.assert_array_equal(np.array(ACTIONS)[ours["action"]][known], theirs["keypresses"][known])
        assert not ours["mask"][~known].any()
        assert (game.character, game.points) == (HERO, theirs["points"])


def test_shards_hold_what_the_player_saw_and_did(recorded, shards):
    """The mask is True exactly where the player acted, though nle sends keys at the game's end, and others between."""
    for game in shards.games:
        truth, ours = recorded[1][game.name], read(shards, game)
        assert game.frames == len(truth["keys"])
        np.testing.assert_array_equal(ours["mask"], truth["own"])
        assert game.samples == sum(truth["own"]) == 40
        for name in ("chars", "colors", "cursor"):
            np.testing.assert_array_equal(ours[name][ours["mask"]], truth[name][truth["own"]], err_msg=name)
        indices = [ACTIONS.index(key) for key, own in zip(truth["keys"], truth["own"], strict=True) if own]
        assert ours["action"][ours["mask"]].tolist() == indices


def test_actions_are_the_challenges_a_shared_key_means_the_first(shards):
    assert shards.actions == len(ACTIONS) == len(nethack.ACTIONS) == 121
    assert len(set(ACTIONS)) == 118


@pytest.mark.parametrize(
    ("keys", "expert"),
    [
        ([32, 107, 32, 108, 32, 32], [0, 1, 1, 1, 0, 0]),  # pages at the start and after a death
        ([107, 27, 27, 241, 121, 32, 32], [1, 0, 0, 0, 0, 0, 0]),  # broken off: escapes, quit, yes, pages
        ([107, 27, 121, 32], [1, 1, 1, 0]),  # a player's own escape and y
        ([107, NO_ACTION, 108], [1, 0, 1]),
        ([32, 32], [0, 0]),
        ([241, 121], [0, 0]),
    ],
)
def test_keys_that_nle_sent_are_masked(keys, expert):
    assert expert_frames(np.array(keys, np.uint8)).tolist() == [bool(own) for own in expert]


def test_converting_again_in_other_order_gives_the_same_data(recorded, shards, tmp_path):
    """Sessions under other names are read in another order, by more processes, in another folder."""
    shutil.copytree(recorded[0] / "first", tmp_path / "nld" / "z")
    shutil.copytree(recorded[0] / "second", tmp_path / "nld" / "a")
    again = convert(tmp_path / "nld", tmp_path / "s", holdout=0.25, workers=3)
    assert again.identity == shards.identity
    assert [game.heldout for game in again.games] == [game.heldout for game in shards.games]
    assert len(shards.heldout) == 2


def test_an_interrupted_conversion_goes_on(recorded, shards, tmp_path):
    def stop(done, total, frames):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(recorded[0], tmp_path / "s", holdout=0.25, progress=stop)
    assert not (tmp_path / "s").exists()
    said, frames = [], []
    again = convert(
        recorded[0], tmp_path / "s", holdout=0.25, report=said.append, progress=lambda *counts: frames.append(counts)
    )
    assert len(said) == 1
    assert "goes on after the 5 games" in said[0]
    assert frames[-1][:2] == (8, 8)
    assert frames[4][2] == 0  # nothing of the first five was converted again
    assert again.identity == shards.identity


def spoil(path, how):
    content = path.read_bytes()
    raw = bz2.decompress(content)
    middle = len(content) // 2
    spoilt = {
        "empty": b"",
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        "not compressed": raw,
        "no frames": bz2.compress(b""),
        "cut in a record": bz2.compress(raw[: len(raw) // 2 - 3]),
        "shifted": bz2.compress(raw[5:]),
    }
    path.write_bytes(spoilt[how])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("empty", "no frames"),
        ("cut", "cut short"),
        ("flipped", "damaged"),
        ("not compressed", "damaged"),
        ("no frames", "no frames"),
        ("cut in a record", "cut short"),
        ("shifted", "damaged"),
    ],
)
def test_a_spoilt_recording_is_left_out_by_name(recorded, tmp_path, how, words):
    root = tmp_path / "nld"
    shutil.copytree(recorded[0], root)
    path = sorted(root.glob("first/*.bz2"))[1]
    spoil(path, how)
    said = []
    shards = convert(root, tmp_path / "s", report=said.append)
    assert len(shards.games) == 7
    (left,) = shards.left_out
    assert left.name == f"first/{path.name}"
    assert words in left.reason
    assert said == [f"{left.name} is left out: {left.reason}."]


def test_games_without_a_row_and_unreadable_rows_are_left_out(recorded, tmp_path):
    root = tmp_path / "nld"
    shutil.copytree(recorded[0], root)
    xlogfile = next(root.glob("second/*.xlogfile"))
    rows = xlogfile.read_bytes().splitlines(keepends=True)
    xlogfile.write_bytes(rows[0].replace(b"points=", b"points=x") + b"".join(rows[2:]) + b"nonsense\n")
    shards = convert(root, tmp_path / "s")
    assert len(shards.games) == 6
    assert {Path(left.name).name.split(".")[2] for left in shards.left_out} == {"0", "1"}
    assert all("no whole row" in left.reason for left in shards.left_out)


def test_when_no_game_is_left_nothing_is_written(recorded, tmp_path):
    root = tmp_path / "nld"
    shutil.copytree(recorded[0], root)
    for path in root.glob("*/*.bz2"):
        spoil(path, "empty")
    with pytest.raises(DataError, match="none of its 8 games can be used"):
        convert(root, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_folder_at_the_wrong_level_is_told_to_be_so(recorded, tmp_path):
    root = recorded[0]
    with pytest.raises(DataError, match=f"itself a session folder; give the folder that holds it, {root}"):
        convert(root / "first", tmp_path / "s")
    shutil.copytree(root, tmp_path / "above" / "nld")
    with pytest.raises(DataError, match=f"but {tmp_path / 'above' / 'nld'} does"):
        convert(tmp_path / "above", tmp_path / "s")
    with pytest.raises(DataError, match="no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no games in the layout of NLD-AA"):
        convert(tmp_path / "empty", tmp_path / "s")
    human = tmp_path / "nao" / "someone"
    human.mkdir(parents=True)
    (human / "2019-07-25.22:03:29.ttyrec.bz2").write_bytes(b"")
    with pytest.raises(DataError, match="no keypresses"):
        convert(tmp_path / "nao", tmp_path / "s")


def test_a_share_that_cannot_be_held_out_is_refused_first(recorded, tmp_path):
    with pytest.raises(ConfigError, match="between 0 and 1, got 2"):
        convert(recorded[0], tmp_path / "s", holdout=2)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_behind(recorded, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "scratch").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    before = sorted(recorded[0].rglob("*"))
    convert(recorded[0], tmp_path / "s")
    assert sorted(recorded[0].rglob("*")) == before
    assert list((tmp_path / "here").iterdir()) == list((tmp_path / "scratch").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"here", "scratch", "s"}
