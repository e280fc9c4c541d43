"""NetHack demonstrations: a folder in the layout of NLD-AA, read through nle.dataset, becomes a folder of shards.

The layout is a folder of session folders, each with `nle.<pid>.<n>.ttyrec3.bz2` games and one `nle.<pid>.xlogfile`.
NLD-NAO, the games of humans, has no keypresses: it can be read with `nle.dataset`, but not cloned, and is refused.

Frames whose key NLE sent itself have mask False: it pages through messages that open a game and through its closing
screens, and quits a game that is broken off. Nothing in the file tells these keys from an expert's, so every space that
opens a game counts as NLE's, and so does the closing run: spaces, before them the keys that quit, escapes before these.
"""

import bz2
import contextlib
import io
import os
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nle import dataset, nethack
from nle.dataset import db as database
from nle.dataset.populate_db import XLOGFILE_COLUMNS
from numpy.typing import NDArray

from training.errors import DataError
from training.shards.encoder import EncodedGame, GameEncoder
from training.shards.format import NETHACK_LAYOUT
from training.shards.reader import Shards
from training.shards.writer import ShardWriter, check_holdout

ACTIONS = tuple(int(action) for action in nethack.ACTIONS)
"""The key of each action of NetHackChallenge."""
_UNKNOWN = 255
_ACTION_OF_KEY = np.full(256, _UNKNOWN, np.uint8)
for _index in reversed(range(len(ACTIONS))):  # three keys occur twice; the first index counts
    _ACTION_OF_KEY[ACTIONS[_index]] = _index
_SPACE, _ESCAPE, _QUIT, _YES = 32, 27, 0x80 | ord("q"), ord("y")
_DATASET = "demonstrations"
_CHUNK = 1024
_SUFFIX = ".ttyrec3.bz2"
_RECORD = struct.Struct("<IIIB")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A game as nle's data base lists it."""

    id: int
    """Its number in the data base."""
    file: str
    """Its recording, below the folder of games."""
    points: int
    """Final score."""
    character: str
    """Role, race, alignment and gender."""


def convert(
    source: str | Path,
    out: str | Path,
    *,
    holdout: float = 0.05,
    seed: int = 0,
    games: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int, int], None] = lambda done, total, frames: None,
    report: Callable[[str], None] = lambda sentence: None,
) -> Shards:
    """Convert the games under `source` (the parent of the session folders) to shards in the new folder `out`.

    The share `holdout` of the games, at least one, is kept from training, chosen by a hash of their content and
    `seed`. `games` converts only the first so many, by name. `progress` is called after each game with games done, all
    games and frames so far; `report` with one sentence for each game left out (`Shards.left_out` lists them again) and
    for a conversion taken up after an interruption. Memory holds two encoded games and one decompressed file a thread.

    Raises DataError when `source` is no such folder or fewer than two games can be used, ConfigError when `out` exists.
    """
    root = _check_root(Path(source))
    check_holdout(holdout)
    with tempfile.TemporaryDirectory(prefix="demonstrations-") as folder:
        scratch = Path(folder)
        options = {"games": games}
        with nethack_writer(out, source=str(root.resolve()), options=options, report=report) as writer:
            sources = _list_games(root, scratch, writer)[:games]
            frames = 0
            with contextlib.closing(_encoded(scratch, sources, writer, threads or _cores())) as encoded:
                for done, (item, game) in enumerate(encoded, start=1):
                    if isinstance(game, str):
                        writer.leave_out(item.file, game)
                    elif game is not None:
                        writer.add(game)
                        frames += game.frames
                    progress(done, len(sources), frames)
            if not writer.games:
                first = writer.left_out[0]
                raise DataError(
                    f"{root}: none of its {len(writer.left_out)} games can be used; the first, {first.name}: "
                    f"{first.reason}."
                )
            return writer.finish(holdout=holdout, seed=seed)


def nethack_writer(out: str | Path, **settings: Any) -> ShardWriter:
    """A ShardWriter for NetHack games: NetHackChallenge's actions, named with their key codes."""
    names = [f"{action.name} {int(action)}" for action in nethack.ACTIONS]
    return ShardWriter(out, layout=NETHACK_LAYOUT, env="nethack", actions=names, **settings)


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
    # A record: seconds, microseconds and length as 32-bit integers, a channel, the data; channel 1 is a key pressed.
    keys = bytearray()
    place = 0
    while place + _RECORD.size <= len(raw):
        _, _, length, channel = _RECORD.unpack_from(raw, place)
        if channel > 2:
            break
        place += _RECORD.size
        if channel == 1:
            keys += raw[place : place + 1]
        place += length
    if place != len(raw):
        raise DataError(f"the recording is damaged or cut short near byte {min(place, len(raw))} of {len(raw)}")
    if not keys:
        raise DataError("the file holds no frames")
    return np.frombuffer(keys, np.uint8)


