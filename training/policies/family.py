"""Policies as families over a width: what a policy is, how many parameters it has, which width has a given number."""

import contextlib
import functools
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from training.config.base import CORES, FAMILIES, TrainingConfig
from training.config.checks import one_of
from training.errors import ConfigError
from training.policies.networks.atari_cnn import SIDES, AtariCnn, channels, channels_for
from training.policies.networks.cores import LstmCore, TransformerCore
from training.policies.networks.nethack_screen import ResidualPair, ScreenEncoder, ScreenSizes
from training.policies.policy import FamilyPolicy, Policy

MAX_PARAMS = 1e9
TOLERANCE = 0.10
"""How far from the parameters asked for the nearest policy may be."""
ENCODERS = ("scaled", "paper")
_MIN_WIDTHS = {"lstm": 4, "transformer": 2, "cnn": 1, "nature": 1}
_MAX_WIDTH = 16_384
_MOST = 2**16  # actions, and frames that are attended to: more are no policy that could be


class BetweenSizesError(ConfigError):
    """No policy has about so many parameters, one has fewer and one more; they are few where policies are small."""

    def __init__(self, message: str, nearest: int) -> None:
        """nearest: parameters of the policy that comes nearest."""
        super().__init__(message)
        self.nearest = nearest


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """A policy up to its weights. Raises ConfigError for one that does not exist."""

    env: str
    """nethack or atari."""
    core: str
    """lstm or transformer in nethack, cnn or nature in atari."""
    width: int
    """Width of the core, from which every other width follows; of the first convolution of a cnn, of the hidden layer
    of a nature."""
    actions: int
    """Actions to choose from."""
    encoder: str = "scaled"
    """Screen encoder in nethack: scaled with the width, or paper, the published sizes."""
    context: int = 80
    """Frames that the transformer attends to, the current one included; at best the unroll length."""
    family: int = 1
    """Version of the scaled widths in nethack, see `ScreenSizes.scaled`."""

    def __post_init__(self) -> None:
        if self.env not in CORES or self.core not in CORES[self.env]:
            known = ", ".join(f"{core} in {env}" for env, cores in CORES.items() for core in cores)
            raise ConfigError(f"there is no core {self.core!r} in {self.env!r}; choose {known}.")
        if self.encoder not in ENCODERS:
            raise ConfigError(f"encoder must be {' or '.join(ENCODERS)}, got {self.encoder!r}.")
        one_of("family", self.family, FAMILIES)
        least = _MIN_WIDTHS[self.core]
        if not least <= self.width <= _MAX_WIDTH:
            raise ConfigError(f"width of a {self.core} must be {least} to {_MAX_WIDTH}, got {self.width}.")
        for name in ("actions", "context"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise ConfigError(f"{name} must be 1 to {_MOST}, got {getattr(self, name)}.")

    @property
    def features(self) -> int:
        """What the head of the policy sees of a frame, and the critic."""
        return channels(self.width)[-1] * SIDES[-1] ** 2 if self.core == "cnn" else self.width

    @property
    def screen(self) -> ScreenSizes:
        """Sizes of the NetHack screen encoder."""
        if self.encoder == "paper":
            return ScreenSizes.of_paper(self.width)
        return ScreenSizes.scaled(self.width, self.family)


class NetHackPolicy(nn.Module):
    """Screen encoder, previous action, two mixing layers, a sequence core and a linear head.

    Batches are those of the shards: `chars` and `colors` [B, T, 24, 80], `cursor` [B, T, 2], `previous` and `start`
    [B, T]. The state that forward returns carries no gradient: backpropagation stops at the start of an unroll.
    """

    def __init__(self, spec: PolicySpec):
        super().__init__()
        width, self.actions = spec.width, spec.actions
        self.screen = ScreenEncoder(spec.screen)
        self.mix_screen = nn.Linear(spec.screen.out, width)
        # A one-hot action beside the features is a row of the mixing layer's weight; it is looked up, not multiplied.
        self.mix_previous = nn.Parameter(torch.empty(spec.actions, width))
        bound = (spec.screen.out + spec.actions) ** -0.5
        for weight in (self.mix_screen.weight, self.mix_screen.bias, self.mix_previous):
            nn.init.uniform_(weight, -bound, bound)
        self.mix = nn.Linear(width, width)
        self.core = LstmCore(width) if spec.core == "lstm" else TransformerCore(width, spec.context)
        self.policy = nn.Linear(width, spec.actions)
        if spec.encoder == "scaled":
            self._init_scaled()

    def _init_scaled(self) -> None:
        """Weights by He et al. (2015, arXiv 1502.01852), so that a character on the screen is heard in the logits.

        With torch's own, as in the paper's variant, its effect shrinks in each of some ten layers, and without batch
        normalisation a policy learns much later to look at the screen (benchmarks/LOG.md).
        """
        for layer in (self.mix_screen, self.mix, self.policy, *self.screen.modules()):
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        for layer in self.screen.modules():
            if isinstance(layer, ResidualPair):
                layer.begin_at_zero()
        # As large as the sum over all features that it is added to.
        nn.init.uniform_(self.mix_previous, -1.5, 1.5)

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """The core's memory before the first frame."""
        return self.core.initial_state(batch_size, device)

    def forward(self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [B, T, actions] and the state after the last frame."""
        x, state = self.features(batch, state)
        return self.policy(x).float(), state

    def features(
        self, batch: Mapping[str, Tensor], state: tuple[Tensor, ...], see: Callable[..., Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head sees [B, T, width] and the state after the last frame; see: in place of `self.see`."""
        frames = batch["previous"].shape
        x = (see or self.see)(*(batch[name].flatten(0, 1) for name in ("chars", "colors", "cursor", "previous")))
        x, state = self.core(x.unflatten(0, frames), batch["start"], state)
        return x, tuple(part.detach() for part in state)

    def see(self, chars: Tensor, colors: Tensor, cursor: Tensor, previous: Tensor) -> Tensor:
        """What the core is given of frames [N, ...], each by itself: [N, width]."""
        x = self.mix_screen(self.screen(chars, colors, cursor)) + self.mix_previous.index_select(0, previous)
        return F.relu(self.mix(F.relu(x)))


def build(spec: PolicySpec) -> FamilyPolicy:
    """The policy with fresh weights from torch's global generator."""
    if spec.core == "nature":
        return AtariCnn(channels_for(spec.width), spec.actions, hidden=spec.width)
    if spec.core == "cnn":
        return AtariCnn(spec.width, spec.actions)
    return NetHackPolicy(spec)


@contextlib.contextmanager
def remembering(policy: Policy, seen: dict[str, Any]) -> Iterator[None]:
    """While a policy plays a frame of each game at a time: its weights stay as they are, and no gradient is wanted.

    What it sees again it does not compute again, which it learns by comparing with what is in `seen`, empty at first:
    results are the same but for rounding.
    """
    with contextlib.ExitStack() as held:
        for module in policy.modules():
            if isinstance(module, ScreenEncoder):
                held.enter_context(module.remembering(seen))
        yield


@functools.lru_cache(maxsize=1024)
def count_params(spec: PolicySpec) -> int:
    """Trainable parameters, exactly; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(spec).parameters())


def spec_for(env: str, core: str, params: float, actions: int, family: int = 1) -> PolicySpec:
    """The policy of this version of the scaled family whose parameters are nearest to `params`.

    Raises ConfigError for more than 1e9 parameters and where no width comes within 10%, BetweenSizesError between two.
    """
    PolicySpec(env=env, core=core, width=_MIN_WIDTHS.get(core, 1), actions=actions)  # refuses what is no family

    def spec(width: int) -> PolicySpec:
        return PolicySpec(env=env, core=core, width=width, actions=actions, family=family)

    widths = _widths(core)
    after = bisect_left(widths, params, key=lambda width: count_params(spec(width)))
    near = [spec(width) for width in widths[max(after - 1, 0) : after + 1]]
    best = min(near, key=lambda one: abs(count_params(one) - params))
    if len(near) == 2 and abs(count_params(best) - params) > TOLERANCE * params:
        smaller, larger = (count_params(one) for one in near)
        raise BetweenSizesError(
            f"no {core} with {actions} actions in {env} has about {params:g} parameters; choose {smaller} or {larger}.",
            count_params(best),
        )
    if not abs(count_params(best) - params) <= TOLERANCE * params or params > MAX_PARAMS:
        raise ConfigError(
            f"params of a {core} with {actions} actions in {env} must be {count_params(spec(widths[0]))} to 1e9, "
            f"got {params:g}; choose another size."
        )
    return best


def spec_of(config: TrainingConfig, actions: int) -> PolicySpec:
    """The policy of a run; a transformer attends to as many frames as an unroll has."""
    spec = spec_for(config.env, config.core, config.params, actions, config.family)
    return replace(spec, context=config.unroll_length) if config.core == "transformer" else spec


def _widths(core: str) -> list[int]:
    """Widths to choose from: all of a cnn, as published; else, where dense enough, multiples that tensor cores like."""
    least = _MIN_WIDTHS[core]
    if core == "cnn":
        return list(range(least, 4096))
    return [*range(least, 128), *range(128, 1024, 8), *range(1024, _MAX_WIDTH + 1, 64)]
