"""Options that several commands take, and what they are unless given."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from training.config.base import ENVS
from training.config.cloning import CloningConfig
from training.errors import ConfigError

JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
SeedOpt = Annotated[int, typer.Option(help="Same seed, same result.", min=0)]
EnvOpt = Annotated[str, typer.Option(help="nethack or atari.")]
TaskOpt = Annotated[str | None, typer.Option(help="NetHack character, NetHackScore[:character], or Atari game.")]
ConfigArg = Annotated[Path, typer.Argument(help="A run config in TOML.", metavar="CONFIG.toml")]
CoreOpt = Annotated[str | None, typer.Option(help="lstm or transformer (nethack), cnn (atari).")]
AlgorithmOpt = Annotated[str, typer.Option(help="bc (cloning), ppo or vtrace (reinforcement learning).")]
DataOpt = Annotated[str, typer.Option(help="bc: folder of shards.")]
EpisodesOpt = Annotated[int | None, typer.Option(help="Games to play at each checkpoint.")]
CutOffOpt = Annotated[int | None, typer.Option(help="Actions after which such a game is cut off.")]
InitOpt = Annotated[str | None, typer.Option(help="ppo, vtrace: run or checkpoint to start from.")]
KlOpt = Annotated[float | None, typer.Option(help="Weight of staying like --init (nats a frame).")]
ScheduleOpt = Annotated[str, typer.Option(help="constant, cosine or wsd.")]
GroupOpt = Annotated[str | None, typer.Option(help="Name of its rows' group in the run table.")]
ForceOpt = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
WorkersOpt = Annotated[int | None, typer.Option(help="Processes; all cores unless given.")]

DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(CloningConfig)}
"""Of a run."""
GAMES = {"nethack": DEFAULTS["task"], "atari": "Breakout"}
"""What is played where no task is given."""


def checked_env(env: str) -> str:
    """The environment asked for. Raises ConfigError for one that there is not."""
    if env not in ENVS:
        raise ConfigError(f"--env must be {' or '.join(ENVS)}, got {env!r}.")
    return env


def numbers(name: str, text: str) -> tuple[float, ...]:
    """The numbers of an option. Raises ConfigError for what is none."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"{name} must be numbers with commas between, got {text!r}.") from None


def check_new(file: Path | None, force: bool) -> None:
    """Raise ConfigError for a file that exists already, unless told to overwrite it."""
    if file is not None and file.exists() and not force:
        raise ConfigError(f"{file} already exists; pass --force to overwrite it, or choose another --out.")


def write(file: Path, text: str) -> None:
    """Write a file. Raises ConfigError where that cannot be."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: the file cannot be written ({error.strerror}); choose another --out.") from None
