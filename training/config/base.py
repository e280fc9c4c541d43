"""What every training run has: an immutable config, checked on construction, written as TOML."""

import dataclasses
import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from training.config.checks import at_least, one_of, positive, share, typed
from training.errors import ConfigError
from training.toml import toml_value

ENVS = ("nethack", "atari")
ALGORITHMS = ("bc", "ppo", "vtrace")
CORES = {"nethack": ("lstm", "transformer"), "atari": ("cnn", "nature")}
"""Cores of the policies of each environment; the first is the default."""
FAMILIES = (1, 2)
"""Versions of the family of policies, the newest last; runs and checkpoints name their own, so that they keep it."""
SCHEDULES = ("constant", "cosine", "wsd")
PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE = ("auto", "on", "off", "graphs")
# NetHack's character option as NLE takes it: role-race-alignment-gender, or @ for a random one.
_ROLES = "arc bar cav hea kni mon pri ran rog sam tou val wiz".replace(" ", "|")
CHARACTER = re.compile(rf"@|({_ROLES})-(hum|elf|dwa|gno|orc)-(law|neu|cha)-(mal|fem)")
# What `training.games.nethack.game.NetHackTask.of` reads: a task, a character, or a task:character.
_NETHACK_TASK = re.compile(rf"(NetHackChallenge|NetHackScore)(:({CHARACTER.pattern}))?|{CHARACTER.pattern}")
_GAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_MAX_SEED = 2**32 - 1  # numpy's legacy generators and NLE take no more
GAME_LIMIT = 5_000
"""Actions after which a game played to measure is cut off where nothing else is asked for, in what is designed now: as
NLE cuts off NetHackScore, and five and a half minutes of an Atari game. A config names its own."""
LATER = {"later": True}  # of a field that came after runs had been made: at its default it is not part of their hash


def default_core(env: str) -> str:
    """The core of a policy in an environment where none is asked for. Raises ConfigError for an unknown environment."""
    one_of("env", env, ENVS)
    return CORES[env][0]


