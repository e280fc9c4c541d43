"""Formulas of cost against torch's own counter of what was executed, and against published counts."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from training.design.cloning import configure
from training.errors import ConfigError
from training.policies.family import PolicySpec, build, count_params, spec_for
from training.policies.flops import check_cost, flops_per_sample, layer_costs

BATCH, STEPS = 2, 3


def spec_of(core, width, **kwargs):
    return PolicySpec(
        env="atari" if core in ("cnn", "nature") else "nethack", core=core, width=width, actions=7, **kwargs
    )


SPECS = [spec_of("lstm", 9), spec_of("lstm", 40), spec_of("lstm", 12, encoder="paper")]
SPECS += [spec_of("transformer", 9, context=5), spec_of("transformer", 130, context=2)]
SPECS += [spec_of("transformer", 16, encoder="paper", context=1)]
SPECS += [spec_of("lstm", 300, family=2), spec_of("transformer", 600, family=2, context=2)]
SPECS += [spec_of("cnn", 1), spec_of("cnn", 6), spec_of("nature", 5), spec_of("nature", 150)]


def executed(spec):
    """Multiply-adds that torch counts, as FLOPs of a forward and of a backward pass per frame.

    The policies are their own equivalent graph: on a CPU the LSTM runs as plain products, and attention is made to.
    """
    policy = build(spec)
    frames = (BATCH, STEPS)
    batch = {
        "pixels": torch.zeros(*frames, 4, 84, 84, dtype=torch.uint8),
        "chars": torch.randint(256, (*frames, 24, 80), dtype=torch.uint8),  # equal maps are computed once
        "colors": torch.zeros(*frames, 24, 80, dtype=torch.uint8),
        "cursor": torch.ones(*frames, 2, dtype=torch.uint8),
        "previous": torch.zeros(*frames, dtype=torch.long),
        "start": torch.zeros(*frames, dtype=torch.bool),
    }
    totals = []
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            logits, _ = policy(batch, policy.initial_state(BATCH))
        totals.append(counter.get_total_flops())
        with FlopCounterMode(display=False) as counter:
            logits.sum().backward()
        totals.append(counter.get_total_flops())
    return [total / (BATCH * STEPS) for total in totals]


def is_lookup(layer):
    return layer.name in ("screen.characters", "screen.colours", "screen.message.rows", "mix_previous")


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_products_are_exactly_those_that_torch_executes(spec):
    layers = [layer for layer in layer_costs(spec, unroll_length=STEPS) if not is_lookup(layer)]
    forward, backward = executed(spec)
    assert sum(layer.forward for layer in layers) == forward
    assert sum(layer.backward for layer in layers) == backward


@pytest.mark.parametrize("encoder", ["scaled", "paper"])
def test_lookups_cost_the_additions_they_make(encoder):
    spec = spec_of("lstm", 12, encoder=encoder)
    sizes, costs = spec.screen, {layer.name: layer for layer in layer_costs(spec)}
    cells = 21 * 80 + 9 * 9
    assert costs["screen.colours"].forward == 0
    assert costs["screen.colours"].backward == cells * sizes.colour
    assert (costs["mix_previous"].forward, costs["mix_previous"].backward) == (12, 12)
    if encoder == "paper":
        assert costs["screen.characters"].backward == cells * sizes.character
        assert costs["screen.message.rows"].forward == costs["screen.message.rows"].backward == 80 * 64
    else:
        assert costs["screen.characters"].backward == (cells + 80) * sizes.character


@pytest.mark.parametrize(
    "spec",
    [*SPECS, *(spec_for("nethack", core, n, 121) for core in ("lstm", "transformer") for n in (2e4, 1e7, 1e9))],
    ids=str,
)
def test_parameters_of_the_layers_add_up(spec):
    assert sum(layer.params for layer in layer_costs(spec)) == count_params(spec)


def test_lstm_of_the_equations():
    """Hochreiter & Schmidhuber's four gates: 8·width² weights and two vectors of 4·width biases, a product each way."""
    layers = [layer for layer in layer_costs(spec_of("lstm", 100)) if layer.name.startswith("core.")]
    assert sum(layer.params for layer in layers) == 8 * 100**2 + 2 * 4 * 100
    assert sum(layer.forward for layer in layers) == 16 * 100**2
    assert sum(layer.backward for layer in layers) == 32 * 100**2


def test_large_models_tend_to_six_flops_per_parameter():
    ratios = []
    for params in (2e4, 1e6, 1e8, 1e9):
        spec = spec_for("nethack", "transformer", params, 121)
        ratios.append(flops_per_sample(spec) / (6 * count_params(spec)))
    assert ratios == sorted(ratios, reverse=True)
    assert 1 < ratios[-1] < 1.15


# Rows of the published Atari table (princeton-nlp/il-scaling-in-games, commit 0ea3866): width, actions, nominal budget,
# samples. The third number of samples is the exact cost recomputed from them, as forecast/published states it.
PUBLISHED = [
    (1, 4, 2e15, 182_906_880, 80_129_309_245_440),
    (13, 4, 5e14, 3_190_784, 31_181_489_930_240),
    (117, 4, 5e17, 195_379_200, 79_318_892_534_169_600),
]


@pytest.mark.parametrize(("width", "actions", "budget", "samples", "exact"), PUBLISHED)
def test_published_atari_counts_are_reproduced(width, actions, budget, samples, exact):
    spec = PolicySpec(env="atari", core="cnn", width=width, actions=actions)
    batches = math.ceil(budget / (flops_per_sample(spec, nominal=True) * 4096))
    assert batches * 4096 == samples
    assert flops_per_sample(spec) * samples == exact
    assert sum(layer.params for layer in layer_costs(spec, nominal=True)) == count_params(spec)


def test_what_has_no_cost_is_refused():
    with pytest.raises(ConfigError, match="there are none in nethack"):
        layer_costs(spec_of("lstm", 16), nominal=True)
    with pytest.raises(ConfigError, match="unroll_length must be at least 1, got 0"):
        flops_per_sample(spec_of("lstm", 16), unroll_length=0)


@pytest.mark.parametrize("samples", [3, 40, 70, 5000])
def test_a_budget_of_few_samples_is_accepted_as_rounded(samples):
    cost = flops_per_sample(spec_for("nethack", "lstm", 2e4, 121))
    run = configure(params=2e4, flops=(samples + 0.4) * cost, batch_size=1, unroll_length=1)
    check_cost(run, flops_per_sample(spec_for("nethack", "lstm", 2e4, 121), 1))
    with pytest.raises(ConfigError, match="but this policy costs"):
        check_cost(replace(run, flops=run.flops + 2 * cost + 0.02 * run.flops), cost)
