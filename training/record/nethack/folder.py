"""Recorded NetHack games on disk, in NLD-AA's layout.

A folder of recordings holds session folders, each with `nle.<pid>.<n>.ttyrec3.bz2` games and the `nle.<pid>.xlogfile`
that NetHack itself wrote about them, and beside them `games.jsonl`, a line for each game, by which `collect` resumes.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from training.errors import DataError
from training.files import write_atomically
from training.schema import misfit

LIST = "games.jsonl"


def verify(out: str | Path) -> tuple[int, int]:
    """(games, bytes) of a folder of recordings, after reading each game's first frames back through nle.dataset.

    Raises DataError if nle.dataset finds other games than the sessions' logs list, or a game without a frame.
    """
    from nle.dataset import TtyrecDataset, add_nledata_directory, db

    out = Path(out)
    listed = sum(len(rows) for _, rows in sessions(out))
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as silence:
        file, link = os.path.join(scratch, "games.db"), Path(scratch, "games")
        link.symlink_to(out.resolve())  # nle.dataset takes brackets in a path for a pattern
        db.create(filename=file)
        with contextlib.redirect_stdout(silence):
            add_nledata_directory(str(link), "games", filename=file)
        with sqlite3.connect(file) as connection:
            ids = [row[0] for row in connection.execute("SELECT gameid FROM datasets ORDER BY gameid")]
        if len(ids) != listed:
            raise DataError(f"{out}: the logs list {listed} games, but nle.dataset finds {len(ids)}; record anew.")
        empty = []
        for first in range(0, len(ids), 64):
            part = ids[first : first + 64]
            loader = TtyrecDataset(
                "games", batch_size=len(part), seq_length=4, dbfilename=file, gameids=part, shuffle=False
            )
            frames = next(iter(loader))["gameids"]
            empty += [game for game, row in zip(part, frames, strict=True) if (row != game).all()]
    if empty:
        raise DataError(f"{out}: {len(empty)} of {len(ids)} games hold no frame; delete them and record anew.")
    return len(ids), sum(path.stat().st_size for path in out.glob("*/*.ttyrec3.bz2"))


class ListedGame(TypedDict):
    """A line of the list of games, as far as `collect` resumes by it; further keys are free."""

    task: str
    seed: int
    player: str
    counted: str
    stream: int
    number: int
    steps: int


def read_list(out: Path) -> list[ListedGame]:
    """The lines of a folder's list of games; a line cut short by a crash is left out. Raises DataError for others."""
    path = out / LIST
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            try:
                row = json.loads(line)
                wrong = misfit(row, ListedGame)
            except (ValueError, RecursionError):
                wrong = "it is not JSON"
            if wrong:
                raise DataError(
                    f"{path}: line {number} is no game ({wrong}), so the games recorded here are not known; record "
                    "into a new folder, or delete that line to play its game again."
                )
            rows.append(row)
    return rows


def cut_to_whole_lines(out: Path) -> None:
    """Take a line that a crash cut short off the list of games, so that the next one is not written behind it."""
    path = out / LIST
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            write_atomically(path, whole)


def xlog_rows(path: Path) -> list[dict[str, str]]:
    """The lines of an xlogfile, whole ones only."""
    if not path.exists():
        return []
    lines = path.read_bytes().decode("latin-1").splitlines(keepends=True)
    return [
        dict(field.split("=", 1) for field in line.rstrip("\n").split("\t") if "=" in field)
        for line in lines
        if line.endswith("\n")
    ]


def sessions(out: Path) -> Iterator[tuple[Path, list[dict[str, str]]]]:
    """(xlogfile, its rows) of every session in a folder."""
    for path in sorted(out.glob("*/*.xlogfile")):
        yield path, xlog_rows(path)


def remove_empty(out: Path, pid: int) -> None:
    """Remove what a dead worker left if no game of it is whole: nle.dataset stumbles over a session without any."""
    for path, rows in list(sessions(out)):
        if path.name == f"nle.{pid}.xlogfile" and not rows:
            shutil.rmtree(path.parent)
