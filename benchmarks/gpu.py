"""All that is claimed of training on a GPU, measured in one go, the most important first.

    python benchmarks/gpu.py --minutes 4 --out demo/gpu [--reference PATH]

Each measurement is a process of its own and is written as soon as it is there: a line of `results.jsonl`, and all of
them so far in `table.md`. What does not fit into the minutes is left out; called again with the same --out it goes on
with what is missing. Needs no network and no data: the built-in player records some games. --reference, a checkout of
princeton-nlp/il-scaling-in-games, adds the race of `benchmarks/policies.py`.

- step: a training step as `training bc` takes it, on screens that are mostly blank, the median of eight after three.
  CUDA's debugging of synchronisations is set to raise, so that a step that makes the host wait fails.
- gradient: that of the characters' embedding: torch's own, the product in chunks and the Triton kernel; each with its
  distance from sums in double precision.
- bc, rl: `training bc` and `training rl` from end to end; the rate is that of the run table.
- loader: batches of 128 × 64 frames by processes that decode.
- side by side: steps of small batches of several runs on one card, all together.

Share is that of the matrix rate measured in the same process, by the FLOPs of `training/policies/flops.py`. Without a
GPU everything is tiny, to show that it runs.
"""

import argparse
import itertools
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from policies import ACTIONS, screens
from torch.nn import functional as F  # noqa: N812

from training.batches.training import training_batches
from training.config.base import to_toml
from training.config.cloning import CloningConfig
from training.design import cloning, reinforcement
from training.learn.distributed import Place
from training.learn.learner import Learner
from training.policies.arithmetic import autocast, matrix_rate, precision, to_device
from training.policies.family import count_params, spec_for, spec_of
from training.policies.flops import flops_per_sample
from training.policies.losses import cloning_loss
from training.policies.networks.embedding import one_hot_product, product_in_chunks
from training.record.nethack.convert import convert
from training.record.nethack.recorder import collect
from training.shards.reader import Shards

Result = dict[str, Any]
LEAST = 20.0  # seconds that must be left for a measurement to begin
GOES_ON = 2  # measurements of one kind in a row that may fail before the rest of the kind is left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--out", type=Path, default=Path("demo/gpu"))
    parser.add_argument("--reference", type=Path, help="checkout of princeton-nlp/il-scaling-in-games")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    if options.measure:
        kind, settings = json.loads(options.measure)
        print(json.dumps(MEASUREMENTS[kind](**settings)))
        return
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
        return
    batch = {"unroll": 64, "compile": "on"}
    large = {"core": "lstm", "params": 5.7e7, "sequences": 128}
    yield "step", {**large, **batch}
    yield "gradient", {"frames": 8192}
    yield "step", {**large, **batch, "core": "transformer"}
    yield "step", {**large, **batch, "params": 1e6}
    yield "step", {**large, **batch, "params": 2e8, "sequences": 256}
    yield "shards", {"folder": shards, "steps": 400_000}
    for params, updates in ((5.7e7, 500), (1e6, 700), (2e8, 200)):
        yield "bc", {"params": params, "sequences": 128, "unroll": 64, "updates": updates, "shards": shards}
    for envs in (16, 128):
        yield "rl", {"env": "nethack", "params": 1e6, "envs": envs, "updates": 8}
    if reference is not None:
        yield "reference", {"path": str(reference.resolve())}
    for processes in (1, 2, 4, 8):
        if processes <= len(os.sched_getaffinity(0)):
            yield "loader", {"processes": processes, "sequences": 128, "shards": shards}
    small = {"core": "lstm", "params": 1e6, "sequences": 16, "unroll": 32, "compile": "off"}
    for runs in (1, 2, 4, 8):
        yield "side by side", {"runs": runs, **small}
    yield "rl", {"env": "atari", "params": 1e6, "envs": 128, "updates": 8}
    for sequences in (32, 512):
        yield "step", {**large, **batch, "sequences": sequences}
    for core, params in itertools.product(("lstm", "transformer"), (1e6, 1e7, 5.7e7, 2e8)):
        yield "step", {"core": core, "params": params, "sequences": 128, "unroll": 64, "compile": "off"}