def default_task(env: str, algorithm: str) -> str:
    """What is played where no task is given: experts are cloned as NLD-AA has them, learners play for the score.

    Raises ConfigError for an unknown environment.
    """
    one_of("env", env, ENVS)
    if env == "atari":
        return "Breakout"
    return TrainingConfig.task if algorithm == "bc" else "NetHackScore"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(ABC):
    """What every run has. Whole floats are taken for integers, so that `params = 1e7` reads well in TOML.

    Raises ConfigError on construction for any value that no run can have.
    """

    params: int
    """Model parameters N aimed at."""
    samples: int
    """Training samples D: environment frames with one action each."""
    flops: float
    """Training compute C (FLOPs), forward and backward; of reinforcement learning also the forward passes of acting."""
    env: str = "nethack"
    """nethack or atari."""
    task: str = "mon-hum-neu-mal"
    """NetHack character (role-race-alignment-gender, @ for random), NetHackScore or NetHackScore:character; or Atari
    game (Breakout)."""
    algorithm: str = "bc"
    """How the policy learns: bc (cloning of recorded experts), ppo or vtrace (reinforcement learning)."""
    core: str = "lstm"
    """Sequence core in NetHack: lstm or transformer. Network in Atari: cnn, as in the paper, or nature, with a hidden
    layer (Mnih et al., 2015)."""
    batch_size: int = 128
    """Sequences per batch."""
    unroll_length: int = 80
    """Consecutive frames per sequence, through which gradients flow back."""
    learning_rate: float = 2e-4
    """Peak step size of Adam."""
    schedule: str = "constant"
    """constant, cosine (to a tenth of the peak) or wsd (warm-up, stable, linear decay to zero)."""
    warmup: float = 0.02
    """Share of the updates over which the step size rises from zero."""
    decay: float = 0.2
    """Share of the updates, the last ones, over which wsd decays."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    checkpoints: tuple[float, ...] = ()
    """Budgets (FLOPs) at which to measure and save, beside `flops`, the last one; a row of the run table each."""
    episodes: int = 0
    """Games to play at each checkpoint for the return; 0 measures the loss alone."""
    episode_steps: int = 0
    """Actions after which such a game is cut off; 0 is the environment's own limit."""
    precision: str = "auto"
    """float32 or bfloat16 arithmetic; auto takes bfloat16 where the GPU has it."""
    compile: str = dataclasses.field(default="auto", compare=False)
    """Compile the policy's training step: on, off, graphs (and replay it as CUDA graphs), or auto, on a GPU where it
    pays, with graphs where updates are small. In reinforcement learning graphs are of playing alone, and only where
    they are asked for. How a run is computed, not which run it is: it may change when a run goes on."""
    seed: int = 0
    """Seeds weights, data order and environments."""
    group: str = dataclasses.field(default="", metadata=LATER)
    """What the run is compared with in its table, such as other runs on the same games; the environment, core and
    algorithm name it unless given."""
    family: int = dataclasses.field(default=1, metadata=LATER)
    """Version of the family of policies, from which the widths of NetHack's follow: 1 or 2."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, typed(field.name, field.type, getattr(self, field.name)))
        one_of("env", self.env, ENVS)
        one_of("algorithm", self.algorithm, ALGORITHMS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("family", self.family, FAMILIES)
        one_of("compile", self.compile, COMPILE)
        one_of(f"core of a run in {self.env}", self.core, CORES[self.env])
        self._check_task()
        for name in ("params", "samples", "batch_size", "unroll_length"):
            at_least(1, name, getattr(self, name))
        for name in ("flops", "learning_rate", "clip"):
            positive(name, getattr(self, name))
        for name in ("warmup", "decay"):
            share(name, getattr(self, name))
        for name in ("episodes", "episode_steps"):
            at_least(0, name, getattr(self, name))
        if not 0 <= self.seed <= _MAX_SEED:
            raise ConfigError(f"seed must be between 0 and 2^32 - 1, got {self.seed}.")
        if self.group != self.group.strip() or not self.group.isprintable():
            raise ConfigError(
                f"group must be one line of letters that are printed, without spaces around it, got {self.group!r}."
            )
        self._check_algorithm()
        if self.samples < self.samples_per_update:
            raise ConfigError(
                f"samples = {self.samples} is less than one update of {self._update} = {self.samples_per_update}; "
                f"raise samples or lower {self._update.partition(' ')[0]}."
            )
        self._check_checkpoints()

    _update: ClassVar[str]
    """The factors of `samples_per_update`, for people."""

    @property
    @abstractmethod
    def samples_per_update(self) -> int:
        """Frames that an update takes."""

    @abstractmethod
    def _check_algorithm(self) -> None:
        """Raise ConfigError for what this way of learning cannot do."""

    @property
    def updates(self) -> int:
        """Whole optimiser updates that the samples give; a remainder smaller than a batch is not trained on."""
        return self.samples // self.samples_per_update

    @property
    def flops_per_sample(self) -> float:
        """Training compute per frame that the budget allows (FLOPs)."""
        return self.flops / self.samples

    @property
    def budgets(self) -> tuple[float, ...]:
        """Every budget (FLOPs) at which the run is measured and saved, ascending; the last is `flops`."""
        return tuple(sorted({*self.checkpoints, self.flops}))

    @property
    def identity(self) -> str:
        """Hash of all that makes it this run: the same run has the same."""
        text = to_toml(self)
        for field in dataclasses.fields(self):
            default = getattr(self, field.name) == field.default
            if not field.compare or (field.metadata == LATER and default):
                text = text.replace(f"{field.name} = {toml_value(getattr(self, field.name))}\n", "")
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def row_group(self) -> str:
        """Of its rows in the run table."""
        if self.group:
            return self.group
        learned = "" if self.algorithm == "bc" else f"-{self.algorithm}"
        if self.env == "nethack":
            return f"nethack-{self.core}{learned}"
        return f"{self.task}{learned}" if self.core == CORES["atari"][0] else f"{self.task}-{self.core}{learned}"

    @property
    def name(self) -> str:
        """Of the run, in its table and for its folder."""
        learned = "" if self.algorithm == "bc" else f"-{self.algorithm}"
        return f"{self.env}-{self.core}{learned}-{self.params:.3g}-{self.identity}"

    def updates_within(self, budget: float) -> int:
        """The most whole updates that a budget (FLOPs) pays for."""
        return min(int(budget / self.flops * self.samples / self.samples_per_update * (1 + 1e-12)), self.updates)

    def _check_checkpoints(self) -> None:
        for budget in self.checkpoints:
            if not 0 < budget <= self.flops:
                raise ConfigError(f"checkpoints must lie above 0 and up to flops = {self.flops:g}, got {budget:g}.")
            if self.updates_within(budget) < 1:
                raise ConfigError(
                    f"the checkpoint at {budget:g} FLOPs comes before the first update, which costs "
                    f"{self.flops_per_sample * self.samples_per_update:.3g}; raise it or lower "
                    f"{self._update.partition(' ')[0]}."
                )

    def _check_task(self) -> None:
        if self.env == "nethack" and not _NETHACK_TASK.fullmatch(self.task):
            raise ConfigError(
                "task must be a NetHack character such as 'mon-hum-neu-mal' (or '@', random), NetHackScore, or both as "
                f"'NetHackScore:mon-hum-neu-mal', got {self.task!r}."
            )
        if self.env == "atari" and not _GAME.fullmatch(self.task):
            raise ConfigError(f"task must be the name of an Atari game such as 'Breakout', got {self.task!r}.")


def to_toml(config: TrainingConfig) -> str:
    """The config as flat TOML, which `read_config` reads back to an equal config."""
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in dataclasses.asdict(config).items())
