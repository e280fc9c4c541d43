"""Who plays a recorded game: the scripted bot, chance, or a policy."""

import random
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from training.bot.bot import Bot
from training.bot.lore import ACTION_COUNT, FIRST_INDEX
from training.bot.screen_reader import OBSERVATION_KEYS
from training.errors import ConfigError

NAMED = ("bot", "random")
_SCREEN = ("tty_chars", "tty_colors", "tty_cursor")


class Player(Protocol):
    """What the recorder asks of a player."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The NLE observations that `act` reads."""
        ...

    def begin(self, seed: int) -> None:
        """A new game begins; everything random in it follows from `seed`."""

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """The action, an index into nle.nethack.ACTIONS, for an observation; the arrays are reused."""
        ...


class BotPlayer:
    """The scripted expert, which draws nothing."""

    keys = OBSERVATION_KEYS

    def begin(self, seed: int) -> None:
        """Forget the last game."""
        self._bot = Bot()

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """The bot's action."""
        return self._bot.act(observation)


class RandomPlayer:
    """Every action equally likely."""

    keys = _SCREEN

    def begin(self, seed: int) -> None:
        """Seed the game's draws."""
        self._draws = random.Random(seed)

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """Any action."""
        return self._draws.randrange(ACTION_COUNT)


class PolicyPlayer:
    """A policy, one frame at a time, its actions drawn from the softmax of its logits."""

    keys = _SCREEN

    def __init__(self, policy: Any) -> None:
        if policy.actions != ACTION_COUNT:
            raise ConfigError(
                f"a policy that is recorded must choose among NetHackChallenge's {ACTION_COUNT} actions, this one has "
                f"{policy.actions}; use one that was trained on NetHack recordings."
            )
        import torch  # recording the bot needs no torch

        torch.set_num_threads(1)  # several players share the machine
        self._torch, self._policy = torch, policy.eval()
        parameter = next(policy.parameters(), None)
        self._device = None if parameter is None else parameter.device

    def begin(self, seed: int) -> None:
        """Clear the memory and seed the draws."""
        self._draws = np.random.default_rng(seed)
        self._state = self._policy.initial_state(1, device=self._device)
        self._previous, self._start = 0, True

    def act(self, observation: Mapping[str, np.ndarray]) -> int:
        """An action drawn from the policy."""
        torch = self._torch

        def frame(array: np.ndarray) -> Any:
            return torch.as_tensor(array[None, None], device=self._device)

        batch = {
            "chars": frame(observation["tty_chars"]),
            "colors": frame((observation["tty_colors"] & 0x7F).astype(np.uint8)),
            "cursor": frame(observation["tty_cursor"].astype(np.uint8)),
            "previous": torch.tensor([[self._previous]], device=self._device),
            "start": torch.tensor([[self._start]], device=self._device),
        }
        with torch.inference_mode():
            logits, self._state = self._policy(batch, self._state)
            chances = torch.softmax(logits[0, 0].double(), -1).cumsum(-1).cpu().numpy()
        action = min(int(np.searchsorted(chances, self._draws.random() * chances[-1], side="right")), ACTION_COUNT - 1)
        self._previous, self._start = FIRST_INDEX[action], False
        return action


def make_player(player: Any) -> Player:
    """The player for "bot", "random", a policy (nn.Module), or a player that is one already.

    Raises ConfigError for anything else.
    """
    if player == "bot":
        return BotPlayer()
    if player == "random":
        return RandomPlayer()
    if hasattr(player, "initial_state"):
        return PolicyPlayer(player)
    if hasattr(player, "act") and hasattr(player, "begin"):
        return player
    raise ConfigError(f"the player must be {' or '.join(NAMED)} or a policy, got {player!r}.")


def describe(player: Any) -> str:
    """A player's name in the list of games."""
    return player if isinstance(player, str) else type(player).__name__