def measured(kind: str, settings: dict[str, Any], seconds: float) -> Result:
    """The result of a measurement in a process of its own, or why there is none."""
    command = [sys.executable, __file__, "--measure", json.dumps([kind, settings])]
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


# ---- measurements -------------------------------------------------------------------------------------------------


def step(*, core: str, params: float, sequences: int, unroll: int, compile: str) -> Result:
    """Frames a second and memory of training steps."""
    device, torch_name = machine()
    config = CloningConfig(
        params=round(params), samples=10**9, flops=1e18, core=core, batch_size=sequences, unroll_length=unroll,
        family=2, compile=compile,
    )  # fmt: skip
    spec = spec_of(config, ACTIONS)
    with TemporaryDirectory() as folder:
        learner = Learner.begin(config, spec, Place(rank=0, world=1, device=device), Path(folder))
    said: list[tuple[str, float]] = []
    learner.learning.tell = lambda sentence, seconds: said.append((sentence, seconds))
    dtype = precision(config, device)
    arrays = {name: value.numpy() for name, value in screens(sequences, unroll).items()}
    arrays["mask"] = arrays["start"] | True
    peak = matrix_rate(device, dtype)

    def once() -> None:
        batch = to_device(arrays, device)
        with autocast(device, dtype):
            logits, memory = learner.learning(batch, learner.memory)
        learner.memory = tuple(part.detach() for part in memory)
        total, count = cloning_loss(logits, batch["action"], batch["mask"])
        learner.step(total / count, config.learning_rate)

    once()
    seconds = median_seconds(once, device, waits="error")
    speed = sequences * unroll / seconds
    rate = speed * flops_per_sample(spec, unroll)
    return {
        "hardware": torch_name,
        "parameters": count_params(spec),
        "ms": 1e3 * seconds,
        "frames_per_second": speed,
        "flops_per_second": rate,
        "share": rate / peak,
        "matrix_rate": peak,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None,
        "compiling": said[0] if said else None,
    }


def gradient(*, frames: int) -> Result:
    """Milliseconds and relative error of the gradient of 256 rows of 32 features, each way."""
    device, torch_name = machine()
    chars = screens(1, frames)["chars"][0, :, 1:-2].to(device)
    codes, longs = chars.flatten(), chars.flatten().long()
    result: Result = {"hardware": torch_name}
    for dtype in (torch.bfloat16, torch.float32):
        values = torch.randn(len(codes), 48, device=device, dtype=dtype)[:, :32]
        exact = torch.zeros(256, 32, device=device, dtype=torch.double).index_add_(0, longs, values.double())
        table = torch.zeros(256, 32, device=device, dtype=dtype, requires_grad=True)
        looked_up = F.embedding(longs, table)
        ways: dict[str, Callable[[], torch.Tensor]] = {
            "torch": lambda y=looked_up, t=table, v=values: torch.autograd.grad(y, t, v, retain_graph=True)[0],
            "chunks": lambda v=values: product_in_chunks(codes, v, 256),
            "kernel": lambda v=values: one_hot_product(codes, v, 256),
        }
        for name, way in ways.items():
            error = float((way().double() - exact).norm() / exact.norm())
            result[f"{name} {str(dtype)[6:]}"] = {"ms": 1e3 * median_seconds(way, device), "error": error}
    return result


def record_shards(*, folder: str, steps: int) -> Result:
    """Record games of the built-in player on all cores and convert them."""
    games, cores = Path(folder).with_name("games"), len(os.sched_getaffinity(0))
    begun = time.perf_counter()
    collect(games, steps=steps, append=games.exists())
    recorded = time.perf_counter()
    if not Path(folder).exists():
        convert(games, folder)
    frames = sum(game.frames for game in Shards(folder).games)
    ended = time.perf_counter()
    return {"cores": cores, "frames": frames, "recording_s": recorded - begun, "converting_s": ended - recorded}


