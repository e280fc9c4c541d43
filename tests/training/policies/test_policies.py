"""Policies against the same networks written plainly, and families against what they promise."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from training.errors import ConfigError
from training.policies.family import (
    MAX_PARAMS,
    BetweenSizesError,
    PolicySpec,
    build,
    count_params,
    remembering,
    spec_for,
)
from training.policies.networks.nethack_screen import pooled

FAMILIES = [("nethack", "lstm", 121), ("nethack", "transformer", 121), ("atari", "cnn", 4), ("atari", "cnn", 18)]
FAMILIES += [("atari", "nature", 4)]
BATCH, STEPS = 2, 3


def screens(actions=121, batch=BATCH, steps=STEPS, seed=0):
    """Random screens; cursors in the corners of the map too, where the crop reaches over the edge."""
    g = torch.Generator().manual_seed(seed)
    cursor = torch.stack((torch.randint(1, 22, (batch, steps), generator=g), torch.randint(80, (batch, steps))), -1)
    cursor[0, 0], cursor[-1, -1] = torch.tensor([1, 0]), torch.tensor([21, 79])
    return {
        "chars": torch.randint(256, (batch, steps, 24, 80), generator=g).byte(),
        "colors": torch.randint(128, (batch, steps, 24, 80), generator=g).byte(),
        "cursor": cursor.byte(),
        "previous": torch.randint(actions, (batch, steps), generator=g),
        "start": torch.tensor([[True, False, False], [False, False, True]])[:batch, :steps],
    }


def plain_logits(policy, batch, first):
    """The paper's network as it is described: one-hot vectors, everything joined, one frame of the LSTM at a time."""
    screen, (b, t) = policy.screen, batch["previous"].shape
    chars, colors, cursor = (batch[k].flatten(0, 1).long() for k in ("chars", "colors", "cursor"))
    glyphs = torch.cat((screen.characters[chars], screen.colours[colors]), dim=-1)[:, 1:22]
    crops = []
    blank = torch.cat((screen.characters[0], screen.colours[0]))
    for frame, (row, column) in zip(glyphs, cursor.tolist(), strict=True):
        cells = [
            frame[r, c] if 0 <= r < 21 and 0 <= c < 80 else blank
            for r in range(row - 1 + first, row + 8 + first)
            for c in range(column + first, column + 9 + first)
        ]
        crops.append(torch.stack(cells).reshape(9, 9, -1))
    parts = [message(screen, chars[:, 0]), status(screen.status, chars[:, 22:].flatten(1).float())]
    x = glyphs.permute(0, 3, 1, 2).contiguous()
    for conv, residual in zip(screen.map.convs, screen.map.residuals, strict=True):
        x = F.max_pool2d(conv(x), 3, 2)
        for pair in residual:
            y = F.elu(pair.first_norm(pair.first(x)))
            x = x + F.elu(pair.second_norm(pair.second(y)))
    parts.append(F.elu(screen.map.out(x.reshape(b * t, -1))))
    parts.append(F.one_hot(batch["previous"].flatten(), policy.actions).float())
    x = torch.stack(crops).permute(0, 3, 1, 2).contiguous()
    for conv, norm in zip(screen.crop.convs, screen.crop.norms, strict=True):
        x = F.elu(norm(conv(x)))
    parts.append(x.reshape(b * t, -1))
    weight = policy.mix_screen.weight
    split = weight.shape[1] - parts[-1].shape[1]
    whole = torch.cat((weight[:, :split], policy.mix_previous.T, weight[:, split:]), dim=1)
    x = F.relu(torch.cat(parts, dim=1) @ whole.T + policy.mix_screen.bias)
    x = F.relu(policy.mix(x)).reshape(b, t, -1)
    hidden = cell = torch.zeros(1, b, x.shape[-1])
    outputs = []
    for step in range(t):
        keep = 1.0 - batch["start"][:, step].float()[None, :, None]
        y, (hidden, cell) = policy.core.lstm(x[:, step, None], (hidden * keep, cell * keep))
        outputs.append(y[:, 0])
    return policy.policy(torch.stack(outputs, dim=1))


def message(screen, line):
    layer = screen.message
    if hasattr(layer, "rows"):
        x = F.one_hot(line, 256).flatten(1).float() @ layer.rows + layer.bias
    else:  # the one-hot layer with its weight factorised
        factors = layer.first.weight.unflatten(1, (80, -1)) @ screen.characters.T
        x = F.one_hot(line, 256).flatten(1).float() @ factors.flatten(1).T + layer.first.bias
    return F.elu(layer.out(F.elu(x)))


def status(layer, text):
    digits = ((text > 44) & (text < 58)) * (text - 47) / 10
    x = torch.stack(((text - 32) / 96, digits), dim=1)
    x = F.elu(layer.convs[1](F.elu(layer.convs[0](x))))
    return F.elu(layer.out(F.elu(layer.hidden(x.flatten(1)))))


