"""Atari demonstrations: a writer of shards for the games of one task."""

from collections.abc import Callable
from pathlib import Path

from ale_py import ALEInterface, LoggerMode, roms

from training.atari.env import AtariTask
from training.shard_writer import ShardWriter
from training.shards import ATARI_LAYOUT

BLOCK = 64
"""Frames a block: short, because shuffled frames are read from anywhere."""


def atari_writer(
    out: str | Path, task: AtariTask, *, source: str, report: Callable[[str], None] = lambda sentence: None
) -> ShardWriter:
    """A ShardWriter for games of the task, whose options it keeps; `source` says who played.

    A frame is the newest of the stack that the environment shows, uint8 [84, 84]; loading stacks them again. `append`
    takes pixels [n, 84, 84], action uint8 [n], mask bool [n] and reward float32 [n], what the action earned.
    """
    options = {
        name: getattr(task, name) for name in ("game", "full_actions", "sticky", "frame_skip", "noops", "max_steps")
    }
    return ShardWriter(
        out,
        layout=ATARI_LAYOUT,
        env="atari",
        actions=_action_names(task),
        source=source,
        options=options,
        block=BLOCK,
        report=report,
    )


def _action_names(task: AtariTask) -> list[str]:
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.loadROM(str(roms.get_rom_path(task.game)))
    chosen = emulator.getLegalActionSet() if task.full_actions else emulator.getMinimalActionSet()
    return [action.name for action in chosen]