def bc(*, params: float, sequences: int, unroll: int, updates: int, shards: str) -> Result:
    """`training bc` for so many updates."""
    spec = spec_for("nethack", "lstm", params, ACTIONS, family=2)
    compile = "on" if torch.cuda.is_available() else "off"
    samples = updates * sequences * unroll
    config = cloning.configure(
        params=params, flops=samples * flops_per_sample(spec, unroll) * 1.0001, data=shards, batch_size=sequences,
        unroll_length=unroll, max_epochs=1e6, heldout_frames=1024, compile=compile,
    )  # fmt: skip
    return from_table("bc", to_toml(config))


def rl(*, env: str, params: float, envs: int, updates: int) -> Result:
    """`training rl` for so many updates."""
    config = reinforcement.configure(env=env, params=params, flops=1e15, envs=envs)
    cost = config.flops / config.samples
    flops = cost * updates * config.samples_per_update * 1.01
    return from_table("rl", to_toml(reinforcement.configure(env=env, params=params, flops=flops, envs=envs)))


def from_table(command: str, text: str) -> Result:
    """Run a config; the rate that the run table tells."""
    with TemporaryDirectory() as folder:
        config, runs = Path(folder) / "run.toml", Path(folder) / "runs.csv"
        config.write_text(text)
        begun = time.perf_counter()
        arguments = [command, str(config), "--table", str(runs), "--out", f"{folder}/run"]
        done = subprocess.run(
            [sys.executable, "-m", "training.cli", *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        row = pd.read_csv(runs).iloc[-1]
        columns = ("hardware", "params", "samples", "frames_per_second", "share_of_peak", "waiting_share")
        told = {name: row[name] for name in columns if name in row and not pd.isna(row[name])}
        told = {name: value.item() if hasattr(value, "item") else value for name, value in told.items()}
        return {**told, "whole_s": time.perf_counter() - begun}


def loader(*, processes: int, sequences: int, shards: str) -> Result:
    """Frames a second of batches that nobody uses."""
    with training_batches(
        Shards(shards), batch_size=sequences, unroll_length=64 if sequences > 8 else 8, workers=processes
    ) as batches:
        for _ in range(3):
            next(batches)
        begun, frames = time.perf_counter(), 0
        while time.perf_counter() - begun < 4:
            frames += next(batches)["action"].size
        return {"frames_per_second": frames / (time.perf_counter() - begun)}


def side_by_side(*, runs: int, **settings: Any) -> Result:
    """Steps of several processes at a time."""
    command = [sys.executable, __file__, "--measure", json.dumps(["step", settings])]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(runs)]
    rates = [json.loads(p.communicate()[0].splitlines()[-1])["frames_per_second"] for p in started]
    return {"frames_per_second": sum(rates), "of_each": rates}


def reference(*, path: str) -> Result:
    """The race of `benchmarks/policies.py` at the published width."""
    script = Path(__file__).with_name("policies.py")
    command = [sys.executable, str(script), "--reference", path, "--widths", "1738"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return {"said": done.stdout}


MEASUREMENTS: dict[str, Callable[..., Result]] = {
    "step": step,
    "gradient": gradient,
    "shards": record_shards,
    "bc": bc,
    "rl": rl,
    "loader": loader,
    "side by side": side_by_side,
    "reference": reference,
}


def machine() -> tuple[torch.device, str]:
    """The device, and its name with torch's version."""
    if torch.cuda.is_available():
        return torch.device("cuda"), f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return torch.device("cpu"), f"CPU, torch {torch.__version__}"


def median_seconds(
    call: Callable[[], object], device: torch.device, rounds: int = 8, *, waits: str = "default"
) -> float:
    """Of calls in a row after three that do not count, each between two marks on the device's own clock.

    waits: whether calls may make the host wait, `error` or `default` as in torch.cuda.set_sync_debug_mode.
    """
    if device.type == "cpu":
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
        return statistics.median(times)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    for _ in range(3):
        call()
    torch.cuda.set_sync_debug_mode(waits)
    for mark in marks:
        mark.record()
        if mark is not marks[-1]:
            call()
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize(device)
    return statistics.median(a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks))


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
