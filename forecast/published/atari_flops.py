"""What the published Atari networks really cost, and the counter that mischarged them.

Network (Tuyls et al., arXiv 2307.09423): 84×84×4 frames, then Conv(4→w, 8×8, stride 4), Conv(w→2w, 4×4, stride 2),
Conv(2w→2w, 3×3, stride 1), Linear(7·7·2w → actions), with biases everywhere. The published parameter counts determine
w given the number of actions, so compute can be recomputed from `params` and `samples` alone.

Conventions. One multiply-add is 2 FLOPs; biases and activations are not counted. A convolution does its multiply-adds
once per *output* position. One training sample costs the forward pass, the gradients of the weights of all layers and
the gradients of the inputs of all layers but the first (nobody needs the gradient of the frame); each of those passes
through a layer costs as much as its forward pass.
"""

import math

from forecast.errors import ForecastError

# Actions of each game in the minimal action set of the Arcade Learning Environment.
ACTIONS = {"BankHeist": 18, "BattleZone": 18, "Breakout": 4, "NameThisGame": 6, "Qbert": 6}
# Samples per batch in the published runs: every published `samples` is a multiple of it.
BATCH = 4096
# Side of the feature map at the input and output of each convolution.
_INPUT_SIDES, _OUTPUT_SIDES = (84, 20, 9), (20, 9, 7)


def _layer_weights(width: int, actions: int) -> tuple[int, int, int, int]:
    """Weights of the three convolutions and the head, biases apart."""
    w = width
    return 4 * w * 8 * 8, w * 2 * w * 4 * 4, 2 * w * 2 * w * 3 * 3, 7 * 7 * 2 * w * actions


def params(width: int, actions: int) -> int:
    """Trainable parameters N, biases included."""
    return sum(_layer_weights(width, actions)) + (width + 2 * width + 2 * width + actions)


def width_of(n_params: int, actions: int) -> int:
    """The w whose network has exactly `n_params` parameters; ForecastError if there is none."""
    # N = 68w² + (261 + 98·actions)w + actions, and N grows with w.
    linear = 261 + 98 * actions
    w = round((-linear + math.sqrt(linear**2 + 4 * 68 * max(n_params - actions, 0))) / (2 * 68))
    if w < 1 or params(w, actions) != n_params:
        raise ForecastError(f"no width gives {n_params} parameters with {actions} actions; the nearest is {w}")
    return w


def _layer_macs(width: int, actions: int, sides: tuple[int, int, int]) -> list[int]:
    *convolutions, head = _layer_weights(width, actions)
    return [side**2 * weights for side, weights in zip(sides, convolutions, strict=True)] + [head]


def forward_flops(width: int, actions: int) -> int:
    """FLOPs of one forward pass of one frame."""
    return 2 * sum(_layer_macs(width, actions, _OUTPUT_SIDES))


def training_flops(width: int, actions: int) -> int:
    """FLOPs of training on one frame: three passes through every layer, two through the first."""
    return 3 * forward_flops(width, actions) - 2 * _layer_macs(width, actions, _OUTPUT_SIDES)[0]


def nominal_forward_flops(width: int, actions: int) -> int:
    """Forward FLOPs by the authors' counter: every convolution charged at its input resolution.

    Too much by 16.8 times at w=1, 13.9 at w=8 and 4.7 at w=266.
    """
    return 2 * sum(_layer_macs(width, actions, _INPUT_SIDES))


def nominal_samples(budget: float, width: int, actions: int) -> int:
    """Samples the authors gave a nominal budget: 3 nominal forward passes each, rounded up to whole batches.

    Reproduces all 736 published values of `samples` exactly.
    """
    return BATCH * math.ceil(budget / (3 * nominal_forward_flops(width, actions) * BATCH))