@pytest.mark.parametrize(("encoder", "first"), [("paper", -5), ("scaled", -4)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [BATCH, 27])
def test_lstm_policy_and_its_gradients_are_as_described(encoder, first, training, batch):
    torch.manual_seed(0)
    policy = build(PolicySpec(env="nethack", core="lstm", width=16, actions=121, encoder=encoder)).train(training)
    data = screens(batch=batch)
    data["start"] = torch.rand(batch, STEPS) < 0.3
    for module in policy.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after some training
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean)
            module.momentum = 0.0
    wanted = plain_logits(policy, data, first)
    got, _ = policy(data, policy.initial_state(batch))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)
    weigh = torch.randn_like(wanted)
    inputs = [policy.screen.characters, policy.screen.colours, policy.mix_previous, policy.mix_screen.weight]
    gradients = [torch.autograd.grad((weigh * y).sum(), inputs) for y in (got, wanted)]
    for ours, plain in zip(*gradients, strict=True):
        assert (ours - plain).norm() < 1e-3 * plain.norm()


@pytest.mark.parametrize("core", ["lstm", "transformer"])
def test_a_game_gets_the_same_logits_alone_and_in_a_batch(core):
    torch.manual_seed(0)
    policy = build(PolicySpec(env="nethack", core=core, width=24, actions=121)).train()
    data = screens()
    with torch.no_grad():
        together, _ = policy(data, policy.initial_state(BATCH))
        policy.eval()
        for row in range(BATCH):
            state, played = policy.initial_state(1), []
            for t in range(STEPS):
                logits, state = policy({k: v[row : row + 1, t : t + 1] for k, v in data.items()}, state)
                played.append(logits[0, 0])
            torch.testing.assert_close(torch.stack(played), together[row], atol=1e-5, rtol=1e-4)
    assert all(part.shape[0] == 1 and not part.requires_grad for part in state)


