"""What a run shows while it goes: a bar or lines, TensorBoard, W&B if asked, and a file for who watches it."""

import contextlib
import dataclasses
import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NotRequired, Self, TypedDict

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from training.config.base import TrainingConfig
from training.errors import ConfigError, MachineError
from training.files import write_atomically
from training.games.vector import GameResult
from training.learn.runs.console import PlainConsole
from training.learn.runs.curves import Curves
from training.learn.runs.outlook import at_most, remaining, seconds_left

EVERY = 1.0
"""Seconds between two readings of the loss; reading it makes a GPU wait."""
MEASURED = (
    *("params", "samples", "flops", "unique_samples"),
    *("loss", "loss_se", "heldout_games", "heldout_frames", "return_mean", "return_se", "episodes", "games_cut_off"),
)
"""Columns of the run table that are logged at checkpoints, where a row has them."""
PROGRESS = "progress.json"
"""Beside a run's checkpoints, once a second: where it is."""
Told = TypedDict(
    "Told",
    {
        "update": int,
        "updates": NotRequired[int],
        "doing": NotRequired[str],
        "loss": NotRequired[float],
        "return": NotRequired[float],
        "frames_per_second": NotRequired[float],
        "flops_per_second": NotRequired[float],
        "seconds_left": NotRequired[float],
    },
)
"""What that file says."""
LINES = 10.0
"""Seconds between two lines where there is no terminal, at the least; of a long run a hundredth of it."""
_KNOWN = 3.0  # seconds of training from which on its rate says how long the rest takes
_GAMES = 100  # the last ones, whose mean return is shown


