"""Frames per second of PPO, acting and learning: ours, ours fed by gymnasium, and sb3-contrib's RecurrentPPO.

    python benchmarks/rl_speed.py [--params 1e5] [--threads 2] [--workers 2] [--updates 1] [--repeats 3]

An LSTM policy plays NetHackScore by the rules of `training configure`: 64 games, 64 frames of each in an update,
gradients of 1,024 frames, two passes; also shown by the rules before (16 games, gradients of 256 frames) and with
learning after playing, where else the next rollout is played while the last is learned from (`lag`), with half of the
threads each until it is played. Against our loop over `NetHackVector` stand the same policy and learner fed by
gymnasium's SyncVectorEnv and AsyncVectorEnv over NLE's own environments, and RecurrentPPO fed by stable-baselines3's
DummyVecEnv and SubprocVecEnv over the same. RecurrentPPO is given all of our policy up to the LSTM as its features
extractor, and one LSTM for policy and value: as many parameters as ours. Most of the time goes into that encoder, so a
third RecurrentPPO has the same layers and weights written plainly: two embeddings, concatenated, channels first; it has
16 games and gradients of 256 frames, as a user would write it.

RecurrentPPO is no dependency of the project. Install it beside, or be told the other ratios alone:

    pip install --no-deps --target /tmp/sb3 sb3-contrib stable-baselines3 cloudpickle
    PYTHONPATH=/tmp/sb3 python benchmarks/rl_speed.py

Everything is measured in one run: after an update that is not timed, contenders take turns, `--updates` at a time, so
that a passing load on the machine hits all of them. Prints medians over the repeats, ratios of medians, the least and
the greatest ratio of a turn, and frames per second of CPU time, all processes together, which depend less on the load.
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stepping import SCREEN, cpu_seconds
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from training.config.reinforcement import ReinforcementConfig
from training.design.reinforcement import configure
from training.games.nethack.game import NetHackTask, begin, make
from training.games.nethack.vector import NetHackVector
from training.games.vector import GameResult, Transition, checked_actions, game_seeds
from training.interrupts import StopFlag
from training.learn.distributed import place
from training.learn.learner import Learner
from training.learn.rl import learn
from training.learn.rollouts import Rollouts
from training.policies.arithmetic import keep_memory
from training.policies.family import PolicySpec, build, count_params, spec_of
from training.policies.networks.nethack_screen import COLOURS, ScreenEncoder, ScreenSizes, cells_around

# torchrl makes "spawn" the way in which multiprocessing starts processes; theirs would each import all of this again.
START = "fork"
ABORTED = -1
"""NLE's end status of a game that was cut off."""


class SeededGame(gymnasium.Wrapper):
    """NLE's environment whose games are a slot's own, one after another, cut off rather than terminated by a limit.

    previous: the action before is part of what is observed.
    """

    def __init__(self, task: NetHackTask, slot: int, *, previous: bool = False) -> None:
        super().__init__(make(task, observation_keys=SCREEN))
        self._slot, self._game, self._previous = slot, 0, previous
        if previous:
            own = gymnasium.spaces.Box(0, task.actions - 1, (1,), np.int64)
            self.observation_space = gymnasium.spaces.Dict({**self.env.observation_space.spaces, "previous": own})

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin the slot's next game."""
        self._game += 1
        screen = begin(self.env.unwrapped, *game_seeds(self._slot, self._game, 2))
        return self._seen(screen, 0), {}

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """NLE's own step."""
        screen, reward, ended, _, info = self.env.step(int(action))
        cut = ended and int(info["end_status"]) == ABORTED
        return self._seen(screen, int(action)), float(reward), ended and not cut, cut, info

    def _seen(self, screen: dict[str, np.ndarray], action: int) -> dict[str, np.ndarray]:
        return {**screen, "previous": np.array([action])} if self._previous else screen


