"""Shards give back what was written, refuse what was damaged, and survive an interruption."""

import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from random_shards import LAYOUT, random_game, read, write

from training.errors import ConfigError, DataError, MachineError, TrainingError
from training.shards import blocks
from training.shards.blocks import Layout
from training.shards.format import header_hash
from training.shards.reader import Shards
from training.shards.writer import ShardWriter


def assert_frames_equal(got, expected):
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@given(data=st.data(), length=st.integers(1, 12), shape=st.sampled_from([(1, 1), (2, 3), (2, 4), (24, 80)]))
@settings(deadline=None, max_examples=30)
def test_a_block_gives_back_any_frames_from_any_place(data, length, shape):
    layout = Layout(shape=shape, planes=("chars", "colors"), columns=LAYOUT.columns)
    fields = {name: ("uint8", shape) for name in layout.planes} | dict(layout.columns)
    frames = {name: data.draw(hnp.arrays(dtype, (length, *form)), name) for name, (dtype, form) in fields.items()}
    block = blocks.decode(layout, blocks.encode(layout, frames))
    first = data.draw(st.integers(0, length - 1), "first")
    screens = block.screen_before(first, layout.cells)
    out = {name: np.zeros((length - first, layout.cells), np.uint8) for name in layout.planes}
    block.fill(first, screens, out)
    for name in layout.planes:
        np.testing.assert_array_equal(out[name].reshape(-1, *shape), frames[name][first:])
        np.testing.assert_array_equal(screens[name].reshape(shape), frames[name][-1])
    for name in layout.columns:
        np.testing.assert_array_equal(block.columns[name], frames[name])


def test_games_come_back_whole_and_from_any_frame(tmp_path):
    games = {"a": random_game(0, 100), "b": random_game(1, 16), "c": random_game(2, 1)}
    shards = write(tmp_path / "s", games)
    assert {game.name for game in shards.games} == set(games)
    for game in shards.games:
        frames = games[game.name]
        assert (game.frames, game.samples) == (len(frames["action"]), frames["mask"].sum())
        assert_frames_equal(read(shards, game), frames)
        for first in range(0, game.frames, 9):
            assert_frames_equal(read(shards, game, first, step=5), {n: a[first:] for n, a in frames.items()})
            assert shards.open(game).action_before(first) == (frames["action"][first - 1] if first else 0)


def test_more_files_than_may_be_open_are_read_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr("training.shards.reader._OPEN_FILES", 2)
    games = {str(seed): random_game(seed, 40) for seed in range(12)}
    shards = write(tmp_path / "s", games, file_bytes=1)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    readers = [shards.open(game) for game in shards.games]
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_before + 3
    for start in range(0, 40, 10):
        for reader in readers:
            out = {"chars": np.zeros((10, *LAYOUT.shape), np.uint8), "colors": np.zeros((10, *LAYOUT.shape), np.uint8)}
            reader.read(out)
            np.testing.assert_array_equal(out["chars"], games[reader.game.name]["chars"][start : start + 10])


def test_pieces_of_any_length_make_the_same_game(tmp_path):
    frames = random_game(0, 50)
    with ShardWriter(tmp_path / "s", layout=LAYOUT, env="nethack", actions=["a"], source="", block=16) as writer:
        encoder = writer.game("pieces")
        for start, end in ((0, 1), (1, 40), (40, 40), (40, 50)):
            encoder.append(**{name: array[start:end] for name, array in frames.items()})
        whole = writer.game("whole")
        whole.append(**frames)
        pieces = encoder.finish()
        assert pieces.digest == whole.finish().digest
        assert pieces.rows.column("frames").to_pylist() == [16, 16, 16, 2]


