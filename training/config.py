"""What a training run is: an immutable config, checked on construction, read from and written to TOML."""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENVS = ("nethack", "atari")
ALGORITHMS = ("bc",)
CORES = {"nethack": ("lstm", "transformer"), "atari": ("cnn",)}
SCHEDULES = ("constant", "cosine", "wsd")
PRECISIONS = ("auto", "float32", "bfloat16")
# NetHack's character option as NLE takes it: role-race-alignment-gender, or @ for a random one.
_ROLES = "arc bar cav hea kni mon pri ran rog sam tou val wiz".replace(" ", "|")
_CHARACTER = re.compile(rf"@|({_ROLES})-(hum|elf|dwa|gno|orc)-(law|neu|cha)-(mal|fem)")
# What `training.nethack.env.NetHackTask.of` reads: a task, a character, or a task:character.
_NETHACK_TASK = re.compile(rf"(NetHackChallenge|NetHackScore)(:({_CHARACTER.pattern}))?|{_CHARACTER.pattern}")
_GAME = re.compile(r"[A-Z][A-Za-z0-9]*")
_MAX_INT = 2**63 - 1  # the largest integer that every TOML reader must take
_MAX_SEED = 2**32 - 1  # numpy's legacy generators and NLE take no more


class ConfigError(ValueError):
    """A config that cannot be run; the message is one sentence saying what was received and what to do."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One behavioural-cloning run. Whole floats are taken for integers, so that `params = 1e7` reads well in TOML.

    Raises ConfigError on construction for any value that no run can have.
    """

    params: int
    """Model parameters N aimed at."""
    samples: int
    """Training samples D: environment frames with one action each."""
    flops: float
    """Training compute C (FLOPs), forward and backward."""
    env: str = "nethack"
    """nethack or atari."""
    task: str = "mon-hum-neu-mal"
    """NetHack character (role-race-alignment-gender, @ for random), NetHackScore or NetHackScore:character; or Atari
    game (Breakout)."""
    algorithm: str = "bc"
    """How the policy learns; bc is behavioural cloning of recorded experts."""
    core: str = "lstm"
    """Sequence core: lstm or transformer in NetHack, cnn in Atari."""
    data: str = ""
    """Folder of shards to learn from, made by `training shard`."""
    batch_size: int = 128
    """Sequences per update."""
    unroll_length: int = 80
    """Consecutive frames per sequence; 1 for a cnn, which has no memory."""
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
    heldout_frames: int = 100_000
    """Held-out frames to measure the loss on, about; 0 takes all."""
    episodes: int = 0
    """Games to play at each checkpoint for the return; 0 measures the loss alone."""
    episode_steps: int = 0
    """Actions after which such a game is cut off; 0 is the environment's own limit."""
    max_epochs: float = 4.0
    """Passes over the demonstrations that are accepted before the budget is called too large for them."""
    precision: str = "auto"
    """float32 or bfloat16 arithmetic; auto takes bfloat16 where the GPU has it."""
    seed: int = 0
    """Seeds weights, data order and environments."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field.name, field.type, getattr(self, field.name)))
        _one_of("env", self.env, ENVS)
        _one_of("algorithm", self.algorithm, ALGORITHMS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, PRECISIONS)
        _one_of(f"core of a run in {self.env}", self.core, CORES[self.env])
        self._check_task()
        for name in ("params", "samples", "batch_size", "unroll_length"):
            if not 1 <= getattr(self, name) <= _MAX_INT:
                raise ConfigError(f"{name} must be between 1 and 2^63 - 1, got {getattr(self, name)}.")
        for name in ("flops", "learning_rate", "clip", "max_epochs"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name):g}.")
        for name in ("warmup", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be a share from 0 to 1, got {getattr(self, name):g}.")
        for name in ("heldout_frames", "episodes", "episode_steps"):
            if not 0 <= getattr(self, name) <= _MAX_INT:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if not 0 <= self.seed <= _MAX_SEED:
            raise ConfigError(f"seed must be between 0 and 2^32 - 1, got {self.seed}.")
        if self.core == "cnn" and self.unroll_length != 1:
            raise ConfigError(
                f"unroll_length must be 1 for the core cnn, which has no memory, got {self.unroll_length}."
            )
        if self.samples < self.samples_per_update:
            raise ConfigError(
                f"samples = {self.samples} is less than one update of batch_size × unroll_length = "
                f"{self.samples_per_update}; raise samples or lower batch_size."
            )
        self._check_checkpoints()

    @property
    def samples_per_update(self) -> int:
        """Frames in one batch."""
        return self.batch_size * self.unroll_length

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
        """Hash of the whole config: the same run has the same."""
        return hashlib.sha256(to_toml(self).encode()).hexdigest()[:12]

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
                    f"{self.flops_per_sample * self.samples_per_update:.3g}; raise it or lower batch_size."
                )

    def _check_task(self) -> None:
        if self.env == "nethack" and not _NETHACK_TASK.fullmatch(self.task):
            raise ConfigError(
                "task must be a NetHack character such as 'mon-hum-neu-mal' (or '@', random), NetHackScore, or both as "
                f"'NetHackScore:mon-hum-neu-mal', got {self.task!r}."
            )
        if self.env == "atari" and not _GAME.fullmatch(self.task):
            raise ConfigError(f"task must be the name of an Atari game such as 'Breakout', got {self.task!r}.")


def read_config(path: str | Path) -> RunConfig:
    """Read a RunConfig from the top-level keys of a TOML file.

    Raises ConfigError, naming the file, when it cannot be read, a key is unknown or missing, or a value is refused.
    """
    content = _read_toml(path)
    fields = {field.name: field for field in dataclasses.fields(RunConfig)}
    for key in content:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the keys are {', '.join(fields)}."
            raise ConfigError(f"{path}: unknown key {key!r}; {hint}")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in content]
    if missing:
        raise ConfigError(f"{path}: {' and '.join(missing)} missing; add a line such as `{missing[0]} = 1e7`.")
    try:
        return RunConfig(**content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def to_toml(config: RunConfig) -> str:
    """The config as flat TOML, which `read_config` reads back to an equal config."""
    return "".join(f"{key} = {_toml_value(value)}\n" for key, value in dataclasses.asdict(config).items())


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """What a recommendation.toml asks for: model parameters, samples and training compute (FLOPs)."""

    params: float
    samples: float
    flops: float


def read_recommendation(path: str | Path) -> Recommended | None:
    """The numbers of a recommendation.toml; None for a TOML file without a table [recommendation].

    Further keys of the file are ignored. Raises ConfigError, naming the file, when a number is missing or not positive.
    """
    section = _read_toml(path).get("recommendation")
    if section is None:
        return None
    if not isinstance(section, Mapping):
        raise ConfigError(f"{path}: recommendation is no table; write the file with `forecast recommend --out`.")
    params, samples = (_number(path, section, name, "recommended") for name in ("params", "samples"))
    return Recommended(params=params, samples=samples, flops=_number(path, section, "flops"))


def _number(path: str | Path, section: Mapping[str, Any], *keys: str) -> float:
    """The number at recommendation.<keys>."""
    value: Any = section
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(
            f"{path}: recommendation.{'.'.join(keys)} must be a positive number, got {value!r}; "
            "write the file with `forecast recommend --out`."
        )
    return value


def _read_toml(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{path}: the file cannot be read ({error.strerror}); give the path of a TOML file."
        ) from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, nested beyond reason
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: the file is not valid TOML ({reason}); correct it there.") from None


def _typed(name: str, kind: Any, value: Any) -> Any:
    """The value as its field's type: whole floats become int, ints become float, nothing else is converted."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == tuple[float, ...]:
        if isinstance(value, list | tuple):
            return tuple(sorted({_typed(name, float, item) for item in value}))
        raise ConfigError(f"{name} must be a list of numbers, got {value!r}.")
    if kind is str and isinstance(value, str):
        return value
    if kind is float and number:
        try:
            converted = float(value)
        except OverflowError:
            converted = math.inf
        if math.isfinite(converted):
            return converted
    if kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    wanted = {str: "text", float: "a finite number", int: "a whole number"}[kind]
    raise ConfigError(f"{name} must be {wanted}, got {value!r}.")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be {' or '.join(allowed)}, got {value!r}.")


def _toml_value(value: str | int | float | tuple[float, ...]) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(repr, value))}]"
    if isinstance(value, str):
        # JSON strings are TOML basic strings but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return repr(value)