class GymnasiumVector:
    """A vector environment of gymnasium's as a `training.games.Vector`; scores are sums of rewards."""

    def __init__(self, envs: SyncVectorEnv | AsyncVectorEnv) -> None:
        self._envs, self.count = envs, envs.num_envs
        self.actions = int(envs.single_action_space.n)
        self._game, self._length, self._score = (np.zeros(self.count, kind) for kind in (np.int64, np.int64, float))

    def reset(self) -> Transition:
        """Begin the first games."""
        screens, _ = self._envs.reset()
        nothing = np.zeros(self.count, bool)
        return self._shown(screens, np.ones(self.count, bool), np.zeros(self.count, np.float32), nothing, nothing)

    def step(self, actions: np.ndarray) -> Transition:
        """One action in every slot."""
        self.send(actions)
        return self.receive()

    def send(self, actions: np.ndarray) -> None:
        """Begin a step, where gymnasium has something to begin."""
        self._actions = checked_actions(actions, self.count, self.actions)
        if isinstance(self._envs, AsyncVectorEnv):
            self._envs.step_async(self._actions)

    def receive(self) -> Transition:
        """Wait for the step, or take it."""
        if isinstance(self._envs, AsyncVectorEnv):
            screens, reward, terminated, truncated, info = self._envs.step_wait()
        else:
            screens, reward, terminated, truncated, info = self._envs.step(self._actions)
        self._length += 1
        self._score += reward
        ended = terminated | truncated
        results = tuple(
            GameResult(
                slot=slot, game=int(self._game[slot]), score=float(self._score[slot]), length=int(self._length[slot]),
                truncated=bool(truncated[slot]), crashed=False,
            )
            for slot in np.flatnonzero(ended).tolist()
        )  # fmt: skip
        final = {slot: _fields(info["final_obs"][slot]) for slot in np.flatnonzero(truncated).tolist()}
        self._length[ended] = self._score[ended] = 0
        self._game[ended] += 1
        return self._shown(screens, ended, reward.astype(np.float32), terminated, truncated, results, final)

    def close(self) -> None:
        """End the environments."""
        self._envs.close()

    def __enter__(self) -> "GymnasiumVector":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _shown(self, screens, start, reward, terminated, truncated, results=(), final=None) -> Transition:
        return Transition(
            fields=_fields(screens), start=start, playing=np.ones(self.count, bool), game=self._game, reward=reward,
            terminated=terminated, truncated=truncated, results=results, final=final or {},
        )  # fmt: skip


