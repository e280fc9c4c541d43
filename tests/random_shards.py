"""Shards of random games, and what they hold."""

from pathlib import Path

import numpy as np

from training.shards.blocks import Layout
from training.shards.writer import ShardWriter

LAYOUT = Layout(
    shape=(3, 5),
    planes=("chars", "colors"),
    columns={"cursor": ("uint8", (2,)), "action": ("uint8", ()), "mask": ("bool", ()), "score": ("int32", ())},
)


def random_game(seed, length, layout=LAYOUT):
    """Frames of which a few cells change at a time, as on a game's screen."""
    rng = np.random.default_rng(seed)
    planes = {}
    for name in layout.planes:
        changes = rng.integers(256, size=(length, *layout.shape)) * (rng.random((length, *layout.shape)) < 0.1)
        planes[name] = np.bitwise_xor.accumulate(changes.astype(np.uint8), axis=0)
    columns = {
        name: rng.integers(-1000 if dtype == "int32" else 0, 2 if dtype == "bool" else 100, (length, *shape)).astype(
            dtype
        )
        for name, (dtype, shape) in layout.columns.items()
    }
    return planes | columns


def write(folder, games, *, layout=LAYOUT, file_bytes=2**27, block=16, **options):
    """A finished folder of shards of games, name -> frames."""
    with ShardWriter(
        folder, layout=layout, env="nethack", actions=["a", "b"], source="test", file_bytes=file_bytes, block=block
    ) as writer:
        for name, frames in games.items():
            encoder = writer.game(name)
            encoder.append(**frames)
            writer.add(encoder.finish(points=len(name)))
        return writer.finish(**options)


def read(shards, game, first=0, length=None, step=7):
    """The frames of a game, read in pieces of `step`."""
    reader = shards.open(game, first)
    length = game.frames - first if length is None else length
    fields = {name: ("uint8", shards.layout.shape) for name in shards.layout.planes} | dict(shards.layout.columns)
    out = {name: np.zeros((length, *shape), dtype) for name, (dtype, shape) in fields.items()}
    for start in range(0, length, step):
        reader.read({name: array[start : start + step] for name, array in out.items()})
    return out


def damage(folder: Path) -> None:
    """Change a quarter of the bytes of a folder's first data file."""
    data = folder / "00000.arrow"
    content = bytearray(data.read_bytes())
    for place in range(len(content) // 4, len(content) // 2):
        content[place] ^= 0x55
    data.write_bytes(content)
