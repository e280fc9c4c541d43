"""One recorded NetHack game, read through nle.dataset and encoded for shards; also what a converting process does.

Frames whose key NLE sent itself have mask False: it pages through messages that open a game and through its closing
screens, and quits a game that is broken off. Nothing in the file tells these keys from an expert's, so every space that
opens a game counts as NLE's, and so does the closing run: spaces, before them the keys that quit, escapes before these.
"""

import bz2
import json
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nle import dataset, nethack
from numpy.typing import NDArray

from training.errors import DataError
from training.processes import serve
from training.shards.encoder import EncodedGame, GameEncoder
from training.shards.format import NETHACK_LAYOUT

ACTIONS = tuple(int(action) for action in nethack.ACTIONS)
"""The key of each action of NetHackChallenge."""
DATASET = "demonstrations"
"""Name of the games in nle's data base."""
_UNKNOWN = 255
_ACTION_OF_KEY = np.full(256, _UNKNOWN, np.uint8)
for _index in reversed(range(len(ACTIONS))):  # three keys occur twice; the first index counts
    _ACTION_OF_KEY[ACTIONS[_index]] = _index
_SPACE, _ESCAPE, _QUIT, _YES = 32, 27, 0x80 | ord("q"), ord("y")
_CHUNK = 1024
# A record: seconds, microseconds and length as 32-bit integers, a channel, the data; channel 1 is a key pressed.
_RECORD = struct.Struct("<8xIB")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A game as nle's data base lists it."""

    id: int
    """Its number in the data base."""
    file: str
    """Its recording, below the folder of games."""
    points: int
    """Final score."""
    character: str
    """Role, race, alignment and gender."""


def expert_frames(keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which frames of a whole game [T] an expert answered with an action of NetHackChallenge, given their keys [T]."""
    first, end = 0, len(keys)
    while first < end and keys[first] == _SPACE:
        first += 1
    while end > first and keys[end - 1] == _SPACE:
        end -= 1
    if end - first >= 2 and keys[end - 1] == _YES and keys[end - 2] == _QUIT:
        end -= 2
        while end > first and keys[end - 1] in (_SPACE, _ESCAPE):
            end -= 1
    time = np.arange(len(keys))
    return (time >= first) & (time < end) & (_ACTION_OF_KEY[keys] != _UNKNOWN)


def read_keys(path: Path) -> NDArray[np.uint8]:
    """The key of every frame of a ttyrec3 file, which is checked to its last byte.

    nle reads a damaged file up to the damage and says nothing. Raises DataError with the reason when the file cannot
    be read or decompressed to its end, is cut within a record, or holds no frames.
    """
    try:
        raw = bz2.decompress(path.read_bytes())
    except (OSError, ValueError) as error:  # bz2 raises both
        raise DataError(f"the file is cut short, damaged or unreadable ({error})") from None
    keys = bytearray()
    place, last = 0, len(raw) - _RECORD.size
    read, size = _RECORD.unpack_from, _RECORD.size  # three records a frame: names found once are twice as fast
    while place <= last:
        length, channel = read(raw, place)
        if channel > 2:
            break
        place += size
        if channel == 1:
            keys += raw[place : place + 1]
        place += length
    if place != len(raw):
        raise DataError(f"the recording is damaged or cut short near byte {min(place, len(raw))} of {len(raw)}")
    if not keys:
        raise DataError("the file holds no frames")
    return np.frombuffer(keys, np.uint8)


def encode(scratch: Path, source: Source, block: int) -> EncodedGame | str:
    """A game of the data base in `scratch`, in blocks of so many frames, or the reason why it cannot be used."""
    try:
        keys = read_keys(scratch / "games" / source.file)
    except DataError as error:
        return str(error)
    encoder = GameEncoder(NETHACK_LAYOUT, source.file, block=block)
    action = np.where(_ACTION_OF_KEY[keys] == _UNKNOWN, 0, _ACTION_OF_KEY[keys]).astype(np.uint8)
    mask = expert_frames(keys)
    data = dataset.TtyrecDataset(
        DATASET,
        batch_size=1,
        seq_length=_CHUNK,
        dbfilename=str(scratch / "games.db"),
        shuffle=False,
        subselect_sql="SELECT ?",
        subselect_sql_args=(source.id,),
    )
    place = 0
    for piece in data:
        count = int(np.count_nonzero(piece["gameids"][0]))
        part = slice(place, place + count)
        if not np.array_equal(piece["keypresses"][0, :count], keys[part]):
            return f"its keys do not agree with its frames near frame {place}"
        encoder.append(
            chars=piece["tty_chars"][0, :count],
            colors=piece["tty_colors"][0, :count].view(np.uint8) & 0x7F,
            cursor=piece["tty_cursor"][0, :count].astype(np.uint8),
            action=action[part],
            mask=mask[part],
            score=piece["scores"][0, :count],
        )
        place += count
    if place != len(keys):
        return f"nle reads {place} frames of it, but it has {len(keys)}"
    return encoder.finish(points=source.points, character=source.character)


def main(settings: str) -> None:
    """Encode the games that the parent asks for. `settings`: JSON of scratch, block and the descriptor line."""
    options = json.loads(settings)
    serve(options["line"], lambda source: encode(Path(options["scratch"]), source, options["block"]))


if __name__ == "__main__":
    main(sys.argv[1])
