"""What a policy costs: FLOPs of every layer per sample (one frame), forward and backward, by formula.

Conventions
- A multiply-add is 2 FLOPs. A linear layer from i to o features costs 2·i·o forward; a convolution that at each of its
  *output* positions; an LSTM layer 2·4·width·(width + width) and, like a linear layer, nothing for its gates'
  nonlinearities.
- Attention is charged as it is computed, a dense product with a mask: unroll_length + context - 1 keys for each frame
  and head, 2·head width for the score and 2·head width for the value of each.
- Backward costs the forward again for the gradient of the weights and once more for the gradient of the input, which a
  layer that reads raw data does not need (the first convolution of Atari and that of the status lines). The products of
  attention have two inputs and no weights, so twice their forward. That the state at the start of an unroll needs no
  gradient is not subtracted.
- A lookup in a table costs nothing forward; backward it adds its gradient to the table, 1 FLOP for each feature (a GPU
  adds by a product, `training/policies/networks/embedding.py`; its FLOPs do not count). Where rows are summed (the
  message, the previous action), the additions count forward too.
- A frame is charged in full, also where a CPU spares itself the map of a screen that is the one before.
- Not counted: biases, nonlinearities, pooling, normalisation, rotary positions, softmax, the loss, the optimiser.
"""

from dataclasses import dataclass

from training.config.base import TrainingConfig
from training.config.reinforcement import ReinforcementConfig
from training.errors import ConfigError
from training.policies.family import PolicySpec
from training.policies.networks import atari_cnn as network
from training.policies.networks import nethack_screen as screen
from training.policies.networks.cores import FEED_FORWARD, LAYERS, heads_of

_COST_SLACK = 0.01  # digits of a TOML file, not another policy


@dataclass(frozen=True)
class LayerCost:
    """A layer's parameters and its FLOPs per sample."""

    name: str
    params: int
    forward: float
    """Of the forward pass."""
    backward: float
    """Of the gradients of weights and input."""

    @property
    def flops(self) -> float:
        """Of training: forward and backward."""
        return self.forward + self.backward


def layer_costs(spec: PolicySpec, unroll_length: int = 80, nominal: bool = False) -> list[LayerCost]:
    """The layers of a policy in the order of computation; their `params` add up to `count_params(spec)`.

    `nominal` counts as the authors of the published Atari runs did (arXiv 2307.09423): a convolution at the positions
    of its *input*, and a backward pass of twice the forward whatever the layer. That is 5 to 25 times too much; it is
    here to compare with published budgets. Raises ConfigError for nominal costs of anything but Atari.
    """
    if nominal and spec.env != "atari":
        raise ConfigError(f"nominal FLOPs are those of the published Atari runs; there are none in {spec.env}.")
    if unroll_length < 1:
        raise ConfigError(f"unroll_length must be at least 1, got {unroll_length}.")
    if spec.env == "atari":
        return _atari(spec, nominal)
    core = _lstm(spec.width) if spec.core == "lstm" else _transformer(spec, unroll_length)
    head = _linear("policy", spec.width, spec.actions)
    return [*_screen(spec.screen), *_mixer(spec), *core, head]


def flops_per_sample(spec: PolicySpec, unroll_length: int = 80, nominal: bool = False) -> float:
    """Training cost of one frame, forward and backward."""
    return sum(layer.flops for layer in layer_costs(spec, unroll_length, nominal))


def reinforcement_flops(spec: PolicySpec, config: ReinforcementConfig) -> float:
    """Cost of one frame of reinforcement learning: acting and learning, with the critic's head.

    Every frame is looked at once to act, frame by frame, and its successor at the end of a rollout once more for its
    value; then each epoch passes over it forward and backward. Fine-tuning with a KL term adds a forward pass of the
    policy it starts from. Not counted: the value of the last frame of a game cut off, and games played to measure.
    """
    head = _linear("critic", spec.features, 1)
    acting = sum(layer.forward for layer in [*layer_costs(spec, 1), head])
    learning = sum(layer.flops for layer in [*layer_costs(spec, config.unroll_length), head])
    imitated = sum(layer.forward for layer in layer_costs(spec, 1)) if config.kl else 0.0
    return acting * (1 + 1 / config.rollout) + config.epochs * learning + imitated


def check_cost(config: TrainingConfig, cost: float) -> None:
    """Raise ConfigError where the budget over the samples is not the cost of a sample (FLOPs), to a hundredth; a budget
    of few samples is not a whole number of them."""
    if abs(config.flops / cost - config.samples) > max(1.0, _COST_SLACK * config.samples):
        raise ConfigError(
            f"flops = {config.flops:.4g} over samples = {config.samples} makes {config.flops_per_sample:.4g} a sample, "
            f"but this policy costs {cost:.4g}; write samples = {config.flops / cost:.0f}, or use `training configure`."
        )


def _linear(name: str, inputs: int, outputs: int, bias: bool = True) -> LayerCost:
    forward = 2 * inputs * outputs
    return LayerCost(name, inputs * outputs + bias * outputs, forward, 2 * forward)


def _conv(name: str, inputs: int, outputs: int, taps: int, positions: int, raw: bool = False) -> LayerCost:
    """A convolution with `taps` weights per pair of channels; `raw` if its input is data, which needs no gradient."""
    forward = 2 * inputs * outputs * taps * positions
    return LayerCost(name, inputs * outputs * taps + outputs, forward, forward if raw else 2 * forward)


