"""Frames/s of shards against nle's TtyrecDataset, by threads and by processes; what conversion costs; bytes a frame.

    python benchmarks/shards.py [FOLDER] [--games 8] [--shards OUT] [--docs]

FOLDER holds games in the layout of NLD-AA; without one the built-in player records some. Both loaders give batches of
32 games × 32 frames; TtyrecDataset gives chars, colours, cursor, key, score and time, ours what a policy takes (chars,
colours, cursor, actions, mask). The measurements take turns, and ratios are of the medians. Background work on the
machine slows all of them alike; this process's CPU seconds are printed beside the wall's: with threads they are all of
the work, with processes the part that does not scale. Conversion uses all cores, and its CPU seconds are those of all
its processes. --docs writes the table of docs/how-it-was-tested.md. About three minutes on two cores; with more of
them 4, 8 and 16 threads and processes are measured too.
"""

import argparse
import contextlib
import io
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nle import dataset
from nle.dataset import db as database

from documents import replace_block
from games import recorded
from training.batches.training import training_batches
from training.record.nethack.convert import convert
from training.shards.reader import Shards

BATCH, UNROLL = 32, 32
TITLES = {
    "ttyrec": "ttyrecs, by threads of nle's `TtyrecDataset`",
    "threads": "**shards**, by threads",
    "processes": "**shards**, by processes",
}


def ttyrec_batches(folder: Path, file: str, threads: int) -> Iterator[object]:
    """nle's loader over the whole folder, for ever."""
    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    yield from dataset.TtyrecDataset(
        "games", batch_size=BATCH, seq_length=UNROLL, dbfilename=file, threadpool=pool, loop_forever=True
    )


def rate(batches: Iterator[object], seconds: float) -> tuple[float, float]:
    """Frames a second of the wall's time and of this process's CPU time, after two batches of warming up."""
    for _ in range(2):
        next(batches)
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        next(batches)
        count += BATCH * UNROLL
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="games of the built-in player unless given")
    parser.add_argument("--games", type=int, help="convert only so many games")
    parser.add_argument("--shards", type=Path, help="measure this folder of shards instead of converting")
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--docs", action="store_true", help="write the table of docs/how-it-was-tested.md")
    options = parser.parse_args()
    options.folder = options.folder or recorded()
    with tempfile.TemporaryDirectory() as scratch:
        file = f"{scratch}/games.db"
        with contextlib.redirect_stdout(io.StringIO()):
            database.create(file)
            dataset.add_nledata_directory(str(options.folder), "games", file)
        start, cpu = time.perf_counter(), cpu_seconds()
        shards = (
            Shards(options.shards)
            if options.shards
            else convert(options.folder, f"{scratch}/shards", games=options.games)
        )
        frames = sum(game.frames for game in shards.games)
        if not options.shards:
            wall, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            print(
                f"conversion: {frames} frames in {wall:.0f} s ({frames / wall:.0f}/s; {frames / cpu:.0f} a core second)"
            )
        theirs = sum((options.folder / game.name).stat().st_size for game in shards.games)
        print(f"bytes a frame: ttyrec {theirs / frames:.1f}, shards {shards.bytes / frames:.1f}")
        medians = measure(options, file, shards)
    if options.docs:
        replace_block("shards", docs_table(medians))


def docs_table(medians: dict[tuple[str, int], float]) -> str:
    """Frames/s of both loaders by number of threads or processes, in Markdown."""
    counts = sorted({count for _, count in medians})
    lines = [f"| frames/s of batches of 32 × 32 | {' | '.join(map(str, counts))} |", "|---" * (len(counts) + 1) + "|"]
    for name, title in TITLES.items():
        lines.append(f"| {title} | {' | '.join(f'{medians[name, count]:,.0f}' for count in counts)} |")
    best = (max(medians["threads", count], medians["processes", count]) for count in counts)
    ratios = (ours / medians["ttyrec", count] for ours, count in zip(best, counts, strict=True))
    return "\n".join([*lines, f"| ratio of the better | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} |"])


def measure(options: argparse.Namespace, file: str, shards: Shards) -> dict[tuple[str, int], float]:
    """Print the rates of all loaders; their medians by name and number of threads or processes (frames/s)."""
    sizes = {"batch_size": BATCH, "unroll_length": UNROLL}
    loaders: dict[str, Callable[[int], Any]] = {
        "ttyrec": lambda count: ttyrec_batches(options.folder, file, count),
        "threads": lambda count: training_batches(shards, **sizes, threads=count),
        "processes": lambda count: training_batches(shards, **sizes, workers=count),
    }
    cores = len(os.sched_getaffinity(0))
    counts = [1, 2, *(count for count in (4, 8, 16) if count <= cores)]
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for count in counts:
            for name, loader in loaders.items():
                with contextlib.closing(loader(count)) as batches:
                    rates.setdefault((name, count), []).append(rate(batches, options.seconds))
    print(f"batches of {BATCH} × {UNROLL}, {cores} cores, load {os.getloadavg()[0]:.1f}:")
    medians = {key: statistics.median(wall for wall, _ in pairs) for key, pairs in rates.items()}
    for count in counts:
        cpu = {name: statistics.median(pair[1] for pair in rates[name, count]) for name in loaders}
        print(
            f"{count}: "
            + ", ".join(f"{name} {medians[name, count]:.0f} frames/s" for name in loaders)
            + f"; a CPU second of this process: {', '.join(f'{name} {cpu[name]:.0f}' for name in loaders)}"
        )
    return medians


if __name__ == "__main__":
    main()
