"""Training steps of cloning on a GPU, as `training bc` takes them: frames per second, plain and compiled.

    python benchmarks/gpu_steps.py [--core lstm] [--params 5.7e7] [--sequences 128] [--unroll 64]

First the gradient of the characters' embedding: torch's own, the product with one-hot rows in chunks and in the Triton
kernel, against sums in double precision, and milliseconds each. Then the steps, eager and compiled, on screens that are
mostly blank. Steps are taken with CUDA's debugging of synchronisations set to raise, so that one that makes the host
wait fails. The rate is the share of the matrix rate measured in the same run, by the FLOPs of
`training/policies/flops.py`. Without a GPU it takes eager steps on few frames, to show that it runs.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from policies import ACTIONS, screens
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.config.cloning import CloningConfig
from training.learn.distributed import Place
from training.learn.learner import Learner
from training.policies.arithmetic import autocast, matrix_rate, precision, to_device
from training.policies.embedding import one_hot_product, product_in_chunks
from training.policies.family import count_params, spec_of
from training.policies.flops import flops_per_sample
from training.policies.losses import cloning_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", default="lstm", choices=["lstm", "transformer"])
    parser.add_argument("--params", type=float, default=5.7e7)
    parser.add_argument("--sequences", type=int, default=128)
    parser.add_argument("--unroll", type=int, default=64)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("There is no GPU here: eager steps on 2 × 8 frames.")
        options.sequences, options.unroll = 2, 8
    else:
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
        gradients(options.sequences * options.unroll, device)
    for compile in ("off", "on") if device.type == "cuda" else ("off",):
        steps(options, compile, device)


def gradients(frames: int, device: torch.device) -> None:
    """Print how long the gradient of 256 rows of 32 features takes each way, and how far it is from the exact one."""
    chars = screens(1, frames)["chars"][0, :, 1:-2].to(device)
    codes, longs = chars.flatten(), chars.flatten().long()
    for dtype in (torch.bfloat16, torch.float32):
        values = torch.randn(len(codes), 48, device=device, dtype=dtype)[:, :32]
        exact = torch.zeros(256, 32, device=device, dtype=torch.double).index_add_(0, longs, values.double())
        table = torch.zeros(256, 32, device=device, dtype=dtype, requires_grad=True)
        looked_up = F.embedding(longs, table)
        ways: Mapping[str, Callable[[], Tensor]] = {
            "torch": lambda y=looked_up, t=table, v=values: torch.autograd.grad(y, t, v, retain_graph=True)[0],
            "chunks": lambda v=values: product_in_chunks(codes, v, 256),
            "kernel": lambda v=values: one_hot_product(codes, v, 256),
        }
        for name, way in ways.items():
            error = float((way().double() - exact).norm() / exact.norm())
            print(f"  {str(dtype)[6:]:8} {name:6} {1e3 * median_seconds(way, device):7.2f} ms, off by {error:.1e}")


def steps(options: argparse.Namespace, compile: str, device: torch.device) -> None:
    """Print the rate of steps."""
    config = CloningConfig(
        params=options.params, samples=10**9, flops=1e18, core=options.core, batch_size=options.sequences,
        unroll_length=options.unroll, compile=compile,
    )  # fmt: skip
    spec = spec_of(config, ACTIONS)
    with TemporaryDirectory() as folder:
        learner = Learner.begin(config, spec, Place(rank=0, world=1, device=device), Path(folder))
    learner.learning.tell = lambda sentence, seconds: print(f"  {sentence}")
    dtype = precision(config, device)
    arrays = {name: value.numpy() for name, value in screens(options.sequences, options.unroll).items()}
    arrays["mask"] = arrays["start"] | True
    peak = matrix_rate(device, dtype)

    def step() -> None:
        batch = to_device(arrays, device)
        with autocast(device, dtype):
            logits, memory = learner.learning(batch, learner.memory)
        learner.memory = tuple(part.detach() for part in memory)
        total, count = cloning_loss(logits, batch["action"], batch["mask"])
        learner.step(total / count, config.learning_rate)

    step()
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    seconds = median_seconds(step, device)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
    speed = options.sequences * options.unroll / seconds
    share = speed * flops_per_sample(spec, options.unroll) / peak
    print(
        f"{options.core}, {count_params(spec):.3g} parameters, compile = {compile}: {1e3 * seconds:.0f} ms a step, "
        f"{speed:,.0f} frames/s, {share:.1%} of {peak:.3g} FLOP/s"
    )


def median_seconds(call: Callable[[], object], device: torch.device, rounds: int = 8) -> float:
    """Of eight calls in a row after three that do not count, each between two marks on the device's own clock."""
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
    for mark in marks:
        mark.record()
        if mark is not marks[-1]:
            call()
    debug = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode(debug)
    return statistics.median(a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(marks))


if __name__ == "__main__":
    main()
