"""Atari demonstrations: games that a policy plays, recorded into shards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms

from training.errors import ConfigError
from training.games.atari import AtariTask, AtariVector
from training.games.vector import Transition
from training.play.evaluate import Returns, play
from training.policies.policy import Policy
from training.shards.encoder import GameEncoder
from training.shards.format import ATARI_LAYOUT
from training.shards.reader import Shards
from training.shards.writer import ShardWriter, check_holdout

BLOCK = 64
"""Frames a block: short, because shuffled frames are read from anywhere."""


def collect(
    out: str | Path,
    policy: Policy,
    task: AtariTask,
    *,
    games: int,
    source: str,
    seed: int = 0,
    slots: int = 16,
    threads: int | None = None,
    holdout: float = 0.05,
    progress: Callable[[int, int], None] | None = None,
    report: Callable[[str], None] = lambda sentence: None,
) -> tuple[Shards, Returns]:
    """Record exactly `games` games of a policy into the new folder `out`; the shards, and the games' returns.

    Actions are drawn from the policy's softmax. The same seed records the same games, whatever the number of `threads`.
    Raises ConfigError for settings that cannot be recorded and where `out` exists, MachineError where it cannot be
    written.
    """
    check_holdout(holdout)
    if games < 2:
        raise ConfigError(f"games is {games}; record 2 or more, of which one is held out.")
    with atari_writer(out, task, source=source, report=report) as writer:
        recorder = _Recorder(writer, games, progress or (lambda done, total: None))
        with AtariVector(task, count=min(slots, games), threads=threads, seed=seed, games=games) as vector:
            recorder.begin()
            returns = play(policy, vector, seed, watcher=recorder)
        return writer.finish(holdout=holdout, seed=seed), returns


class _Recorder:
    """A watcher that hands whole games to a writer."""

    def __init__(self, writer: ShardWriter, games: int, progress: Callable[[int, int], None]) -> None:
        self._writer, self._total, self._progress = writer, games, progress
        self._encoders: dict[int, GameEncoder] = {}
        self._frames: dict[int, list[dict[str, Any]]] = {}
        self._played = np.zeros(0, np.int64)
        self._done = 0

    def begin(self) -> None:
        """Say that no game is recorded yet."""
        self._progress(0, self._total)

    def chosen(self, frame: Transition, actions: np.ndarray) -> None:
        """Keep the newest picture of each game, and the action."""
        self._played = np.where(frame.playing, frame.game, -1)
        for slot in np.flatnonzero(frame.playing):
            seen = {"pixels": frame.fields["pixels"][slot, -1].copy(), "action": actions[slot], "mask": True}
            self._frames.setdefault(int(frame.game[slot]), []).append(seen)

    def stepped(self, frame: Transition) -> None:
        """Keep what the action earned; write games that ended."""
        for slot, game in enumerate(self._played.tolist()):
            if game < 0:
                continue
            self._frames[game][-1]["reward"] = frame.reward[slot]
            if len(self._frames[game]) == BLOCK:
                self._flush(game)
        for result in frame.results:
            self._flush(result.game)
            game = self._encoders.pop(result.game).finish(points=round(result.score))
            if game.name not in self._writer.done:  # kept from a recording that was interrupted, and played again
                self._writer.add(game)
            del self._frames[result.game]
            self._done += 1
            self._progress(self._done, self._total)

    def _flush(self, game: int) -> None:
        if game not in self._encoders:
            self._encoders[game] = self._writer.game(f"game {game}")
        frames = self._frames[game]
        if frames:
            columns = {name: [frame[name] for frame in frames] for name in frames[0]}
            self._encoders[game].append(
                pixels=np.stack(columns["pixels"]),
                action=np.array(columns["action"], np.uint8),
                mask=np.array(columns["mask"], bool),
                reward=np.array(columns["reward"], np.float32),
            )
        self._frames[game] = []


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
