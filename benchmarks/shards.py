"""Frames/s of shards against nle's TtyrecDataset, what conversion costs, and bytes a frame of both.

    python benchmarks/shards.py [FOLDER] [--games 8] [--shards OUT] [--readme]

FOLDER holds games in the layout of NLD-AA; without one the built-in player records some. Both loaders give batches of
32 games × 32 frames; TtyrecDataset gives chars, colours, cursor, key, score and time, ours what a policy takes (chars,
colours, cursor, actions, mask). The four measurements take turns, and ratios are of the medians. Background work on the
machine slows all of them alike; CPU seconds are printed beside the wall's. --readme writes the table of the README.
About two minutes on two cores.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nle import dataset
from nle.dataset import db as database

from games import recorded
from readme import replace_block
from training.batches.training import training_batches
from training.record.nethack.convert import convert
from training.shards.reader import Shards

BATCH, UNROLL = 32, 32


def ttyrec_batches(folder: Path, file: str, threads: int) -> Iterator[object]:
    """nle's loader over the whole folder, for ever."""
    pool = ThreadPoolExecutor(threads) if threads > 1 else None
    yield from dataset.TtyrecDataset(
        "games", batch_size=BATCH, seq_length=UNROLL, dbfilename=file, threadpool=pool, loop_forever=True
    )


def rate(batches: Iterator[object], seconds: float) -> tuple[float, float]:
    """Frames a second of the wall's time and of all threads' CPU time, after two batches of warming up."""
    for _ in range(2):
        next(batches)
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        next(batches)
        count += BATCH * UNROLL
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="games of the built-in player unless given")
    parser.add_argument("--games", type=int, help="convert only so many games")
    parser.add_argument("--shards", type=Path, help="measure this folder of shards instead of converting")
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--readme", action="store_true", help="write the table of the README")
    options = parser.parse_args()
    options.folder = options.folder or recorded()
    with tempfile.TemporaryDirectory() as scratch:
        file = f"{scratch}/games.db"
        with contextlib.redirect_stdout(io.StringIO()):
            database.create(file)
            dataset.add_nledata_directory(str(options.folder), "games", file)
        start, cpu = time.perf_counter(), time.process_time()
        shards = (
            Shards(options.shards)
            if options.shards
            else convert(options.folder, f"{scratch}/shards", games=options.games)
        )
        frames = sum(game.frames for game in shards.games)
        if not options.shards:
            wall, cpu = time.perf_counter() - start, time.process_time() - cpu
            print(
                f"conversion: {frames} frames in {wall:.0f} s ({frames / wall:.0f}/s; {frames / cpu:.0f} a CPU second)"
            )
        theirs = sum((options.folder / game.name).stat().st_size for game in shards.games)
        print(f"bytes a frame: ttyrec {theirs / frames:.1f}, shards {shards.bytes / frames:.1f}")
        medians = measure(options, file, shards)
    if options.readme:
        replace_block("shards", readme_table(medians))


def readme_table(medians: dict[tuple[str, int], float]) -> str:
    """Frames/s of both loaders by number of threads, in Markdown."""
    lines = ["| frames/s of batches of 32 × 32 | one thread | two threads |", "|---|---|---|"]
    for name, title in (("ttyrec", "ttyrecs, by nle's `TtyrecDataset`"), ("shards", "**shards**")):
        lines.append(f"| {title} | {medians[name, 1]:,.0f} | {medians[name, 2]:,.0f} |")
    ratios = (medians["shards", threads] / medians["ttyrec", threads] for threads in (1, 2))
    return "\n".join([*lines, f"| ratio | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} |"])


def measure(options: argparse.Namespace, file: str, shards: Shards) -> dict[tuple[str, int], float]:
    """Print the rates of both loaders; their medians by name and number of threads (frames/s)."""
    loaders: dict[str, Callable[[int], Iterator[object]]] = {
        "ttyrec": lambda threads: ttyrec_batches(options.folder, file, threads),
        "shards": lambda threads: training_batches(shards, batch_size=BATCH, unroll_length=UNROLL, threads=threads),
    }
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for threads in (1, 2):
            for name, loader in loaders.items():
                rates.setdefault((name, threads), []).append(rate(loader(threads), options.seconds))
    print(f"batches of {BATCH} × {UNROLL}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}:")
    for threads in (1, 2):
        wall, cpu = (
            {name: statistics.median(pair[part] for pair in rates[name, threads]) for name in loaders}
            for part in (0, 1)
        )
        print(
            f"{threads} thread(s): ttyrec {wall['ttyrec']:.0f} frames/s, shards {wall['shards']:.0f}, "
            f"ratio {wall['shards'] / wall['ttyrec']:.1f}; a CPU second: ttyrec {cpu['ttyrec']:.0f}, "
            f"shards {cpu['shards']:.0f}, ratio {cpu['shards'] / cpu['ttyrec']:.1f}"
        )
    return {key: statistics.median(wall for wall, _ in pairs) for key, pairs in rates.items()}


if __name__ == "__main__":
    main()
