"""Frames per second of stepping many games: ours against gymnasium's vector environments and a single environment.

    python benchmarks/stepping.py [--envs 16] [--workers 2] [--seconds 5]

Every NetHack contender plays human monks with the same share of keys: a random walk of single steps, with escape and
search, which ends no game on purpose and hangs in no prompt; all games end by themselves only. Each is asked for the
same observation (the 24 x 80 screen, its colours and the cursor). Atari plays random actions in Breakout, with the
settings of the paper; gymnasium's contenders are given ale-py's emulator with frame skip and stickiness, and are spared
the 84 x 84 preprocessing that ours includes. Prints frames/s and ratios measured in one run. Contenders take turns, two
rounds of half of `--seconds` each, so that a passing load on the machine hits all of them; frames per second of CPU
time, all processes together, depend less on it.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from nle import nethack

from training.games.atari import AtariVector
from training.games.nethack.game import Game, NetHackTask, begin, make
from training.games.nethack.vector import NetHackVector
from training.games.vector import game_seeds

SCREEN = ("tty_chars", "tty_colors", "tty_cursor")
KEYS = np.array([*range(8)] * 4 + [nethack.ACTIONS.index(nethack.Command.ESC)] * 6 + [75])
CHUNK = 50
ROUNDS = 2


def cpu_seconds() -> float:
    """CPU time of this process and of those it started, which a load from elsewhere hardly changes. Linux only."""
    total, todo = 0.0, [os.getpid()]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += [int(child) for child in children.read_text().split()]
    return total


class Contender:
    """Something that steps; `frames` are counted in chunks of steps until the time is over."""

    def __init__(self, name: str, step: Callable[[np.ndarray], object], envs: int, close: Callable[[], object]) -> None:
        self.name, self.step, self.envs, self.close = name, step, envs, close
        self.frames, self.seconds, self.cpu = 0, 0.0, 0.0

    def run(self, choices: np.ndarray, seconds: float, rng: np.random.Generator) -> None:
        """Step at random for so long."""
        start, cpu = time.perf_counter(), cpu_seconds()
        while time.perf_counter() - start < seconds:
            for actions in rng.choice(choices, (CHUNK, self.envs)):
                self.step(actions)
            self.frames += CHUNK * self.envs
        self.seconds += time.perf_counter() - start
        self.cpu += cpu_seconds() - cpu


def nethack_contenders(envs: int, workers: int) -> list[Contender]:
    task = NetHackTask()

    def single():
        env = make(task, observation_keys=SCREEN)
        begin(env, *game_seeds(0, 0, 2))
        return env

    ours = NetHackVector(task, count=envs, workers=workers)
    alone = NetHackVector(task, count=envs, workers=1)
    for vector in (ours, alone):
        vector.reset()
    raw = Game(task)
    raw.begin(*game_seeds(0, 0, 2))

    def step_raw(actions: np.ndarray) -> None:
        if any(raw.step(int(actions[0]))[1:]):
            raw.begin(*game_seeds(0, 1, 2))

    nle = single()

    def step_nle(actions: np.ndarray) -> None:
        _, _, terminated, truncated, _ = nle.step(int(actions[0]))
        if terminated or truncated:
            nle.reset()

    sync, asynchronous = SyncVectorEnv([single] * envs), AsyncVectorEnv([single] * envs)
    for vector in (sync, asynchronous):
        vector.reset()
    return [
        Contender(f"NetHackVector, {workers} workers", ours.step, envs, ours.close),
        Contender("NetHackVector, 1 worker", alone.step, envs, alone.close),
        Contender("gymnasium SyncVectorEnv", sync.step, envs, sync.close),
        Contender("gymnasium AsyncVectorEnv", asynchronous.step, envs, asynchronous.close),
        Contender("one Game", step_raw, 1, raw.close),
        Contender("one NLE environment", step_nle, 1, nle.close),
    ]


def atari_contenders(envs: int, workers: int) -> list[Contender]:
    def single():
        return gymnasium.make("ALE/Breakout-v5", obs_type="grayscale", frameskip=4, repeat_action_probability=0.25)

    ours = AtariVector("Breakout", count=envs, threads=workers)
    sync, asynchronous = SyncVectorEnv([single] * envs), AsyncVectorEnv([single] * envs)
    for vector in (ours, sync, asynchronous):
        vector.reset()
    return [
        Contender(f"AtariVector, {workers} threads", ours.step, envs, ours.close),
        Contender("gymnasium SyncVectorEnv", sync.step, envs, sync.close),
        Contender("gymnasium AsyncVectorEnv", asynchronous.step, envs, asynchronous.close),
    ]


def compare(title: str, contenders: list[Contender], choices: np.ndarray, seconds: float) -> None:
    try:
        for round_ in range(ROUNDS):
            for contender in contenders:
                contender.run(choices, seconds / ROUNDS, np.random.default_rng(round_))
    finally:
        for contender in contenders:
            contender.close()
    print(f"{title:28s} {'frames/s':>10s} {'ours is':>8s} {'frames/CPU s':>14s} {'ours is':>8s}")
    rates = [(c.name, c.frames / c.seconds, c.frames / c.cpu) for c in contenders]
    _, best, frugal = rates[0]
    for name, rate, per_cpu in rates:
        print(f"{name:28s} {rate:10,.0f} {best / rate:6.2f} x {per_cpu:14,.0f} {frugal / per_cpu:6.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    gymnasium.register_envs(ale_py)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {given.envs} environments")
    compare("NetHack", nethack_contenders(given.envs, given.workers), KEYS, given.seconds)
    compare("Atari", atari_contenders(given.envs, given.workers), np.arange(4), given.seconds)


if __name__ == "__main__":
    main()