def _lookup(name: str, rows: int, features: int, looked_up: int, summed: bool = False, bias: int = 0) -> LayerCost:
    added = looked_up * features
    return LayerCost(name, rows * features + bias, added if summed else 0, added)


def _norm(name: str, channels: int, sizes: screen.ScreenSizes) -> list[LayerCost]:
    """Batch normalisation of the paper's encoder: weight and bias of each channel."""
    return [LayerCost(name, 2 * channels, 0, 0)] if sizes.paper else []


def _screen(sizes: screen.ScreenSizes) -> list[LayerCost]:
    cells = screen.MAP_ROWS * screen.COLUMNS + screen.CROP**2
    # The factorised message layer looks its characters up in the map's table.
    characters = cells if sizes.paper else cells + screen.COLUMNS
    return [
        _lookup("screen.characters", screen.CHARACTERS, sizes.character, characters),
        _lookup("screen.colours", screen.COLOURS, sizes.colour, cells),
        *_message(sizes),
        *_status(sizes),
        *_map(sizes),
        *_crop(sizes),
    ]


def _message(sizes: screen.ScreenSizes) -> list[LayerCost]:
    if sizes.paper:
        rows = screen.COLUMNS * screen.CHARACTERS
        first = _lookup("screen.message.rows", rows, sizes.message, screen.COLUMNS, summed=True, bias=sizes.message)
    else:
        first = _linear("screen.message.first", screen.COLUMNS * sizes.character, sizes.message)
    return [first, _linear("screen.message.out", sizes.message, sizes.message)]


def _status(sizes: screen.ScreenSizes) -> list[LayerCost]:
    first, second = sizes.status_channels
    (kernel, kernel_2), (length, length_2) = screen.STATUS_KERNELS, screen.STATUS_LENGTHS
    return [
        _conv("screen.status.conv1", 2, first, kernel, length, raw=True),
        _conv("screen.status.conv2", first, second, kernel_2, length_2),
        _linear("screen.status.hidden", second * length_2, sizes.status),
        _linear("screen.status.out", sizes.status, sizes.status),
    ]


def _map(sizes: screen.ScreenSizes) -> list[LayerCost]:
    layers, inputs = [], sizes.character + sizes.colour
    blocks = zip(sizes.channels, screen.MAP_SIDES, screen.POOLED_SIDES, strict=True)
    for number, (channels, (rows, columns), (height, width)) in enumerate(blocks, 1):
        layers.append(_conv(f"screen.map.block{number}.conv", inputs, channels, 9, rows * columns))
        for index in range(1, screen.RES_CONVS + 1):
            name = f"screen.map.block{number}.residual{index}"
            layers += [_conv(name, channels, channels, 9, height * width), *_norm(f"{name}.norm", channels, sizes)]
        inputs = channels
    height, width = screen.POOLED_SIDES[-1]
    return [*layers, _linear("screen.map.out", inputs * height * width, sizes.screen)]


def _crop(sizes: screen.ScreenSizes) -> list[LayerCost]:
    layers, inputs = [], sizes.character + sizes.colour
    for number in range(1, screen.CROP_LAYERS + 1):
        outputs = sizes.crop[number == screen.CROP_LAYERS]
        name = f"screen.crop.conv{number}"
        layers += [_conv(name, inputs, outputs, 9, screen.CROP**2), *_norm(f"{name}.norm", outputs, sizes)]
        inputs = outputs
    return layers


def _mixer(spec: PolicySpec) -> list[LayerCost]:
    return [
        _linear("mix_screen", spec.screen.out, spec.width),
        _lookup("mix_previous", spec.actions, spec.width, 1, summed=True),
        _linear("mix", spec.width, spec.width),
    ]


def _lstm(width: int) -> list[LayerCost]:
    forward = 2 * 4 * width * width
    return [LayerCost(f"core.{part}", 4 * width * (width + 1), forward, 2 * forward) for part in ("input", "recurrent")]


def _transformer(spec: PolicySpec, unroll_length: int) -> list[LayerCost]:
    heads, head_width = heads_of(spec.width)
    inner, hidden = heads * head_width, FEED_FORWARD * spec.width
    products = 2 * 2 * (unroll_length + spec.context - 1) * inner
    layers = []
    for number in range(1, LAYERS + 1):
        name = f"core.block{number}"
        layers += [
            LayerCost(f"{name}.attention_norm", spec.width, 0, 0),
            _linear(f"{name}.qkv", spec.width, 3 * inner, bias=False),
            LayerCost(f"{name}.attention", 0, products, 2 * products),
            _linear(f"{name}.out", inner, spec.width, bias=False),
            LayerCost(f"{name}.feed_norm", spec.width, 0, 0),
            _linear(f"{name}.gate_up", spec.width, 2 * hidden, bias=False),
            _linear(f"{name}.down", hidden, spec.width, bias=False),
        ]
    return [*layers, LayerCost("core.norm", spec.width, 0, 0)]


def _atari(spec: PolicySpec, nominal: bool) -> list[LayerCost]:
    channels = network.channels(network.channels_for(spec.width) if spec.core == "nature" else spec.width)
    sides = (network.SIDE, *network.SIDES)
    layers = []
    for index, kernel in enumerate(network.KERNELS):
        positions = (sides[index] if nominal else sides[index + 1]) ** 2
        raw = index == 0 and not nominal
        layers.append(_conv(f"conv{index + 1}", channels[index], channels[index + 1], kernel**2, positions, raw))
    if spec.core == "nature":
        layers.append(_linear("hidden", channels[-1] * sides[-1] ** 2, spec.features))
    return [*layers, _linear("policy", spec.features, spec.actions)]
