"""NetHack demonstrations: a folder in the layout of NLD-AA, read through nle.dataset, becomes a folder of shards.

The layout is a folder of session folders, each with `nle.<pid>.<n>.ttyrec3.bz2` games and one `nle.<pid>.xlogfile`.
NLD-NAO, the games of humans, has no keypresses: it can be read with `nle.dataset`, but not cloned, and is refused.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nle import dataset, nethack
from nle.dataset import db as database
from nle.dataset.populate_db import XLOGFILE_COLUMNS

from training.errors import DataError
from training.interrupts import terminate_as_interrupt
from training.record.nethack.converters import encoded
from training.record.nethack.encoding import DATASET, Source
from training.shards.format import NETHACK_LAYOUT
from training.shards.reader import Shards
from training.shards.writer import ShardWriter, check_holdout

_SUFFIX = ".ttyrec3.bz2"


def convert(
    source: str | Path,
    out: str | Path,
    *,
    holdout: float = 0.05,
    seed: int = 0,
    games: int | None = None,
    workers: int | None = None,
    progress: Callable[[int, int, int], None] = lambda done, total, frames: None,
    report: Callable[[str], None] = lambda sentence: None,
) -> Shards:
    """Convert the games under `source` (the parent of the session folders) to shards in the new folder `out`.

    The share `holdout` of the games, at least one, is kept from training, chosen by a hash of their content and
    `seed`. `games` converts only the first so many, by name. `progress` is called after each game with games done, all
    games and frames so far; `report` with one sentence for each game left out (`Shards.left_out` lists them again) and
    for a conversion taken up after an interruption. `workers` processes convert (`converters.process_count` unless
    given); the shards are the same, byte for byte, whatever their number. An interruption, by SIGTERM too, ends them
    at once; the same call then goes on after the last game that was written. Memory holds a decompressed file and up to
    five encoded games a process.

    Raises DataError when `source` is no such folder or fewer than two games can be used, ConfigError when `out` exists,
    MachineError when a process died, KeyboardInterrupt when interrupted.
    """
    root = _check_root(Path(source))
    check_holdout(holdout)
    with terminate_as_interrupt(), tempfile.TemporaryDirectory(prefix="demonstrations-") as folder:
        scratch = Path(folder)
        options = {"games": games}
        with nethack_writer(out, source=str(root.resolve()), options=options, report=report) as writer:
            sources = _list_games(root, scratch, writer)[:games]
            frames = 0
            progress(0, len(sources), 0)
            with contextlib.closing(encoded(scratch, sources, writer.done, writer.block, workers)) as results:
                for done, (item, game) in enumerate(results, start=1):
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


def _list_games(root: Path, scratch: Path, writer: ShardWriter) -> list[Source]:
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
        dataset.add_nledata_directory(str(scratch / "games"), DATASET, file)
    with database.db(filename=file) as connection:
        rows = connection.execute(
            "SELECT gameid, path, points, role, race, align0, gender0 FROM ttyrecs JOIN games USING (gameid)"
        ).fetchall()
    games = [Source(id=row[0], file=row[1], points=row[2], character="-".join(row[3:]).lower()) for row in rows]
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
