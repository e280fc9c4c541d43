"""One NetHack game at a time, stepped without the copies that NLE's own `step` makes.

`make` builds NLE's task as it is; `Game` steps it by the same rules, into buffers of the caller's choice. Both are
checked against each other in the tests. Private attributes of nle are used, whose version is pinned for that reason.
"""

import _ctypes
import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from nle import nethack
from nle.env import base, tasks

from training.config.base import CHARACTER
from training.errors import ConfigError
from training.games.nethack.library import share_code

TASKS = {"NetHackChallenge": tasks.NetHackChallenge, "NetHackScore": tasks.NetHackScore}
_MAX_STEPS = {"NetHackChallenge": 1_000_000, "NetHackScore": 5_000}
# What a game must compute each step; NLE adds glyphs, message, program_state and internal, which it needs itself.
_KEYS = ("tty_chars", "tty_colors", "tty_cursor", "blstats")
_SCORE: int = nethack.NLE_BL_SCORE  # pyright: ignore[reportAttributeAccessIssue]
_TIME: int = nethack.NLE_BL_TIME  # pyright: ignore[reportAttributeAccessIssue]
_SPACE, _ESCAPE = ord(" "), 27
# NetHack draws shopkeepers, thrones and T-shirts from the wall clock at birth, beside its seeds: 2001-09-09 for all.
_BIRTHDAY = 10**9


@dataclass(frozen=True, kw_only=True)
class NetHackTask:
    """A NetHack task. Raises ConfigError on construction for one that cannot be played."""

    character: str = "mon-hum-neu-mal"
    """role-race-alignment-gender as NLE takes it, or @ for a random one each game."""
    name: str = "NetHackChallenge"
    """NetHackChallenge (121 keys, every prompt shown) or NetHackScore (23, prompts skipped, -0.01 a frozen turn)."""
    max_steps: int | None = None
    """Actions after which a game is cut off; None is NLE's own limit (1,000,000 and 5,000)."""
    no_progress: int = 10_000
    """NetHackChallenge: actions without a game turn after which a game is cut off."""

    def __post_init__(self) -> None:
        if self.name not in TASKS:
            raise ConfigError(f"The NetHack task must be {' or '.join(TASKS)}, got {self.name!r}.")
        if not CHARACTER.fullmatch(self.character):
            raise ConfigError(
                f"A NetHack character is role-race-alignment-gender, such as mon-hum-neu-mal, or @, "
                f"got {self.character!r}."
            )
        if self.step_limit < 1 or self.no_progress < 1:
            raise ConfigError(
                f"A game must last at least one step, got max_steps = {self.max_steps}, "
                f"no_progress = {self.no_progress}."
            )

    @classmethod
    def of(cls, text: str, **limits: Any) -> "NetHackTask":
        """The task named by NetHackScore, by mon-hum-neu-mal (of NetHackChallenge) or by NetHackScore:mon-hum-neu-mal.

        `limits` are the further fields. Raises ConfigError for what names no task.
        """
        name, colon, character = text.partition(":")
        if colon:
            return cls(name=name, character=character, **limits)
        return cls(name=name, **limits) if name in TASKS else cls(character=name, **limits)

    @property
    def step_limit(self) -> int:
        """Actions after which a game is cut off."""
        return _MAX_STEPS[self.name] if self.max_steps is None else self.max_steps

    @property
    def actions(self) -> int:
        """Number of actions: 121 or 23."""
        return len(nethack.ACTIONS if self.name == "NetHackChallenge" else tasks.TASK_ACTIONS)


def make(
    task: NetHackTask, *, savedir: str | None = None, observation_keys: tuple[str, ...] = _KEYS, **options: object
) -> base.NLE:
    """NLE's own environment for the task, unwrapped; `options` go to its constructor.

    Recordings are made only with a `savedir`, one of its own for every environment: two in one process that share a
    folder write to the same file. Limits are given to NLE itself, not to a wrapper, so that a game cut off is closed
    and recorded; NLE calls that terminated, with end_status -1. `begin` seeds it.
    """
    if task.name == "NetHackChallenge":
        # NLE counts each step without progress twice.
        options["no_progress_timeout"] = 2 * task.no_progress
    options = {"fix_moon_phase": True, **options}
    return TASKS[task.name](
        character=task.character,
        max_episode_steps=task.step_limit,
        savedir=savedir,
        save_ttyrec_every=1 if savedir else 0,
        observation_keys=observation_keys,
        **options,
    )