def _check_root(root: Path) -> Path:
    """The folder, when it holds session folders; otherwise a DataError that says what it looks like instead."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; give the folder that holds the session folders.")
    if next(root.glob("*/*.xlogfile"), None) is not None:
        return root
    if next(root.glob("*.xlogfile"), None) is not None:
        raise DataError(f"{root} is itself a session folder; give the folder that holds it, {root.resolve().parent}.")
    below = next(root.glob("*/*/*.xlogfile"), None)
    if below is not None:
        raise DataError(f"{root} holds no session folders, but {below.parent.parent} does; give that folder.")
    if next(root.glob("*/*.ttyrec.bz2"), None) is not None:
        raise DataError(
            f"{root} is in the layout of NLD-NAO, which records no keypresses, so that nothing can be cloned from it; "
            "give games in the layout of NLD-AA."
        )
    raise DataError(
        f"{root} holds no games in the layout of NLD-AA: session folders, each with an xlogfile and its "
        "nle.*.ttyrec3.bz2 files; check the path."
    )


def _list_games(root: Path, scratch: Path, writer: ShardWriter) -> list[_Source]:
    """The games that nle's data base, made in `scratch`, lists; every other recording is left out with its reason.

    The data base is made of links to the usable recordings and of the good rows of the xlogfiles, because one bad row
    would end nle's reading of all of them.
    """
    listed: set[Path] = set()
    for xlogfile in sorted(root.glob("*/*.xlogfile")):
        session = scratch / "games" / xlogfile.parent.name
        session.mkdir(parents=True, exist_ok=True)
        rows = _good_rows(xlogfile)
        (session / xlogfile.name).write_bytes(b"".join(rows.values()))
        for name in rows:
            (session / name).symlink_to((xlogfile.parent / name).resolve())
            listed.add(xlogfile.parent / name)
        if not rows:  # nle refuses an xlogfile without recordings
            (session / xlogfile.name).unlink()
    for path in sorted(root.glob("*/*.ttyrec*.bz2")):
        if path not in listed:
            reason = "its xlogfile has no whole row for it, so the game was not ended"
            wrong = not path.name.endswith(_SUFFIX)
            writer.leave_out(str(path.relative_to(root)), f"only {_SUFFIX} files can be read" if wrong else reason)
    if not listed:
        return []
    file = str(scratch / "games.db")
    with contextlib.redirect_stdout(io.StringIO()):
        database.create(file)
        dataset.add_nledata_directory(str(scratch / "games"), _DATASET, file)
    with database.db(filename=file) as connection:
        rows = connection.execute(
            "SELECT gameid, path, points, role, race, align0, gender0 FROM ttyrecs JOIN games USING (gameid)"
        ).fetchall()
    games = [_Source(id=row[0], file=row[1], points=row[2], character="-".join(row[3:]).lower()) for row in rows]
    return sorted(games, key=lambda game: game.file)


def _good_rows(xlogfile: Path) -> dict[str, bytes]:
    """The rows of the xlogfile that nle can read and whose recording exists, by the recording's name."""
    rows = {}
    for line in xlogfile.read_bytes().splitlines(keepends=True):
        fields = dict(field.split("=", 1) for field in line.decode("latin-1").strip().split("\t") if "=" in field)
        name = fields.get("ttyrecname", "")
        try:
            for column, kind in XLOGFILE_COLUMNS:
                kind(fields.get(column, -1))
            line.decode("ascii")
        except ValueError:
            continue
        if Path(name).name == name and name.endswith(_SUFFIX) and (xlogfile.parent / name).is_file():
            rows[name] = line
    return rows


def _encoded(
    scratch: Path, sources: list[_Source], writer: ShardWriter, threads: int
) -> Generator[tuple[_Source, EncodedGame | str | None], None, None]:
    """Each game in order, encoded; or the reason why it cannot be; or None when the writer has it already."""
    waiting: deque[tuple[_Source, Future[EncodedGame | str] | None]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in sources:
            new = item.file not in writer.done
            waiting.append((item, pool.submit(_encode, scratch, item, writer.game(item.file)) if new else None))
            if len(waiting) >= 2 * threads:
                first, future = waiting.popleft()
                yield first, future.result() if future else None
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result() if future else None
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(scratch: Path, item: _Source, encoder: GameEncoder) -> EncodedGame | str:
    try:
        keys = read_keys(scratch / "games" / item.file)
    except DataError as error:
        return str(error)
    action = np.where(_ACTION_OF_KEY[keys] == _UNKNOWN, 0, _ACTION_OF_KEY[keys]).astype(np.uint8)
    mask = expert_frames(keys)
    data = dataset.TtyrecDataset(
        _DATASET,
        batch_size=1,
        seq_length=_CHUNK,
        dbfilename=str(scratch / "games.db"),
        shuffle=False,
        subselect_sql="SELECT ?",
        subselect_sql_args=(item.id,),
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
    return encoder.finish(points=item.points, character=item.character)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