def _fields(screens: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    chars, colors, cursor = (screens[name] for name in SCREEN)
    return {"chars": chars, "colors": colors.view(np.uint8), "cursor": cursor}


class PlainScreen(ScreenEncoder):
    """Our screen encoder without what makes it fast; the same numbers, but for rounding."""

    def __init__(self, sizes: ScreenSizes) -> None:
        super().__init__(sizes)
        self.to(memory_format=torch.contiguous_format)

    def forward(self, chars: Tensor, colors: Tensor, cursor: Tensor) -> Tensor:
        """[N, sizes.out]."""
        chars = chars.long()
        cells = chars[:, 1:-2] * COLOURS + colors[:, 1:-2]
        parts = [
            self.message(chars[:, 0], self.characters),
            self.status(chars[:, -2:].flatten(1)),
            self.map(self._looked_up(cells)),
            self.crop(self._looked_up(cells_around(cells, cursor, -4))),
        ]
        return torch.cat(parts, dim=1)

    def _looked_up(self, cells: Tensor) -> Tensor:
        pairs = F.embedding(cells // COLOURS, self.characters), F.embedding(cells % COLOURS, self.colours)
        return torch.cat(pairs, dim=-1).permute(0, 3, 1, 2).contiguous()


class Contender:
    """Something that plays and learns; `update` does both once and says how long it waited for games, if it knows."""

    def __init__(
        self, name: str, params: int, frames: int, update: Callable[[], float | None], close: Callable[[], object]
    ) -> None:
        """frames: of an update."""
        self.name, self.params, self.frames, self.update, self.close = name, params, frames, update, close
        self.seconds: list[float] = []
        self.cpu: list[float] = []
        self.waited = 0.0

    def run(self, updates: int) -> None:
        """So many timed updates; times are kept for each frame."""
        start, cpu = time.perf_counter(), cpu_seconds()
        for _ in range(updates):
            self.waited += self.update() or 0.0
        self.seconds.append((time.perf_counter() - start) / (updates * self.frames))
        self.cpu.append((cpu_seconds() - cpu) / (updates * self.frames))


def ours(name: str, vectors: list[Any], config: ReinforcementConfig, spec: PolicySpec) -> Contender:
    """Our actor and learner over groups of games."""
    with place() as here:
        learner = Learner.begin(config, spec, here, Path("nowhere"), critic=True)
    assert learner.critic is not None
    rollouts = Rollouts(
        vectors, config, learner.policy, learner.critic, here.device, torch.float32, config.seed, StopFlag()
    )
    shuffle = torch.Generator().manual_seed(config.seed)

    def update() -> float:
        with rollouts.next(more=True) as rollout:
            learn(learner, rollout, config, config.learning_rate, shuffle, torch.float32, rollouts.halfway)
        return rollout.waited

    parameters = sum(p.numel() for part in (learner.policy, learner.critic) for p in part.parameters())
    return Contender(
        name, parameters, config.samples_per_update, update, lambda: [vector.close() for vector in vectors]
    )


def theirs(
    task: NetHackTask, config: ReinforcementConfig, usual: ReinforcementConfig, spec: PolicySpec
) -> list[Contender]:
    """RecurrentPPO over both of stable-baselines3's vectors; nothing, and a sentence, where it is not installed.

    usual: games and batches as a user would choose them.
    """
    try:
        from sb3_contrib import RecurrentPPO  # pyright: ignore[reportMissingImports]
        from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # pyright: ignore[reportMissingImports]
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        print(f"without RecurrentPPO ({error}); see the head of this file for how to install it beside the project")
        return []

    class Front(BaseFeaturesExtractor):
        """All of our policy before its LSTM."""

        def __init__(self, observation_space: gymnasium.Space, plain: bool) -> None:
            super().__init__(observation_space, spec.width)
            policy: Any = build(spec)
            self.screen, self.mix_screen, self.mix = policy.screen, policy.mix_screen, policy.mix
            self.mix_previous = policy.mix_previous
            if plain:
                self.screen = PlainScreen(spec.screen)
                self.screen.load_state_dict(policy.screen.state_dict())

        def forward(self, seen: dict[str, torch.Tensor]) -> torch.Tensor:
            """[N, width] of a batch of frames, which come as floats."""
            x = self.mix_screen(self.screen(*(seen[name].long() for name in SCREEN)))
            x = x + self.mix_previous.index_select(0, seen["previous"].long().flatten())
            return torch.relu(self.mix(torch.relu(x)))

    def contender(name: str, config: ReinforcementConfig, games: Any, plain: bool = False) -> Contender:
        torch.manual_seed(config.seed)
        model = RecurrentPPO(
            "MultiInputLstmPolicy", games, learning_rate=config.learning_rate, n_steps=config.rollout,
            batch_size=config.batch_size * config.unroll_length, n_epochs=config.epochs, gamma=config.discount,
            gae_lambda=config.gae_lambda, clip_range=config.ratio_clip, ent_coef=config.entropy,
            vf_coef=config.value_cost, max_grad_norm=config.clip, seed=config.seed, device="cpu",
            policy_kwargs={
                "features_extractor_class": Front, "features_extractor_kwargs": {"plain": plain},
                "lstm_hidden_size": spec.width, "shared_lstm": True,
                "enable_critic_lstm": False, "net_arch": [], "ortho_init": False,
            },
        )  # fmt: skip
        parameters = sum(p.numel() for p in model.policy.parameters())

        def update() -> None:
            model.learn(config.samples_per_update, log_interval=None, reset_num_timesteps=False)

        return Contender(name, parameters, config.samples_per_update, update, games.close)

    def games(count: int) -> list[Callable[[], gymnasium.Env]]:
        return [lambda slot=slot: SeededGame(task, slot, previous=True) for slot in range(count)]

    return [
        contender("RecurrentPPO, SubprocVecEnv", config, SubprocVecEnv(games(config.envs), start_method=START)),
        contender("RecurrentPPO, DummyVecEnv", config, DummyVecEnv(games(config.envs))),
        contender("RecurrentPPO, plain encoder", usual, DummyVecEnv(games(usual.envs)), plain=True),
    ]


def contenders(config: ReinforcementConfig, before: ReinforcementConfig, workers: int) -> list[Contender]:
    """Ours first. Those that fork are made before anything has used torch's threads; before: by the rules before."""
    task = NetHackTask.of(config.task)
    spec = spec_of(config, task.actions)
    print(f"{count_params(spec):,} parameters of the policy (width {spec.width})")
    games = [lambda slot=slot: SeededGame(task, slot) for slot in range(config.envs)]
    fed = {
        "ours, gymnasium AsyncVectorEnv": AsyncVectorEnv(games, context=START, autoreset_mode=AutoresetMode.SAME_STEP),
        "ours, gymnasium SyncVectorEnv": SyncVectorEnv(games, autoreset_mode=AutoresetMode.SAME_STEP),
    }
    others = theirs(task, config, before, spec)

    def vectors(run: ReinforcementConfig) -> list[NetHackVector]:
        count = run.envs // run.groups
        return [NetHackVector(task, count=count, workers=workers, seed=seed) for seed in range(run.groups)]

    return [
        ours("ours", vectors(config), config, spec),
        ours("ours, rules before", vectors(before), before, spec),
        ours("ours, learning after playing", vectors(config), dataclasses.replace(config, lag=0), spec),
        *(ours(name, [GymnasiumVector(envs)], config, spec) for name, envs in fed.items()),
        *others,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=float, default=1e5)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="torch's, of each")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--updates", type=int, default=1, help="in each turn")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    keep_memory()
    config = configure(env="nethack", params=given.params, flops=1e18, device="cpu")
    before = configure(env="nethack", params=given.params, flops=1e18, rules=4)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, {given.threads} threads")
    print(f"{config.task}: {config.envs} games × {config.rollout} frames an update, {config.epochs} passes")
    field = contenders(config, before, given.workers)
    try:
        for one in field:
            one.update()
        for _ in range(given.repeats):
            for one in field:
                one.run(given.updates)
    finally:
        for one in field:
            one.close()
    tell(field, given.updates)


def tell(field: list[Contender], updates: int) -> None:
    """Print rates and ratios; updates: of a turn."""
    best = field[0]
    print(
        f"{'':31s} {'parameters':>10s} {'frames/s':>9s} {'ours is':>8s} {'(turns)':>16s} "
        f"{'per CPU s':>9s} {'ours is':>8s}"
    )
    for one in field:
        wall, cpu = statistics.median(one.seconds), statistics.median(one.cpu)
        turns = sorted(s / b for s, b in zip(one.seconds, best.seconds, strict=True))
        print(
            f"{one.name:31s} {one.params:10,} {1 / wall:9,.0f} {wall / statistics.median(best.seconds):6.2f} x "
            f"({turns[0]:5.2f} to {turns[-1]:5.2f}) {1 / cpu:9,.0f} {cpu / statistics.median(best.cpu):6.2f} x"
        )
    for one in field:
        if one.waited:
            spent = sum(one.seconds) * updates * one.frames
            print(f"{one.name}: waits for games {one.waited / spent:.1%} of the time")


if __name__ == "__main__":
    main()
