"""Games of the built-in NetHack player, for benchmarks that are given no other demonstrations."""

from pathlib import Path

from training.record.nethack.convert import convert
from training.record.nethack.recorder import collect

FOLDER = Path("demo/bench")
STEPS = 600_000


def recorded() -> Path:
    """A folder of games in NLD-AA's layout; recorded once, about a minute on two cores."""
    folder = FOLDER / "games"
    collect(folder, steps=STEPS, append=folder.exists())  # with all of them there it records none
    return folder


def shards() -> Path:
    """The same games as shards; converted once."""
    folder = FOLDER / "shards"
    if not folder.exists():
        convert(recorded(), folder)
    return folder
