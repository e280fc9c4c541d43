"""All that is claimed of training on a GPU, measured in one go, the most important first.

    python benchmarks/gpu.py --minutes 4 --out demo/gpu [--reference PATH]

Each measurement is a process of its own and is written as soon as it is there: a line of `results.jsonl`, and all of
them so far in `table.md`. What does not fit into the minutes is left out; called again with the same --out it goes on
with what is missing. Needs no network and no data: the built-in player records some games. --reference, a checkout of
princeton-nlp/il-scaling-in-games, adds the race of `benchmarks/policies.py`.

- step: a training step as `training bc` takes it, on screens that are mostly blank, the median of eight after three;
  uncompiled, compiled, and as CUDA graphs where batches are small.
  CUDA's debugging of synchronisations is set to raise, so that a step that makes the host wait fails.
- gradient: that of the characters' embedding: torch's own, the product in chunks and the Triton kernel; each with its
  distance from sums in double precision.
- bc, rl: `training bc` and `training rl` from end to end; the rate is that of the run table. With `graphs`, rl replays
  the passes of playing as CUDA graphs.
- loader: batches of 128 × 64 frames by processes that decode.
- side by side: steps of small batches of several runs on one card, all together.
- sweep: `training sweep` of small runs, as many at a time as it finds by their rates, or as memory holds.

Share is that of the matrix rate measured in the same process, by the FLOPs of `training/policies/flops.py`. Without a
GPU everything is tiny, to show that it runs.
"""

import argparse
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

Result = dict[str, Any]
LEAST = 20.0  # seconds that must be left for a measurement to begin
MEASURES = Path(__file__).with_name("gpu_measures.py")
GOES_ON = 2  # measurements of one kind in a row that may fail before the rest of the kind is left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--out", type=Path, default=Path("demo/gpu"))
    parser.add_argument("--reference", type=Path, help="checkout of princeton-nlp/il-scaling-in-games")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.jsonl"
    results = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {json.dumps([r["kind"], r["settings"]]) for r in results if "error" not in r}
    failed: dict[str, int] = {}
    for kind, settings in planned(options.out, options.reference):
        left = end - time.monotonic()
        if json.dumps([kind, settings]) in known or failed.get(kind, 0) >= GOES_ON:
            continue
        if left < LEAST:
            print(f"The time is up: {kind} {told(settings)} and what comes after it are left out.")
            break
        result = {"kind": kind, "settings": settings, **measured(kind, settings, left)}
        failed[kind] = failed.get(kind, 0) + 1 if "error" in result else 0
        results.append(result)
        with file.open("a") as lines:
            lines.write(json.dumps(result) + "\n")
        (options.out / "table.md").write_text(table(results))
        print(f"{kind} {told(settings)}: {said(result)}", flush=True)
    print(f"{options.out / 'table.md'} holds {len(results)} results.")