def test_split_and_identity_follow_content_and_seed_not_order(tmp_path):
    games = {str(seed): random_game(seed, 20) for seed in range(20)}
    forward = write(tmp_path / "f", games, holdout=0.2, seed=3)
    backward = write(tmp_path / "b", dict(reversed(games.items())), holdout=0.2, seed=3, file_bytes=1)
    other = write(tmp_path / "o", games, holdout=0.2, seed=4)
    held = {game.name for game in forward.heldout}
    assert len(held) == 4
    assert held.isdisjoint(game.name for game in forward.train)
    assert len(held) + len(forward.train) == 20
    assert held == {game.name for game in backward.heldout}
    assert [game.name for game in forward.games] == [game.name for game in backward.games]
    assert forward.identity == backward.identity != other.identity
    assert held != {game.name for game in other.heldout}
    assert forward.samples == sum(games[game.name]["mask"].sum() for game in forward.train)


def test_the_same_game_twice_is_left_out_by_name(tmp_path):
    game = random_game(0, 20)
    shards = write(tmp_path / "s", {"first": game, "again": game, "other": random_game(1, 20)})
    assert [(left.name, left.reason) for left in shards.left_out] == [("again", "it is the same game as first")]
    assert len(shards.games) == 2


@pytest.mark.parametrize(
    ("games", "options", "words"),
    [
        ({"a": random_game(0, 3)}, {}, "two or more"),
        ({}, {}, "two or more"),
        ({"a": random_game(0, 3), "b": random_game(1, 3)}, {"holdout": 0.0}, "between 0 and 1"),
    ],
)
def test_a_split_that_cannot_be_is_refused(tmp_path, games, options, words):
    with pytest.raises(TrainingError, match=words):
        write(tmp_path / "s", games, **options)


def test_frames_of_another_shape_or_without_a_field_are_refused(tmp_path):
    frames = random_game(0, 5)
    with pytest.raises(ConfigError, match="cursor"):
        write(tmp_path / "s", {"a": frames | {"cursor": frames["cursor"].astype(np.int16)}})
    del frames["cursor"]
    with pytest.raises(ConfigError, match="must have the fields"):
        write(tmp_path / "s", {"a": frames})


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        write(tmp_path / "s", {})


