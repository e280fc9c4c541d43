"""Batches against what the shards hold: every frame once an epoch, any batch from its number alone, nothing lost."""

from collections import Counter

import numpy as np
import pytest
from random_shards import LAYOUT, damage, random_game, write

from training.batches import heldout as reading
from training.batches.heldout import heldout
from training.batches.training import training_batches
from training.errors import ConfigError, TrainingError
from training.shards.blocks import Layout
from training.shards.writer import ShardWriter

LENGTHS = (31, 64, 5, 47, 90, 18, 1, 33)
FIELDS = {"chars", "colors", "cursor", "previous", "start", "action", "mask"}
"""What a NetHack batch holds."""


def numbered(seed, length):
    """A random game whose frames tell which they are: game in the first cell, frame in the next two."""
    game = random_game(seed, length)
    game["chars"][:, 0, 0] = seed
    game["chars"][:, 0, 1], game["chars"][:, 0, 2] = np.divmod(np.arange(length), 256)
    return game


@pytest.fixture(scope="module")
def games():
    return {str(seed): numbered(seed, length) for seed, length in enumerate(LENGTHS)}


@pytest.fixture(scope="module")
def shards(games, tmp_path_factory):
    return write(tmp_path_factory.mktemp("loader") / "s", games, holdout=0.3)


def place(batch):
    """Game and frame number [B, T] that the pixels tell."""
    corner = batch["chars"][:, :, 0].astype(int)
    return corner[..., 0], 256 * corner[..., 1] + corner[..., 2]


def copies(batches, count):
    return [next(batches) for _ in range(count)]


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def frames_read(batches, slots):
    """Counter of (game, frame) over batches, of each slot only the first slots[b] frames."""
    seen = Counter()
    for slot, limit in enumerate(slots):
        game, frame = (np.concatenate([place(batch)[part][slot] for batch in batches]) for part in (0, 1))
        seen.update(zip(game[:limit].tolist(), frame[:limit].tolist(), strict=True))
    return seen