def planned(out: Path, reference: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to measure, the most important first."""
    shards = str((out / "shards").resolve())
    if not torch.cuda.is_available():
        tiny = {"params": 3e4, "sequences": 2, "unroll": 8, "compile": "off"}
        yield "step", {"core": "lstm", **tiny}
        yield "gradient", {"frames": 16}
        yield "shards", {"folder": shards, "steps": 4_000}
        yield "bc", {"params": 3e4, "sequences": 8, "unroll": 8, "updates": 20, "shards": shards}
        yield "loader", {"processes": 2, "sequences": 8, "shards": shards}
        yield "step", {"core": "transformer", **tiny}
        yield "side by side", {"runs": 2, "core": "lstm", **tiny}
        yield "rl", {"env": "nethack", "params": 3e4, "envs": 4, "updates": 2}
        yield "sweep", {"params": 1e4, "runs": 2, "updates": 20, "by_rate": True, "shards": shards}
        return
    batch = {"unroll": 64, "compile": "on"}
    large = {"core": "lstm", "params": 5.7e7, "sequences": 128}
    yield "step", {**large, **batch}
    yield "gradient", {"frames": 8192}
    yield "step", {**large, **batch, "core": "transformer"}
    yield "step", {**large, **batch, "params": 1e6}
    yield "step", {**large, **batch, "params": 2e8, "sequences": 256}
    small = {"core": "lstm", "params": 1e6, "sequences": 16, "unroll": 32}
    for core, sequences in (("lstm", 16), ("lstm", 128), ("transformer", 16)):
        for compile in ("graphs", "on", "off"):
            yield "step", {**small, "core": core, "sequences": sequences, "compile": compile}
    yield "shards", {"folder": shards, "steps": 400_000}
    for params, updates in ((5.7e7, 500), (1e6, 700), (2e8, 200)):
        yield "bc", {"params": params, "sequences": 128, "unroll": 64, "updates": updates, "shards": shards}
    for envs, compile in ((512, "auto"), (512, "graphs"), (128, "auto"), (16, "auto"), (16, "graphs")):
        yield "rl", {"env": "nethack", "params": 1e6, "envs": envs, "updates": 8, "compile": compile}
    for envs, compile in ((256, "auto"), (256, "graphs"), (64, "auto")):
        yield "rl", {"env": "atari", "params": 1e6, "envs": envs, "updates": 4, "compile": compile}
    if reference is not None:
        yield "reference", {"path": str(reference.resolve())}
    for processes in (1, 2, 4, 8):
        if processes <= len(os.sched_getaffinity(0)):
            yield "loader", {"processes": processes, "sequences": 128, "shards": shards}
    for compile in ("off", "graphs"):
        for runs in (1, 2, 4, 8):
            yield "side by side", {"runs": runs, **small, "compile": compile}
    for by_rate in (True, False):
        yield "sweep", {"params": 1e6, "runs": 12, "updates": 3000, "by_rate": by_rate, "shards": shards}
    for sequences in (32, 512):
        yield "step", {**large, **batch, "sequences": sequences}
    for core, params in itertools.product(("lstm", "transformer"), (1e6, 1e7, 5.7e7, 2e8)):
        yield "step", {"core": core, "params": params, "sequences": 128, "unroll": 64, "compile": "off"}


def measured(kind: str, settings: dict[str, Any], seconds: float) -> Result:
    """The result of a measurement in a process of its own, or why there is none."""
    command = [sys.executable, str(MEASURES), json.dumps([kind, settings])]
    begun = time.monotonic()
    # A session of its own, so that what it started ends with it.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        answer, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"error": f"not done in the {seconds:.0f} s that were left"}
    took = {"took": round(time.monotonic() - begun, 1)}
    if process.returncode:
        return {"error": next(iter(errors.strip().splitlines()[-1:]), f"exit code {process.returncode}"), **took}
    return {**json.loads(answer.splitlines()[-1]), **took}


# ---- the table ----------------------------------------------------------------------------------------------------


def table(results: list[Result]) -> str:
    """All results in Markdown, in the order in which they came."""
    lines = ["| measurement | of | result |", "|---|---|---|"]
    lines += [f"| {r['kind']} | {told(r['settings'])} | {said(r)} |" for r in results]
    hardware = next((r["hardware"] for r in results if "hardware" in r), "")
    return f"{hardware}; {len(os.sched_getaffinity(0))} cores. `python benchmarks/gpu.py`\n\n" + "\n".join(lines) + "\n"


def told(settings: dict[str, Any]) -> str:
    """Settings in a line."""
    hidden = ("shards", "folder", "path")
    return ", ".join(f"{k} {number(v)}" for k, v in settings.items() if k not in hidden)


def said(result: Result) -> str:
    """A result in a line."""
    if "error" in result:
        return f"failed: {result['error']}"
    if result["kind"] == "gradient":
        parts = {k: v for k, v in result.items() if isinstance(v, dict) and "ms" in v}
        return "; ".join(f"{way} {v['ms']:.2f} ms, off by {v['error']:.0e}" for way, v in parts.items())
    if result["kind"] == "reference":
        return " / ".join(result["said"].strip().splitlines())
    if result["kind"] == "shards":
        of_a_core = {k: result["frames"] / result[f"{k}_s"] / result["cores"] for k in ("recording", "converting")}
        return ", ".join(f"{k} {number(v)} frames/s a core" for k, v in of_a_core.items())
    text = f"{number(result['frames_per_second'])} frames/s"
    text += f", {result['sharing']}" if result.get("sharing") else ""
    share = result.get("share", result.get("share_of_peak"))
    text += f", {share:.1%} of the matrix rate" if share is not None else ""
    text += f", {result['waiting_share']:.0%} of the time waiting" if "waiting_share" in result else ""
    text += f", {result['memory_gb']:.1f} GB" if result.get("memory_gb") else ""
    return text + (f", {result['compiling'][0]}" if result.get("compiling") else "")


def number(value: Any) -> str:
    """A setting or a rate for people."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return f"{value:,.0f}" if 1 <= abs(value) < 1e6 and math.isfinite(value) else f"{value:.3g}"


if __name__ == "__main__":
    main()
