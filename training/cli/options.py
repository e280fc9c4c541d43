"""Options that several commands take, and what they are unless given."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from training.errors import ConfigError, MachineError

JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SeedOpt = Annotated[int, typer.Option(help="Same seed, same result.", min=0)]
EnvOpt = Annotated[str, typer.Option(help="nethack or atari.")]
TaskOpt = Annotated[str | None, typer.Option(help="NetHack character, NetHackScore[:character], or Atari game.")]
ConfigArg = Annotated[Path, typer.Argument(help="A run config in TOML.", metavar="CONFIG.toml")]
CoreOpt = Annotated[str | None, typer.Option(help="lstm or transformer (nethack), cnn or nature (atari).")]
AlgorithmOpt = Annotated[str, typer.Option(help="bc (cloning), ppo or vtrace (reinforcement learning).")]
DataOpt = Annotated[str, typer.Option(help="bc: folder of shards.")]
EpisodesOpt = Annotated[int | None, typer.Option(help="Games to play at each checkpoint.")]
CutOffOpt = Annotated[
    int | None, typer.Option(help="Actions after which such a game is cut off; 5,000 unless given, 0: never by us.")
]
InitOpt = Annotated[str | None, typer.Option(help="ppo, vtrace: run or checkpoint to start from.")]
KlOpt = Annotated[float | None, typer.Option(help="Weight of KL to the policy of --init (nats per frame).")]
ScheduleOpt = Annotated[
    str | None,
    typer.Option(help="constant, cosine or wsd; constant unless given, falling to zero for ppo and vtrace in atari."),
]
GroupOpt = Annotated[str | None, typer.Option(help="Group of its rows in the run table.")]
ForceOpt = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
WorkersOpt = Annotated[int | None, typer.Option(help="Number of processes; one per core unless given.")]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of every command that designs runs."""

    core: CoreOpt = None
    algorithm: AlgorithmOpt = "bc"
    task: TaskOpt = None
    data: DataOpt = ""
    schedule: ScheduleOpt = None
    episodes: EpisodesOpt = None
    max_steps: CutOffOpt = None
    group: GroupOpt = None

    def fields(self) -> dict[str, Any]:
        """The fields of a run that were given, but for the algorithm."""
        fields = {
            "core": self.core,
            "task": self.task,
            "data": self.data or None,
            "schedule": self.schedule,
            "episodes": self.episodes,
            "episode_steps": self.max_steps,
            "group": self.group,
        }
        return {name: value for name, value in fields.items() if value is not None}


def takes_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command with a parameter `options` take every field of RunOptions as an option of its own."""
    of_run = inspect.signature(RunOptions).parameters

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        command(options=RunOptions(**{name: arguments.pop(name) for name in of_run}), **arguments)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "options"]
    shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + list(of_run.values())
    wrapper.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in shown}
    return wrapper


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
    """Write a file. Raises MachineError where that cannot be."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{file}: the file cannot be written ({error.strerror}); choose another --out.") from None