@pytest.mark.parametrize("slots", [1, 3, 8, 20])
def test_every_training_frame_is_read_once_an_epoch(shards, games, slots):
    """With fewer slots than games and with more; the second epoch goes in another order."""
    expected = Counter((int(game.name), frame) for game in shards.train for frame in range(game.frames))
    total = sum(expected.values())
    lengths = [total * (slot + 1) // slots - total * slot // slots for slot in range(slots)]
    with training_batches(shards, batch_size=slots, unroll_length=7, seed=5) as batches:
        assert batches.frames_per_epoch == total
        read = copies(batches, -(-2 * max(lengths) // 7))
    assert frames_read(read, lengths) == expected
    assert frames_read(read, [2 * length for length in lengths]) == Counter({key: 2 for key in expected})


def test_fields_are_those_of_the_game_in_its_order(shards, games):
    with training_batches(shards, batch_size=4, unroll_length=10, seed=1) as batches:
        read = copies(batches, 30)
    whole = {name: np.concatenate([batch[name] for batch in read], axis=1) for name in read[0]}
    assert set(whole) == FIELDS
    assert {name: array.dtype.name for name, array in whole.items()} == {
        "chars": "uint8", "colors": "uint8", "cursor": "uint8", "previous": "int64", "start": "bool",
        "action": "int64", "mask": "bool",
    }  # fmt: skip
    names, frames = place(whole)
    for index in np.ndindex(names.shape):
        game, frame = games[str(names[index])], frames[index]
        for name in ("chars", "colors", "cursor", "action", "mask"):
            np.testing.assert_array_equal(whole[name][index], game[name][frame])
        assert whole["previous"][index] == (game["action"][frame - 1] if frame else 0)
        slot, time = index
        follows = time > 0 and (names[slot, time - 1], frames[slot, time - 1] + 1) == (names[index], frame)
        assert whole["start"][index] == (not follows)


def test_heldout_games_are_never_trained_on(shards):
    with training_batches(shards, batch_size=3, unroll_length=40) as batches:
        seen = {int(name) for batch in copies(batches, 10) for name in np.unique(place(batch)[0])}
    assert seen == {int(game.name) for game in shards.train}
    assert seen.isdisjoint(int(game.name) for game in shards.heldout)


@pytest.mark.parametrize("threads", [1, 2])
def test_seek_gives_what_an_uninterrupted_run_reads(shards, threads):
    settings = {"batch_size": 5, "unroll_length": 6, "seed": 2}
    with training_batches(shards, **settings, threads=1) as batches:
        uninterrupted = copies(batches, 40)
    with training_batches(shards, **settings, threads=threads) as batches:
        for update in (0, 1, 17, 33, 4, 39):
            batches.seek(update)
            assert batches.update == update
            for index, batch in zip(range(update, min(update + 3, 40)), batches, strict=False):
                assert_same(batch, uninterrupted[index])


def test_what_was_yielded_is_not_overwritten(shards):
    with training_batches(shards, batch_size=2, unroll_length=8) as batches:
        first = next(batches)
        kept = {name: array.copy() for name, array in first.items()}
        copies(batches, 10)
        assert_same(first, kept)


def test_seeds_give_other_orders(shards):
    with (
        training_batches(shards, batch_size=2, unroll_length=50, seed=0) as a,
        training_batches(shards, batch_size=2, unroll_length=50, seed=1) as b,
    ):
        assert not np.array_equal(next(a)["chars"], next(b)["chars"])


def test_ranks_share_out_the_slots_of_one_batch(shards):
    settings = {"batch_size": 6, "unroll_length": 9, "seed": 4}
    with training_batches(shards, **settings) as batches:
        whole = copies(batches, 12)
    for rank in range(3):
        with training_batches(shards, **settings, rank=rank, world=3) as batches:
            for expected, batch in zip(whole, batches, strict=False):
                assert_same(batch, {name: array[rank::3] for name, array in expected.items()})


@pytest.mark.parametrize(("batch_size", "unroll", "world"), [(1, 10, 1), (2, 7, 1), (16, 100, 1), (4, 7, 2), (3, 8, 3)])
def test_the_heldout_pass_gives_every_frame_once_with_its_game(tmp_path, games, batch_size, unroll, world):
    shards = write(tmp_path / "s", games, holdout=0.6)
    settings = {"batch_size": batch_size, "unroll_length": unroll, "world": world}
    ranks = [list(heldout(shards, **settings, rank=rank)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    seen, scored = Counter(), 0
    for batches in ranks:
        whole = {name: np.concatenate([batch[name] for batch in batches], axis=1) for name in batches[0]}
        names, frames = place(whole)
        real = whole["game"] >= 0
        assert not whole["mask"][~real].any()
        for index in zip(*np.nonzero(real), strict=True):
            game = shards.heldout[whole["game"][index]]
            assert game.name == str(names[index])
            assert whole["start"][index] == (frames[index] == 0)
            seen[game.name, frames[index]] += 1
        scored += whole["mask"].sum()
    assert seen == Counter({(game.name, frame): 1 for game in shards.heldout for frame in range(game.frames)})
    assert scored == sum(game.samples for game in shards.heldout)


@pytest.mark.parametrize("wanted", [1, 50, 10_000])
def test_a_short_heldout_pass_takes_pieces_with_a_start(tmp_path, games, monkeypatch, wanted):
    monkeypatch.setattr(reading, "PIECE", 20)
    shards = write(tmp_path / "s", games, holdout=0.6)
    settings = {"batch_size": 3, "unroll_length": 7, "frames": wanted}
    batches = list(heldout(shards, **settings))
    whole = {name: np.concatenate([batch[name] for batch in batches], axis=1) for name in batches[0]}
    names, frames = place(whole)
    real = whole["game"] >= 0
    seen = Counter(zip(names[real].tolist(), frames[real].tolist(), strict=True))
    assert set(seen.values()) == {1}
    every = sum(game.frames for game in shards.heldout)
    assert min(wanted, every) <= len(seen) < min(wanted + 20, every + 1)
    assert (whole["start"][real] == (frames[real] % 20 == 0)).all()
    assert all(map(np.array_equal, [b["chars"] for b in batches], [b["chars"] for b in heldout(shards, **settings)]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 10_000}, "fewer than batch_size = 10000"),
        ({"batch_size": 0}, "1 or more"),
        ({"batch_size": 5, "world": 2}, "multiple"),
        ({"batch_size": 4, "world": 2, "rank": 2}, "rank"),
        ({"batch_size": 4, "threads": 0}, "threads"),
    ],
)
def test_settings_that_cannot_be_are_refused(shards, settings, words):
    with pytest.raises(ConfigError, match=words):
        training_batches(shards, unroll_length=5, **settings)


def test_damage_met_in_the_background_reaches_the_caller(tmp_path, games):
    shards = write(tmp_path / "s", games)
    damage(tmp_path / "s")
    with (
        pytest.raises(TrainingError, match=r"00000\.arrow"),
        training_batches(shards, batch_size=4, unroll_length=200) as batches,
    ):
        copies(batches, 3)


@pytest.fixture(scope="module")
def atari(tmp_path_factory):
    """Atari games whose frames tell which they are, and their shards."""
    layout = Layout(shape=(4, 6), planes=("pixels",), columns={"action": ("uint8", ()), "mask": ("bool", ())})
    games = {str(seed): random_game(seed, length, layout) for seed, length in enumerate((140, 83, 9, 2, 32))}
    for seed, frames in games.items():
        frames["pixels"][:, 0, 0], frames["pixels"][:, 0, 1] = int(seed), np.arange(len(frames["action"]))
    folder = tmp_path_factory.mktemp("atari") / "s"
    with ShardWriter(folder, layout=layout, env="atari", actions=["x"], source="", block=8) as writer:
        for name, frames in games.items():
            encoder = writer.game(name)
            encoder.append(**frames)
            writer.add(encoder.finish())
        return writer.finish(), games


@pytest.mark.parametrize(("batch_size", "unroll"), [(3, 5), (7, 1)])
def test_atari_frames_are_stacked_as_the_environment_stacks_them(atari, batch_size, unroll):
    """Zeros stand before a game's first frame, and a stack never reaches into another game."""
    shards, games = atari
    with training_batches(shards, batch_size=batch_size, unroll_length=unroll) as batches:
        read = copies(batches, 90 // batch_size)
    for batch in read:
        assert set(batch) == {"pixels", "previous", "start", "action", "mask"}
        assert batch["pixels"].shape == (batch_size, unroll, 4, 4, 6)
        for index in np.ndindex(batch["action"].shape):
            stack = batch["pixels"][index]
            frames = games[str(stack[-1, 0, 0])]
            frame = int(stack[-1, 0, 1])
            padded = np.concatenate([np.zeros((3, 4, 6), np.uint8), frames["pixels"]])
            np.testing.assert_array_equal(stack, padded[frame : frame + 4])
            assert batch["action"][index] == frames["action"][frame]
            assert batch["mask"][index] == frames["mask"][frame]
            assert batch["previous"][index] == (frames["action"][frame - 1] if frame else 0)


def test_shuffled_frames_come_once_an_epoch_from_everywhere(atari, monkeypatch):
    """Pools of two batches of 32 frames, which end within chunks and within epochs."""
    monkeypatch.setattr("training.batches.shuffled.POOL_FRAMES", 64)
    shards, _ = atari
    expected = Counter((int(game.name), frame) for game in shards.train for frame in range(game.frames))
    total = sum(expected.values())
    with training_batches(shards, batch_size=32, unroll_length=1, seed=3) as batches:
        assert batches.frames_per_epoch == total
        read = copies(batches, 2 * (2 * total // 64))
    corner = np.concatenate([batch["pixels"][:, 0, -1, 0] for batch in read]).astype(int)
    keys = [tuple(key) for key in corner[:, :2].tolist()]
    for epochs in (1, 2):  # as many whole pools as fit; none reads a frame too often, so each frame is read once
        seen = Counter(keys[: epochs * total // 64 * 64])
        assert seen.keys() <= expected.keys()
        assert max(seen.values()) == epochs
    neighbours = np.abs(np.diff(corner[:, 1])) == 1
    assert neighbours.mean() < 0.1


def test_shuffled_batches_follow_from_their_number_and_rank(atari, monkeypatch):
    monkeypatch.setattr("training.batches.shuffled.POOL_FRAMES", 64)
    shards, _ = atari
    settings = {"batch_size": 12, "unroll_length": 1, "seed": 3}
    with training_batches(shards, **settings) as batches:
        uninterrupted = copies(batches, 40)
    with training_batches(shards, **settings, threads=1) as batches:
        for update in (39, 0, 17, 5):
            batches.seek(update)
            assert_same(next(batches), uninterrupted[update])
            assert batches.update == update + 1
    for rank in range(3):
        with training_batches(shards, **settings, rank=rank, world=3) as batches:
            for expected, batch in zip(uninterrupted, batches, strict=False):
                assert_same(batch, {name: array[rank::3] for name, array in expected.items()})


def test_nethack_frames_can_be_shuffled_too(shards, games):
    with training_batches(shards, batch_size=16, unroll_length=1, shuffled=True) as batches:
        batch = next(batches)
    assert set(batch) == FIELDS
    names, frames = place(batch)
    for index in np.ndindex(names.shape):
        for field in ("chars", "colors", "cursor", "action", "mask"):
            np.testing.assert_array_equal(batch[field][index], games[str(names[index])][field][frames[index]])
    with pytest.raises(ConfigError, match="unroll_length = 1"):
        training_batches(shards, batch_size=2, unroll_length=2, shuffled=True)


def test_the_layout_here_is_that_of_nethack_but_smaller():
    from training.shards.format import NETHACK_LAYOUT

    assert (LAYOUT.planes, LAYOUT.columns) == (NETHACK_LAYOUT.planes, NETHACK_LAYOUT.columns)
