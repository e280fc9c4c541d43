"""What both loops do around an update: begin or go on, write rows and checkpoints, show progress, and stop."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch

from training.config.base import TrainingConfig
from training.errors import DivergedError, MachineError
from training.interrupts import InterruptedRunError, StopFlag, check_stop
from training.learn.distributed import Place
from training.learn.learner import Learner
from training.learn.runs.folder import claim, resumed
from training.learn.runs.monitor import Monitor
from training.learn.runs.outlook import outlook
from training.learn.runs.rows import sentence_of
from training.learn.runs.table import append_row, check_table
from training.policies.arithmetic import keep_memory, matrix_rate, precision
from training.policies.family import PolicySpec

SAVE_EVERY = 30.0, 300.0
"""Seconds between two checkpoints that no budget asks for: the first where saving then takes no more than `SAVING` of
the time, else as many as that asks for, up to the second. What is killed loses no more than that."""
SAVING = 0.01


@contextlib.contextmanager
def loop_of(
    config: TrainingConfig,
    spec: PolicySpec,
    here: Place,
    stop: StopFlag,
    *,
    out: Path,
    table: Path,
    critic: bool = False,
    wandb: bool = False,
    patience: float = 0.0,
) -> Iterator["Loop"]:
    """The run in `out`, at its beginning or after its newest checkpoint; its folder is claimed while the block runs.

    patience: seconds to wait for another process that trains in `out`. Raises ConfigError where `out` is the folder of
    another run, DataError where `table` is not a run table, MachineError where files cannot be written or the memory is
    full.
    """
    checkpoints = out / "checkpoints"
    check_table(table)
    keep_memory()
    with claim(config, out, here, patience), _out_of_memory():
        learner = Learner.begin(config, spec, here, checkpoints, critic=critic)
        dtype = precision(config, here.device)
        if here.world == 1:  # nothing is begun yet, and what follows takes a second or two
            check_stop(stop)
        peak = here.world * matrix_rate(here.device, dtype)
        with Monitor(config, out, start=learner.update, peak=peak, quiet=not here.leads, wandb=wandb) as monitor:
            for sentence in (*learner.passed_over, *resumed(config, out, learner.update, learner.measured)):
                monitor.say(sentence)
            if learner.update < config.updates:
                monitor.say(outlook(config, learner.update))
            if here.world == 1:
                check_stop(stop)
            learner.learning.tell = monitor.compiled
            loop = Loop(
                config=config, learner=learner, monitor=monitor, dtype=dtype, stop=stop, here=here, table=table,
                checkpoints=checkpoints,
            )  # fmt: skip
            stop.parting = loop.part
            yield loop


@dataclass(kw_only=True)
class Loop:
    """A run under way. After each update: `finish_update`, then `report` where `report_due`, then `save_if_due`."""

    config: TrainingConfig
    """The run."""
    learner: Learner
    """What changes as it learns."""
    monitor: Monitor
    """What shows where it is."""
    dtype: torch.dtype
    """Of matrix products."""
    stop: StopFlag
    """Raised by a signal."""
    here: Place
    """Which process this is, and its device."""
    table: Path
    """The run table."""
    checkpoints: Path
    """Folder of the run's checkpoints."""
    _saved: float = field(default_factory=time.monotonic, init=False)
    """When the last checkpoint was written (seconds)."""
    _kept: int = field(init=False)
    """The update of the last checkpoint."""
    _saving: float = field(default=0.0, init=False)
    """How long that took (seconds)."""
    _asks: bool = field(default=False, init=False)
    """Whether the processes speak with each other after this update."""
    _stopping: bool = field(default=False, init=False)
    """Whether a signal has asked any of them to stop."""

    def __post_init__(self) -> None:
        self._kept = self.learner.update

    @property
    def row_due(self) -> bool:
        """Whether a budget ends here whose row is not written yet."""
        return self._at_budget and self.learner.measured < self.learner.update

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Write the row of a checkpoint, then keep the checkpoint. Every process calls it; only the first has a row.

        What fails in between leaves a row whose checkpoint is there but not pinned: it is measured again, and the row
        takes the place of its equal.
        """
        with self.stop.writing():
            if self.here.leads:
                append_row(self.table, {**row, **self.learner.speed})
                self.monitor.measured(self.learner.update, row)
                self.monitor.say(sentence_of(row))
            self.learner.pin(self.checkpoints)

    def finish_update(self) -> None:
        """Count an update, and ask whether to stop after it."""
        self.learner.update += 1
        # Asking the other processes makes them wait, so several ask seldom.
        self._asks = self.here.world == 1 or self.learner.update % 16 == 0
        self._stopping = self._any(self.stop.raised)

    def report_due(self) -> bool:
        """Whether the loss is to be read after this update, which makes a GPU wait. Every process has to ask."""
        return self._at_budget or self._stopping or self._any(self.monitor.due)

    def report(self, loss: float, norm: float, rate: float, parts: Mapping[str, float] | None = None) -> None:
        """Keep and show the loss (nats), the norm of its gradient and the step size; parts: what the loss is made of.

        Raises DivergedError unless loss and norm are finite.
        """
        learner = self.learner
        learner.loss = loss
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergedError(
                f"the loss is not finite: training diverged at update {learner.update}; the last good checkpoint is in "
                f"{self.checkpoints}. Lower learning_rate or clip, and choose another --out."
            )
        self.monitor.training(learner.update, loss, rate, parts)

    def save_if_due(self) -> None:
        """Write a checkpoint: at a budget, before it is measured; as often as `SAVE_EVERY` says; and to stop.

        Raises InterruptedRunError where a signal asked to stop.
        """
        late = time.monotonic() - self._saved > min(max(SAVE_EVERY[0], self._saving / SAVING), SAVE_EVERY[1])
        if self._stopping:
            self.stop_here()
        elif self._at_budget or self._any(late):
            self._save()

    def stop_here(self) -> NoReturn:
        """Save, and raise InterruptedRunError."""
        with self.stop.writing():
            if self.learner.update > self._kept:
                self._save()
            self.stop.answered()
        saved = ", which is saved" if self.learner.update else ""
        raise InterruptedRunError(
            f"stopped after update {self.learner.update:,} of {self.config.updates:,}{saved}; start the same command "
            "again to go on."
        )

    def _save(self) -> None:
        begun = time.monotonic()
        # A run that goes on and has not trained yet keeps what is known of the process before.
        self.learner.speed = self.monitor.speed or self.learner.speed
        with self.stop.writing():
            self.learner.save(self.checkpoints)
            self._kept = self.learner.update
        self._saved = time.monotonic()
        self._saving = self._saved - begun

    def part(self) -> None:
        """Say what is kept where the process ends before an update or a measurement does."""
        kept = f"the checkpoint of update {self._kept:,} is kept" if self._kept else "no checkpoint is there yet"
        self.monitor.part(
            f"training: stopped after update {self.learner.update:,} of {self.config.updates:,}; {kept}; start the "
            "same command again to go on."
        )

    @property
    def _at_budget(self) -> bool:
        return self.learner.update in {self.config.updates_within(budget) for budget in self.config.budgets}

    def _any(self, flag: bool) -> bool:
        return self._asks and self.here.any(flag)


@contextlib.contextmanager
def _out_of_memory() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise MachineError(
            f"the memory is full ({reason}); end what else runs there, or lower batch_size, and start again."
        ) from None