def interrupted(folder, games, **settings):
    """Write the games, then fail before the end."""

    def record():
        with ShardWriter(folder, layout=LAYOUT, env="nethack", actions=["a", "b"], source="test", **settings) as writer:
            for name, frames in games.items():
                encoder = writer.game(name)
                encoder.append(**frames)
                writer.add(encoder.finish(points=len(name)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record()


def test_an_interrupted_folder_is_never_whole_and_is_taken_up(tmp_path):
    games = {str(seed): random_game(seed, 20) for seed in range(6)}
    folder = tmp_path / "s"
    interrupted(folder, {name: games[name] for name in "0123"}, block=16, file_bytes=1)
    assert not folder.exists()
    for path in (folder, tmp_path / "s.partial"):
        with pytest.raises(DataError, match="no finished folder"):
            Shards(path)
    (tmp_path / "s.partial" / "00003.parquet").unlink()  # killed while that file was being written
    said = []
    settings = {"layout": LAYOUT, "env": "nethack", "actions": ["a", "b"], "source": "test"}
    with ShardWriter(folder, **settings, block=16, file_bytes=1, report=said.append) as writer:
        assert writer.done == set("012")
        for name in set(games) - writer.done:
            encoder = writer.game(name)
            encoder.append(**games[name])
            writer.add(encoder.finish(points=len(name)))
        shards = writer.finish()
    assert len(said) == 1
    assert "goes on after the 3 games" in said[0]
    assert shards.identity == write(tmp_path / "t", games).identity
    for game in shards.games:
        assert_frames_equal(read(shards, game), games[game.name])
    assert not (tmp_path / "s.partial").exists()


def test_a_damaged_interrupted_folder_is_refused(tmp_path):
    folder = tmp_path / "s"
    interrupted(folder, {"a": random_game(0, 20)}, block=16, file_bytes=1)
    (tmp_path / "s.partial" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"s\.partial: a file in this interrupted folder is damaged"):
        ShardWriter(folder, layout=LAYOUT, env="nethack", actions=["a", "b"], source="test", block=16, file_bytes=1)


def test_an_interrupted_folder_of_other_settings_starts_over(tmp_path):
    interrupted(tmp_path / "s", {"a": random_game(0, 20)}, block=8)
    said = []
    with ShardWriter(
        tmp_path / "s", layout=LAYOUT, env="nethack", actions=["a", "b"], source="test", block=16, report=said.append
    ) as writer:
        assert writer.done == set()
    assert len(said) == 1
    assert "starts over" in said[0]


def test_a_full_disk_is_a_sentence_and_loses_no_complete_file(tmp_path):
    """A limit on the size of files stands in for the full disk; the third file outgrows it."""
    small, large = random_game(0, 5), random_game(1, 2000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    games = {"a": small, "b": random_game(2, 5), "c": large}
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(MachineError, match=r"s\.partial cannot be written .*; make room and start again"):
            write(tmp_path / "s", games, file_bytes=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(write(tmp_path / "s", games, file_bytes=1).left_out) == 2  # a and b are there already


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:-1])
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize("name", ["00000.arrow", "00000.parquet", "header.json"])
@pytest.mark.parametrize("how", ["missing", "cut", "flipped"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, how):
    write(tmp_path / "s", {"a": random_game(0, 200), "b": random_game(1, 200)})
    damage(tmp_path / "s" / name, how)
    with pytest.raises(DataError, match="header.json" if name == "header.json" else name):
        Shards(tmp_path / "s").verify()


@pytest.mark.parametrize(("number", "kind"), [(errno.EMFILE, MachineError), (errno.ENOENT, DataError)])
def test_a_file_that_cannot_be_read_just_now_is_not_damaged(tmp_path, monkeypatch, number, kind):
    shards = write(tmp_path / "s", {"a": random_game(0, 20), "b": random_game(1, 20)})

    def fail(path):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("pyarrow.memory_map", fail)
    with pytest.raises(kind, match=r"00000\.arrow"):
        Shards(shards.path).verify()


def test_every_flipped_byte_of_the_data_is_found_or_harmless(tmp_path):
    """Damage anywhere in a data file: an error that names it, or frames that are still right; never wrong frames."""
    games = {"a": random_game(0, 6), "b": random_game(1, 6)}
    write(tmp_path / "s", games)
    path = tmp_path / "s" / "00000.arrow"
    content, refusals = path.read_bytes(), []
    for place in range(0, len(content), 37):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        path.write_bytes(damaged)
        shards = Shards(tmp_path / "s")
        for game in shards.games:
            try:
                frames = read(shards, game)
            except DataError as error:
                refusals.append(str(error))
            else:
                assert_frames_equal(frames, games[game.name])
    assert refusals
    assert all("00000.arrow" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layout": None}, "layout is None"),
        ({"layout": {"shape": [3, 5], "planes": ["a"], "columns": {"action": ["what", []]}}}, "what"),
        ({"actions": "ab"}, "actions is 'ab'"),
        ({"split": {"seed": 0}}, r"it has no split\.below"),
        ({"files": [{"bytes": "many", "games": ""}]}, r"files\[0\]\.bytes is 'many'"),
    ],
)
def test_a_header_of_another_form_is_refused_by_name(tmp_path, changed, words):
    write(tmp_path / "s", {"a": random_game(0, 5), "b": random_game(1, 5)})
    file = tmp_path / "s" / "header.json"
    header = {**json.loads(file.read_text()), **changed}
    file.write_text(json.dumps({**header, "sha256": header_hash(header)}))
    with pytest.raises(DataError, match=rf"header\.json: the shard file is damaged \(.*{words}"):
        Shards(tmp_path / "s")


def test_shards_of_a_later_version_are_refused(tmp_path):
    write(tmp_path / "s", {"a": random_game(0, 5), "b": random_game(1, 5)})
    header = tmp_path / "s" / "header.json"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"version": 99}))
    with pytest.raises(DataError, match="version 99"):
        Shards(tmp_path / "s")