class Monitor:
    """Shows a run while it goes; a context manager."""

    def __init__(
        self, config: TrainingConfig, out: Path, *, start: int, peak: float, quiet: bool, wandb: bool = False
    ) -> None:
        """Nothing is shown before the context is entered.

        config: the run.
        out: its folder.
        start: update to go on from.
        peak: measured matrix rate of the device (FLOP/s).
        quiet: of a process that does not lead, which shows and writes nothing.
        wandb: log to Weights & Biases too.
        """
        self._config, self._peak, self._quiet = config, peak, quiet
        self._progress, self._state = out / PROGRESS, dict[str, Any](update=start, updates=config.updates)
        self._console = PlainConsole(stderr=True)
        self._bar: Progress | None = None
        self._measuring: TaskID | None = None
        self._curves: Curves | None = None
        self._wandb: Any = None
        self._last, self._seen = time.perf_counter(), start
        self._last_written = -EVERY
        self._frames, self._seconds = 0, 0.0
        self._scores: deque[float] = deque(maxlen=_GAMES)
        self._waited: float | None = None
        self._of_measuring: float | None = None  # seconds that the last checkpoint took to measure
        self._measuring_since: float | None = None
        self._told, self._line = False, time.perf_counter()
        if quiet:
            return
        self._curves = Curves(out / "tensorboard", start=start, say=self.say)
        if wandb:
            self._wandb = _wandb_run(config, out)
        if self._console.is_terminal:
            shown = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[message]}")
            self._bar = Progress(*shown, console=self._console, transient=True)
            self._task = self._bar.add_task("training", total=config.updates, completed=start, message="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        if self._curves:
            self._curves.close()
        if self._wandb:
            self._wandb.finish(exit_code=0 if kind is None else 1)

    @property
    def due(self) -> bool:
        """Whether it is time to read the loss."""
        return time.perf_counter() - self._last >= EVERY

    @property
    def speed(self) -> dict[str, float]:
        """Columns of the run table: the rate of training so far in this process, measuring left out; none before."""
        if not self._seconds:
            return {}
        frames = self._frames / self._seconds
        columns = {"frames_per_second": frames, "share_of_peak": frames * self._config.flops_per_sample / self._peak}
        if self._waited is not None:
            columns["waiting_share"] = self._waited / self._seconds
        return columns

    def compiled(self, sentence: str, seconds: float) -> None:
        """What came of compiling the policy; the seconds it took do not count as training."""
        self.say(sentence)
        self._last += seconds

    def played(self, results: Iterable[GameResult], waited: float) -> None:
        """Games that ended while learning from play, and seconds spent waiting for environments."""
        self._scores.extend(result.score for result in results)
        self._waited = waited + (self._waited or 0.0)

    def training(self, update: int, loss: float, rate: float, parts: Mapping[str, float] | None = None) -> None:
        """The loss (nats) and step size after `update` updates; parts: what the loss is made of."""
        now = time.perf_counter()
        frames = (update - self._seen) * self._config.samples_per_update
        elapsed, self._last, self._seen = now - self._last, now, update
        self._frames, self._seconds = self._frames + frames, self._seconds + elapsed
        speed = frames / max(elapsed, 1e-9)
        flops = speed * self._config.flops_per_sample
        values = {
            "loss/training": loss,
            **{f"loss/{name}": value for name, value in (parts or {}).items()},
            "learning_rate": rate,
            "speed/frames_per_second": speed,
            "speed/flops_per_second": flops,
            "speed/share_of_peak": flops / self._peak,
        }
        message = f"loss {loss:.3f}"
        if self._scores:
            values["return/last_games"] = sum(self._scores) / len(self._scores)
            message = f"return {values['return/last_games']:.4g}"
        self._log(values, update)
        shown = {"return": values["return/last_games"]} if self._scores else {"loss": loss}
        of_an_update = self._seconds / self._frames * self._config.samples_per_update
        left = seconds_left(self._config, update, of_an_update, self._of_measuring)
        rest = remaining(self._config, update, left, self._of_measuring)
        self._write(
            update=update, doing="training", frames_per_second=speed, flops_per_second=flops, seconds_left=left, **shown
        )
        message = f"{message} · {speed:,.0f} frames/s · {flops:.2g} FLOP/s · {flops / self._peak:.0%} of peak · {rest}"
        if self._bar:
            self._bar.update(self._task, completed=update, message=message)
        if not self._told and self._seconds > _KNOWN and left > LINES:
            self._told = True
            self.say(f"At {self._frames / self._seconds:,.0f} frames/s: {rest}.")
        elif self._line_due(left):
            self.say(f"update {update:,} of {self._config.updates:,} · {message}")

    def measuring(self, what: str, done: int, total: int, left: float | None = None) -> None:
        """How far the measuring at a checkpoint has come, and the seconds that it still takes at most."""
        now = time.perf_counter()
        if self._measuring_since is None:
            self._measuring_since = self._line = now
        if now - self._last_written >= EVERY:
            self._write(doing=f"{what} {done:,}/{total:,}")
        if self._line_due():
            self.say(f"{what}: {done:,} of {total:,} after {now - self._measuring_since:.0f} s{at_most(left)}")
        if self._bar:
            message = f"{done:,} of {total:,}{at_most(left)}"
            if self._measuring is None:
                self._measuring = self._bar.add_task(what, completed=done, total=total, message=message)
            self._bar.update(self._measuring, description=what, completed=done, total=total, message=message)

    def measured(self, update: int, row: Mapping[str, Any]) -> None:
        """What was measured at a checkpoint, a row of the run table; the time it took does not count as training.

        Its columns go by the names measured/params, measured/loss and so on, from which `forecast` reads an export.
        """
        self._log({f"measured/{k}": row[k] for k in MEASURED if row.get(k) is not None}, update)
        self._last = time.perf_counter()
        if self._measuring_since is not None:
            self._of_measuring, self._measuring_since = self._last - self._measuring_since, None
            self._told = False  # more is known now
        if self._bar and self._measuring is not None:
            self._bar.remove_task(self._measuring)
            self._bar.refresh()
            self._measuring = None

    def _line_due(self, left: float = 0.0) -> bool:
        """Whether it is time for a line where there is no terminal. left: seconds that the run goes on."""
        now = time.perf_counter()
        if self._bar or now - self._line < max(LINES, left / 100):
            return False
        self._line = now
        return True

    def say(self, sentence: str) -> None:
        """A sentence for the user, on stderr."""
        if not self._quiet:
            self._console.print(sentence)
            sys.stderr.flush()

    def part(self, sentence: str) -> None:
        """The last sentence of a process that is about to end."""
        if self._bar:
            self._bar.stop()
        self.say(sentence)

    def _write(self, **news: Any) -> None:
        """Write down where the run is. A disk that does not take it is found out by what matters more."""
        if self._quiet:
            return
        self._last_written = time.perf_counter()
        self._state |= news
        with contextlib.suppress(OSError):
            write_atomically(self._progress, json.dumps(self._state).encode())

    def _log(self, values: dict[str, float], update: int) -> None:
        if self._curves:
            self._curves.add(values, update)
        if self._wandb:
            self._wandb.log(values, step=update)


def _wandb_run(config: TrainingConfig, out: Path) -> Any:
    """The run on Weights & Biases, whose columns are the config's; started again it goes on."""
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError("--wandb needs the package wandb; install it with `pip install wandb`.") from None
    try:
        return wandb.init(
            dir=str(out), id=config.identity, name=out.name, resume="allow", config=dataclasses.asdict(config)
        )
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise MachineError(
            f"Weights & Biases does not take this run ({reason}); run `wandb login`, or set WANDB_MODE=offline."
        ) from None
