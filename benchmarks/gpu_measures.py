"""The measurements of `benchmarks/gpu.py`, each in a process of its own.

    python benchmarks/gpu_measures.py '["step", {"core": "lstm", "params": 1e6, "sequences": 16, "unroll": 32,
        "compile": "graphs"}]'

Prints the result as JSON in its last line.
"""

import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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
from training.design.plan import RunGrid
from training.design.plan import to_toml as plan_to_toml
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
        "compiling": said[-1] if said else None,
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


def rl(*, env: str, params: float, envs: int, updates: int, compile: str = "auto") -> Result:
    """`training rl` for so many updates."""
    made = functools.partial(reinforcement.configure, env=env, params=params, envs=envs, compile=compile)
    short = made(flops=1e15)
    return from_table("rl", to_toml(made(flops=updates * short.samples_per_update * short.flops_per_sample * 1.01)))


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
    command = [sys.executable, __file__, json.dumps(["step", settings])]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(runs)]
    rates = [json.loads(p.communicate()[0].splitlines()[-1])["frames_per_second"] for p in started]
    return {"frames_per_second": sum(rates), "of_each": rates}


def sweep(*, params: float, runs: int, updates: int, by_rate: bool, shards: str) -> Result:
    """`training sweep` of runs that differ in their seed, from its start to its end."""
    shape = {"batch_size": 16, "unroll_length": 32}
    flops = updates * 512 * flops_per_sample(spec_for("nethack", "lstm", params, ACTIONS, family=2), 32) * 1.0001
    run = {"data": shards, "max_epochs": 1e6, "heldout_frames": 1024, **shape}
    planned = RunGrid(grid={flops: [params]}, seeds=tuple(range(runs)), run=run)
    with TemporaryDirectory() as folder:
        (Path(folder) / "plan.toml").write_text(plan_to_toml(planned))
        begun = time.perf_counter()
        options = ["--out", f"{folder}/sweep", "--by-rate" if by_rate else "--no-by-rate"]
        command = [sys.executable, "-m", "training.cli", "sweep", f"{folder}/plan.toml", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    found = [line for line in done.stderr.splitlines() if "from now on" in line or "too short" in line]
    return {"frames_per_second": runs * updates * 512 / seconds, "whole_s": seconds, "sharing": " ".join(found)}


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
    "sweep": sweep,
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


if __name__ == "__main__":
    kind, settings = json.loads(sys.argv[1])
    print(json.dumps(MEASUREMENTS[kind](**settings)))