def begin(env: base.NLE, core: int, disp: int) -> dict[str, np.ndarray]:
    """Begin the game that two seeds (0 to 2^63 - 1) name, the same on any day, and return its first observation."""
    # The class's own method: NetHackChallenge replaces the instance's by one that raises.
    nethack.Nethack.set_initial_seeds(env.nethack, int(core), int(disp), False)
    observation, _ = env.reset()
    library = ctypes.CDLL(env.nethack.dlpath)
    try:
        ctypes.c_long.in_dll(library, "ubirthday").value = _BIRTHDAY
    finally:
        # NLE starts a game afresh by unloading the library, which another open handle would prevent.
        _ctypes.dlclose(library._handle)
    share_code(env.nethack.dlpath)
    return observation


class Game:
    """A NetHack game that writes its screen where it is told.

    `buffers`: chars and colors uint8 [24, 80], cursor uint8 [2], any of them, C-contiguous; NetHack itself writes
    there, so there is nothing to copy. Absent ones are allocated; all are found in `chars`, `colors`, `cursor`.

    Rules are those of NLE's `step`, with three differences: a limit truncates rather than terminates; a step without
    progress counts once; and the reward of the last step is the score it brought, where NLE gives 0, so that rewards
    (less NetHackScore's time penalty) add up to the final score less the first.
    """

    score: int
    """NetHack's score as its status line has it, as of the last moment before the end. The `points` of NetHack's own
    log are this, less a tenth of the gold gained if the character died."""
    length: int
    """Actions taken."""

    def __init__(self, task: NetHackTask, buffers: Mapping[str, np.ndarray] | None = None) -> None:
        self.task = task
        self.env = make(task)
        self._keys = [int(key) for key in self.env.actions]
        self._raw: Any = self.env.nethack._pynethack
        own = self.env.nethack._obs_buffers
        for name, buffer in (buffers or {}).items():
            own[f"tty_{name}"] = buffer.view(np.int8) if name == "colors" else buffer
        self._raw.set_buffers(**own)
        self.env.nethack._obs = tuple(own[key] for key in self.env._observation_keys)
        self.chars, self.colors, self.cursor = own["tty_chars"], own["tty_colors"].view(np.uint8), own["tty_cursor"]
        self._status, self._state = own["blstats"], own["program_state"]
        self._prompt, self._message = own["internal"], own["message"]
        self._penalty = getattr(self.env, "penalty_step", 0.0)
        self._no_progress = task.no_progress if task.name == "NetHackChallenge" else None

    def begin(self, core: int, disp: int) -> None:
        """Begin the game that two seeds (0 to 2^63 - 1) name; its first screen is in the buffers."""
        begin(self.env, core, disp)
        self.score = int(self._status[_SCORE])
        self.length = 0
        self._turn = self._status[_TIME]
        self._idle = 0

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Press the key of an action; returns (reward, terminated, truncated). After either flag, `begin` again."""
        before = self.score
        self._raw.step(self._keys[action])
        self.length += 1
        if self._raw.in_normal_game():
            self.score = int(self._status[_SCORE])
        if not self.env._allow_all_modes or self._state[0] == 1:  # the second: the game is over
            self._pass_prompts()
        turn = self._status[_TIME]
        self._idle = self._idle + 1 if turn == self._turn else 0
        self._turn = turn
        reward = self.score - before + (self._penalty if self._idle else 0.0)
        terminated = self._raw.done()
        stuck = self._no_progress is not None and self._idle >= self._no_progress
        return reward, terminated, not terminated and (stuck or self.length >= self.task.step_limit)

    def _pass_prompts(self) -> None:
        """Press what NLE presses by itself: space at every --More--, escape at questions that the task does not ask."""
        while not self._raw.done():
            question, text, more = self._prompt[1:4]
            if not (more or text or (question and not self._may_answer())):
                return
            self._raw.step(_SPACE if more else _ESCAPE)
            if self._raw.in_normal_game():
                self.score = int(self._status[_SCORE])
            if not (more or text):
                return

    def _may_answer(self) -> bool:
        message = bytes(self._message)
        return self.env._allow_all_yn_questions or any(part in message for part in base.SKIP_EXCEPTIONS)

    def close(self) -> None:
        """Free the game; it is lost if it is still being played."""
        self.env.close()
