"""Sequence cores against the same mathematics written one frame at a time."""

import math

import pytest
import torch

from training.policies.networks.cores import LAYERS, LstmCore, TransformerCore

BATCH, STEPS, WIDTH = 3, 9, 6


def starts(share=0.25, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, STEPS, generator=generator) < share


def plain_lstm(lstm, x, start, hidden, cell):
    """The equations of torch.nn.LSTM, a frame at a time."""
    outputs = []
    for t in range(x.shape[1]):
        hidden = torch.where(start[:, t, None], 0, hidden)
        cell = torch.where(start[:, t, None], 0, cell)
        gates = x[:, t] @ lstm.weight_ih_l0.T + lstm.bias_ih_l0 + hidden @ lstm.weight_hh_l0.T + lstm.bias_hh_l0
        i, f, g, o = gates.split(WIDTH, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs, dim=1), (hidden, cell)


@pytest.fixture
def lstm():
    torch.manual_seed(0)
    core = LstmCore(WIDTH).double()
    x = torch.randn(BATCH, STEPS, WIDTH, dtype=torch.double, requires_grad=True)
    state = tuple(torch.randn(BATCH, WIDTH, dtype=torch.double, requires_grad=True) for _ in range(2))
    return core, x, state


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_lstm_and_all_its_gradients_are_those_of_the_equations(lstm, share):
    core, x, state = lstm
    start = starts(share)
    wanted, wanted_state = plain_lstm(core.lstm, x, start, *state)
    got, got_state = core(x, start, state)
    inputs = (x, *state, *core.lstm.parameters())
    weigh = torch.randn_like(wanted)
    gradients = []
    for y, (hidden, cell) in ((wanted, wanted_state), (got, got_state)):
        total = (weigh * y).sum() + hidden.square().sum() + cell.sum()
        gradients.append(torch.autograd.grad(total, inputs))
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(got_state, wanted_state)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_the_stretches_that_a_gpu_runs_give_the_same(lstm):
    core, x, state = lstm
    core, x, state = core.float(), x.float(), tuple(part.float() for part in state)
    for seed, share in enumerate((0.0, 0.1, 0.5)):
        start = starts(share, seed)
        torch.testing.assert_close(core._stretches(x, start, *state), core(x, start, state))


def test_torch_has_the_same_lstm_where_nothing_is_reset(lstm):
    core, x, _ = lstm
    zeros = core.initial_state(BATCH)
    got, state = core.float()(x.float(), starts(0.0), zeros)
    wanted, (hidden, cell) = core.lstm(x.float())
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(state, (hidden[0], cell[0]))


def plain_transformer(core, x, start):
    """Llama's equations for one sequence [T, width], with loops over heads, frames and what they see."""
    game = start.long().cumsum(0)
    for block in core.blocks:
        normed = rms(x, block.attention_norm.weight)
        q, k, v = (normed @ block.qkv.weight.T).split(core.heads * core.head_width, dim=1)
        mixed = torch.zeros_like(q)
        for head in range(core.heads):
            part = slice(head * core.head_width, (head + 1) * core.head_width)
            for t in range(len(x)):
                seen = [s for s in range(max(0, t - core.context + 1), t + 1) if game[s] == game[t]]
                scores = torch.stack([turned(q[t, part], t) @ turned(k[s, part], s) for s in seen])
                weights = (scores / math.sqrt(core.head_width)).softmax(0)
                mixed[t, part] = sum(w * v[s, part] for w, s in zip(weights, seen, strict=True))
        x = x + mixed @ block.out.weight.T
        gate, up = (rms(x, block.feed_norm.weight) @ block.gate_up.weight.T).chunk(2, dim=1)
        x = x + (gate * gate.sigmoid() * up) @ block.down.weight.T
    return rms(x, core.norm.weight)


def rms(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x, position):
    """Rotary embedding as a rotation in the complex plane of each pair (j, j + pairs)."""
    pairs = len(x) // 2
    angles = position * 10_000.0 ** (-torch.arange(pairs) / pairs)
    z = torch.complex(x[:pairs], x[pairs : 2 * pairs]) * torch.polar(torch.ones(pairs), angles)
    return torch.cat((z.real, z.imag, x[2 * pairs :]))


@pytest.mark.parametrize("width", [7, 130])
def test_transformer_is_the_equations(width):
    torch.manual_seed(1)
    core = TransformerCore(width, context=4)
    x, start = torch.randn(2, 8, width), starts()[:2, :8]
    with torch.no_grad():
        got, _ = core(x, start, core.initial_state(2))
        for row in range(2):
            torch.testing.assert_close(got[row], plain_transformer(core, x[row], start[row]), atol=2e-5, rtol=1e-4)


def make(kind):
    return LstmCore(WIDTH) if kind == "lstm" else TransformerCore(WIDTH, context=5)


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_outputs_do_not_depend_on_how_a_game_is_cut_into_unrolls(kind, cut):
    torch.manual_seed(2)
    core, x, start = make(kind), torch.randn(BATCH, STEPS, WIDTH), starts()
    with torch.no_grad():
        whole, _ = core(x, start, core.initial_state(BATCH))
        state, parts = core.initial_state(BATCH), []
        for begin in range(0, STEPS, cut):
            part, state = core(x[:, begin : begin + cut], start[:, begin : begin + cut], state)
            parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_no_earlier_game_or_later_frame_reaches_an_output(kind):
    torch.manual_seed(3)
    core = make(kind)
    x = torch.randn(1, STEPS, WIDTH, requires_grad=True)
    start = torch.zeros(1, STEPS, dtype=torch.bool)
    start[0, 4] = True
    y, _ = core(x, start, core.initial_state(1))
    (gradient,) = torch.autograd.grad(y[0, 6].square().sum(), x)
    reached = gradient[0].abs().sum(1) > 0
    assert reached.tolist() == [False] * 4 + [True] * 3 + [False] * 2


def test_transformer_sees_a_window_in_each_layer():
    torch.manual_seed(4)
    core = TransformerCore(WIDTH, context=2)
    x = torch.randn(1, STEPS, WIDTH, requires_grad=True)
    y, _ = core(x, torch.zeros(1, STEPS, dtype=torch.bool), core.initial_state(1))
    (gradient,) = torch.autograd.grad(y[0, -1].square().sum(), x)
    assert (gradient[0].abs().sum(1) > 0).sum() == LAYERS * (core.context - 1) + 1


def test_half_precision_stays_close(lstm):
    core = TransformerCore(32, context=4)
    x, start = torch.randn(BATCH, STEPS, 32), starts()
    with torch.no_grad():
        wanted, _ = core(x, start, core.initial_state(BATCH))
        with torch.autocast("cpu", torch.bfloat16):
            got, state = core(x, start, core.initial_state(BATCH))
    assert (got - wanted).abs().max() < 0.1
    assert [part.dtype for part in state] == [torch.float32, torch.float32, torch.bool]


def test_cores_hold_only_what_they_use():
    for kind in ("lstm", "transformer"):
        core = make(kind)
        y, _ = core(torch.randn(BATCH, STEPS, WIDTH), starts(), core.initial_state(BATCH))
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in core.parameters())