def test_maps_seen_again_are_read_once_while_playing():
    torch.manual_seed(0)
    policy = build(PolicySpec(env="nethack", core="lstm", width=24, actions=121))
    data, read = screens(batch=3, steps=6), []
    for name in ("chars", "colors"):
        data[name][0, 1:] = data[name][0, :1]  # the first game's map never changes
        data[name][1, 3] = data[name][1, 2]  # the second's once does not
        data[name][2, 4, 5, 5] = 1 - data[name][2, 3, 5, 5] % 2
    data["start"] = torch.zeros(3, 6, dtype=torch.bool)
    policy.screen.map.register_forward_pre_hook(lambda _, inputs: read.append(len(inputs[0])))

    def played():
        state, logits = policy.initial_state(3), []
        for t in range(6):
            seen, state = policy({k: v[:, t : t + 1] for k, v in data.items()}, state)
            logits.append(seen[:, 0])
        return torch.stack(logits)

    with torch.no_grad():
        with remembering(policy, {}):
            first = played()
            other = {k: v[:2, :1] for k, v in data.items()}  # fewer games, as when one is over
            policy(other, policy.initial_state(2))
        assert read == [3, 2, 2, 1, 2, 2, 2]
        for weight in policy.screen.map.parameters():
            weight.add_(0.01)
        with remembering(policy, {}):
            assert (played() - first).abs().max() > 1e-3  # other weights, other features
        for weight in policy.screen.map.parameters():
            weight.sub_(0.01)
        torch.testing.assert_close(first, played(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channels", [3, 8, 16])
def test_acting_pools_as_learning_does(channels):
    for shape in ((2, channels, 21, 80), (2, channels, 10, 39), (2, channels, 4, 19)):
        x = torch.randn(shape).round()
        with torch.no_grad():
            assert torch.equal(pooled(x), F.max_pool2d(x, 3, stride=2))
        learned = x.requires_grad_()
        assert torch.equal(pooled(learned), pooled(x.detach()))


@pytest.mark.parametrize(("core", "width"), [("lstm", 24), ("transformer", 16)])
def test_policy_learns_what_only_memory_can_tell(core, width):
    """The action is the one taken a frame earlier; without memory the loss cannot fall below ln 4."""
    torch.manual_seed(0)
    policy = build(PolicySpec(env="nethack", core=core, width=width, actions=4, context=6))
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    data = screens(actions=4, batch=1, steps=1)
    data = {k: v.expand(8, 6, *v.shape[2:]) for k, v in data.items()}
    data["start"] = torch.arange(6).expand(8, 6) == 0
    for _ in range(160):
        data["previous"] = torch.randint(4, (8, 6))
        logits, _ = policy(data, policy.initial_state(8))
        loss = F.cross_entropy(logits[:, 1:].flatten(0, 1), data["previous"][:, :-1].flatten())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
    assert loss < 0.7


def test_atari_is_the_published_network():
    spec = PolicySpec(env="atari", core="cnn", width=3, actions=6)
    policy = build(spec)
    plain = nn.Sequential(
        nn.Conv2d(4, 3, 8, 4), nn.ReLU(), nn.Conv2d(3, 6, 4, 2), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.Flatten()
    ).append(nn.Linear(7 * 7 * 6, 6))
    for target, source in zip(plain.parameters(), policy.parameters(), strict=True):
        target.data.copy_(source.data)
    pixels = torch.randint(256, (2, 5, 4, 84, 84)).byte()
    logits, state = policy({"pixels": pixels}, policy.initial_state(2))
    torch.testing.assert_close(logits.flatten(0, 1), plain(pixels.flatten(0, 1) / 255.0))
    assert state == ()


# Sizes listed in the Atari table of the paper's repository (arXiv 2307.09423): width, actions, parameters.
PUBLISHED = [(1, 4, 725), (8, 4, 9580), (117, 4, 1_007_257), (266, 6, 5_037_248), (266, 18, 5_350_076)]


@pytest.mark.parametrize(("width", "actions", "params"), PUBLISHED)
def test_atari_has_the_published_parameters(width, actions, params):
    spec = PolicySpec(env="atari", core="cnn", width=width, actions=actions)
    assert count_params(spec) == params
    assert spec_for("atari", "cnn", params, actions) == spec


@pytest.mark.parametrize("family", [1, 2])
@pytest.mark.parametrize(("env", "core", "actions"), FAMILIES)
def test_every_size_is_within_a_tenth(env, core, actions, family):
    for params in np.geomspace(2e4, MAX_PARAMS, 97):
        spec = spec_for(env, core, params, actions, family)
        assert abs(count_params(spec) / params - 1) <= 0.1
        assert (spec.env, spec.core, spec.actions) == (env, core, actions)


@pytest.mark.parametrize(("env", "core", "actions"), FAMILIES)
def test_parameters_are_counted_without_making_them(env, core, actions):
    spec = spec_for(env, core, 5e4, actions)
    count_params.cache_clear()
    before = torch.get_rng_state()
    counted = count_params(spec)
    assert torch.equal(torch.get_rng_state(), before)
    assert counted == sum(p.numel() for p in build(spec).parameters())


@pytest.mark.parametrize("params", [1, 1.1e9, float("nan"), float("inf"), -5])
@pytest.mark.parametrize(("env", "core", "actions"), FAMILIES[:3])
def test_a_size_out_of_range_is_refused_in_a_sentence(env, core, actions, params):
    with pytest.raises(ConfigError, match=r"^params of a \w+ with \d+ actions in \w+ must be \d+ to 1e9, got .*\.$"):
        spec_for(env, core, params, actions)


def test_a_size_between_two_policies_names_them():
    """In the gaps of the small ones; the range that the other sentence names would be no answer."""
    with pytest.raises(BetweenSizesError, match=r"has about 3100 parameters; choose 2575 or 3704\.$") as refused:
        spec_for("atari", "cnn", 3100, 4)
    assert refused.value.nearest == 2575


def test_channels_of_family_2_are_powers_of_two_and_never_fall():
    before = (0,) * 9
    for width in range(4, 4096):
        sizes = PolicySpec(env="nethack", core="lstm", width=width, actions=121, family=2).screen
        convolved = (sizes.character + sizes.colour, *sizes.channels, *sizes.crop)
        assert all(c < 12 or c.bit_count() == 1 for c in convolved), (width, convolved)
        now = (sizes.character, sizes.colour, *sizes.channels, *sizes.crop, sizes.message, sizes.screen)
        assert all(a <= b for a, b in zip(before, now, strict=True)), width
        before = now


def test_families_are_one_where_channels_are_few():
    small = [spec_for("nethack", "lstm", 3e4, 121, family) for family in (1, 2)]
    assert count_params(small[0]) == count_params(small[1])
    large = [spec_for("nethack", "lstm", 5.7e7, 121, family).screen for family in (1, 2)]
    assert large[0].channels == (32, 64, 64)
    assert large[1].channels == (32, 64, 64)
    assert (large[0].character + large[0].colour, large[1].character + large[1].colour) == (48, 64)


def test_what_is_no_policy_is_refused():
    with pytest.raises(ConfigError, match=r"there is no core 'cnn' in 'nethack'; choose lstm in nethack"):
        spec_for("nethack", "cnn", 1e6, 121)
    with pytest.raises(ConfigError, match="encoder must be scaled or paper, got 'tiny'"):
        PolicySpec(env="nethack", core="lstm", width=16, actions=121, encoder="tiny")
    with pytest.raises(ConfigError, match="width of a lstm must be 4 to 16384, got 0"):
        PolicySpec(env="nethack", core="lstm", width=0, actions=121)
