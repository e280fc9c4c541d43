"""Recording games in one process: NLE writes them, and every game is ended so that nothing of it is lost."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.bot.lore import nethack
from training.games.nethack.game import NetHackTask, begin, make
from training.record.nethack.folder import xlog_rows
from training.record.nethack.players import Player

_ESC, _SPACE = 27, 32
_QUIT, _SAVE = int(nethack.Command.QUIT), int(nethack.Command.SAVE)
_NEVER = 10**9
_LOOK_EVERY = 64  # steps between two looks at whether to stop


@dataclass(frozen=True, kw_only=True)
class GameRow:
    """One recorded game, a line of `games.jsonl`."""

    session: str
    """Its session folder."""
    file: str
    """Its recording in that folder."""
    stream: int
    number: int
    """Stream and number name the game: its seeds follow from the recording's seed and these two."""
    steps: int
    """The player's actions; the recording holds a few frames more, in which the game is ended."""
    score: int
    """Points, as NetHack's own log has them."""
    turns: int
    """Game turns at its end, as the log has them."""
    death: str
    """What the log says of its end: a death, or quit."""
    cut_off: str
    """Why the game was ended before its time: steps, limit, stuck or stopped; empty if it was not."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What all games of a recording have in common."""

    task: str
    """NetHack character."""
    seed: int
    """Of the recording; a game's own seeds follow from it."""
    max_episode_steps: int
    """Actions after which a game is ended."""
    no_progress: int = 2_000
    """Actions without a game turn after which a game is ended."""


class Session:
    """One environment with a session folder of its own; two that shared one would write to the same file."""

    def __init__(self, out: Path, rules: Rules, player: Player) -> None:
        self.rules, self.player = rules, player
        # Named as NLE names its own.
        self.folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S_"), dir=out))
        self.folder.chmod(0o755)
        # NLE's own limits quit a game in a way that fails inside some prompts, so they are never reached.
        task = NetHackTask(character=rules.task, max_steps=_NEVER, no_progress=_NEVER)
        keys = tuple(dict.fromkeys(("tty_chars", "tty_colors", "tty_cursor", "blstats", "misc", *player.keys)))
        self._env: Any = make(task, savedir=str(self.folder), observation_keys=keys)
        self._actions = [int(key) for key in self._env.actions]
        self._games = 0

    def play(
        self, stream: int, number: int, quota: int | None, stop: Callable[[], bool], tick: Callable[[int], None]
    ) -> GameRow:
        """Record a game to its end, to `quota` steps, to a limit, or until `stop()`; `tick` is told of steps made."""
        core, disp, own = seeds(self.rules.seed, stream, number)
        observation = begin(self._env, core, disp)
        self.player.begin(own)
        observation = dict(zip(self._env._observation_keys, self._env.nethack._obs, strict=True))
        self._games += 1
        steps, idle, turn, cut_off, done = 0, 0, -1, "", False
        while not done:
            cut_off = self._cut_off(steps, idle, quota, stop)
            if cut_off:
                self._end()
                break
            done = self._step(self.player.act(observation), observation)
            steps += 1
            now = int(observation["blstats"][nethack.NLE_BL_TIME])
            idle = idle + 1 if now == turn else 0
            turn = now
            if steps % _LOOK_EVERY == 0:
                tick(_LOOK_EVERY)
        tick(steps % _LOOK_EVERY)
        return self._row(stream, number, steps, cut_off)

    def _cut_off(self, steps: int, idle: int, quota: int | None, stop: Callable[[], bool]) -> str:
        if quota is not None and steps >= quota:
            return "steps"
        if steps >= self.rules.max_episode_steps:
            return "limit"
        if idle >= self.rules.no_progress:
            return "stuck"
        return "stopped" if steps % _LOOK_EVERY == 0 and stop() else ""

    def _step(self, action: int, observation: dict[str, np.ndarray]) -> bool:
        key = self._actions[action]
        if key == _SAVE and not observation["misc"].any():
            key = _ESC  # a saved game has no line in the log, and would be lost
        seen, done = self._env.nethack.step(key)
        if not done and seen[self._env._program_state_index][0] == 1:  # the game is over; NLE leaves the last screens
            _, done = self._env._perform_known_steps(seen, done, exceptions=True)
        return done

    def _end(self) -> None:
        """Quit the game from wherever it is: a direction, count or text prompt swallows the quit command, so leave."""
        step = self._env.nethack.step
        for _ in range(20):
            for key in (_ESC, _ESC, _ESC, _QUIT, ord("y"), *[_SPACE, _ESC] * 20):
                if step(key)[1]:
                    return
        raise RuntimeError(f"{self.folder}: a game could not be ended; its recording is incomplete.")

    def _row(self, stream: int, number: int, steps: int, cut_off: str) -> GameRow:
        file = f"nle.{os.getpid()}.{self._games - 1}.ttyrec3.bz2"
        log = xlog_rows(self.folder / f"nle.{os.getpid()}.xlogfile")
        if not log or log[-1].get("ttyrecname") != file:
            raise RuntimeError(f"{self.folder}: NetHack wrote no line about {file} to its log; the game is lost.")
        last = log[-1]
        return GameRow(
            session=self.folder.name,
            file=file,
            stream=stream,
            number=number,
            steps=steps,
            score=int(last["points"]),
            turns=int(last["turns"]),
            death=last["death"] + (f", while {last['while']}" if "while" in last else ""),
            cut_off=cut_off,
        )

    def close(self) -> None:
        """Finish the last file; a session without a game leaves nothing behind."""
        self._env.close()
        if not self._games:
            shutil.rmtree(self.folder)


def seeds(seed: int, stream: int, number: int) -> tuple[int, int, int]:
    """Seeds of NetHack's two generators and of the player for the game that the three numbers name."""
    words = np.random.SeedSequence([seed, stream, number]).generate_state(3, np.uint64)
    return tuple(int(word) >> 1 for word in words)  # type: ignore[return-value]
