"""Speed of a training step of the LSTM policy, beside the public reference implementation if a checkout is given.

    git clone https://github.com/princeton-nlp/il-scaling-in-games /tmp/reference
    python benchmarks/policies.py --reference /tmp/reference

A step is forward, cross-entropy, backward and Adam (fused, the same for both) on 8 sequences of 32 frames; on a GPU 64
of 80 under bf16 autocast, ours compiled as `training bc` does it. The two take turns, step by step, so that whatever
else the machine does falls on both; the ratio is that of the medians, with the quartiles of the paired ratios. Before,
the reference's weights are copied into our policy, and the differences of logits (in both modes) and of gradients
printed. Matrix rate is what torch multiplies two 2048×2048 (GPU: 8192×8192, bf16) matrices at, measured in the same
run.
"""

import argparse
import copy
import statistics
import sys
import time
import types
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from training.policies.arithmetic import matrix_rate
from training.policies.compiled import LearningPolicy
from training.policies.family import PolicySpec, build, count_params
from training.policies.flops import flops_per_sample

ACTIONS = 121
GAME_LENGTH = 5_000
"""Mean frames of a game: one start in that many frames."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", type=Path, help="checkout of princeton-nlp/il-scaling-in-games")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 1024])
    parser.add_argument("--steps", type=int, default=15, help="timed steps of each")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {options.threads} threads"
    rate = matrix_rate(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    print(f"{name}, torch {torch.__version__}, matrix rate {rate:.3g} FLOP/s")
    for width in options.widths:
        compare(width, options, device, rate)


def compare(width: int, options: argparse.Namespace, device: torch.device, rate: float) -> None:
    spec = PolicySpec(env="nethack", core="lstm", width=width, actions=ACTIONS, encoder="paper")
    torch.manual_seed(0)
    ours = build(spec).to(device)
    shape = (64, 80) if device.type == "cuda" else (8, 32)
    batch = {name: value.to(device) for name, value in screens(*shape).items()}
    contestants = {"ours": Ours(ours, batch)}
    print(f"h={width}: {count_params(spec):,} parameters, {flops_per_sample(spec):.4g} FLOPs per sample")
    if options.reference:
        reference = Reference(load_reference(options.reference, width).to(device), batch)
        copy_weights(reference.model, ours)
        check(contestants["ours"], reference)
        contestants["reference"] = reference
    if device.type == "cuda":
        contestants["ours"].called = LearningPolicy(ours, compile=True)
    frames = shape[0] * shape[1]
    times = race({name: step_of(one) for name, one in contestants.items()}, options.steps, device)
    for name, seconds in times.items():
        speed = frames / statistics.median(seconds)
        share = speed * flops_per_sample(spec) / rate
        print(f"  {name:9} {speed:6.0f} frames/s, {share * rate:.3g} FLOP/s, {share:.0%} of the matrix rate")
    if options.reference:
        low, _, high = statistics.quantiles(r / o for r, o in zip(times["reference"], times["ours"], strict=True))
        ratio = statistics.median(times["reference"]) / statistics.median(times["ours"])
        print(f"  ratio {ratio:.2f} (paired quartiles {low:.2f} to {high:.2f})")


class Ours:
    """Our policy, called on our batch, whose starts stay on the host as in `training.policies.arithmetic.to_device`."""

    def __init__(self, model: nn.Module, batch: dict[str, Tensor]):
        self.model, self.batch = model, {**batch, "start": batch["start"].cpu()}
        self.called = model
        self.state = model.initial_state(len(batch["start"]), batch["action"].device)

    def logits(self) -> Tensor:
        """Logits [B, T, A]."""
        return self.called(self.batch, self.state)[0]


class Reference:
    """The reference, called on the same frames as it wants them: time first, a dimension of stacked frames."""

    def __init__(self, model: nn.Module, batch: dict[str, Tensor]):
        self.model, self.batch = model, batch
        first = {name: value.transpose(0, 1).contiguous() for name, value in batch.items()}
        self.inputs = {
            "tty_chars": first["chars"][:, :, None],
            "tty_colors": first["colors"][:, :, None],
            "tty_cursor": first["cursor"].short(),
            "prev_action": first["previous"],
            "done": first["start"],
        }
        self.state = tuple(part.to(first["start"].device) for part in model.initial_state(batch["start"].shape[0]))

    def logits(self) -> Tensor:
        """Logits [B, T, A]."""
        return self.model(self.inputs, self.state)[0]["policy_logits"].transpose(0, 1)


def loss_of(one: Ours | Reference) -> Tensor:
    return F.cross_entropy(one.logits().flatten(0, 1), one.batch["action"].flatten())


def step_of(one: Ours | Reference):
    optimiser = torch.optim.Adam(one.model.parameters(), lr=1e-4, fused=True)
    device = one.batch["action"].device

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(one)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    return step


def race(steps: dict, count: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each step, the contestants taking turns; three untimed rounds first."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(count + 3):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= 3:
                times[name].append(time.perf_counter() - start)
    return times


def check(ours: Ours, reference: Reference) -> None:
    """Print how far apart logits and gradients are with equal weights."""
    told = []
    for mode in (True, False):
        ours.model.train(mode)
        reference.model.train(mode)
        with torch.no_grad():
            told.append((ours.logits() - reference.logits()).abs().max().item())
    ours.model.train()
    reference.model.train()
    print(f"  largest difference of logits {told[0]:.1e} (training mode), {told[1]:.1e} (evaluation mode)")
    print(f"  distance of the gradients in double precision {gradient_distance(ours, reference):.1e} of their norm")


def gradient_distance(ours: Ours, reference: Reference) -> float:
    """Distance of all gradients over their norm, in double precision on the first sequences.

    In single precision rounding decides which of two nearly equal cells is pooled and which side of a kink a unit is
    on; the reference is 3e-3 from itself without oneDNN.
    """
    batch = {name: value[:2, :16].cpu() for name, value in ours.batch.items()}
    batch["start"][1, 5] = True
    mine, theirs = (copy.deepcopy(one.model).cpu().double() for one in (ours, reference))
    single = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double  # both turn codes into numbers with it
    try:
        for one in (Ours(mine, batch), Reference(theirs, batch)):
            one.state = tuple(part.double() for part in one.state)
            loss_of(one).backward()
    finally:
        torch.Tensor.float = single
    pairs = [(a.grad, b.grad) for a, b in weight_pairs(theirs, mine)]
    apart = sum((a.reshape(b.shape) - b).square().sum().item() for a, b in pairs)
    return (apart / sum(b.square().sum().item() for _, b in pairs)) ** 0.5


@torch.no_grad()
def copy_weights(theirs: nn.Module, ours: nn.Module) -> None:
    mapped = set()
    for source, target in weight_pairs(theirs, ours, buffers=True):
        target.copy_(source.reshape(target.shape))
        mapped.add(target.data_ptr())
    missed = [name for name, value in ours.state_dict().items() if value.data_ptr() not in mapped and value.numel() > 1]
    assert not missed, missed


def weight_pairs(theirs: nn.Module, ours: nn.Module, buffers: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Every tensor of the reference beside ours; transposed or sliced where ours is stored so, gradients included."""
    screen, pairs = ours.screen, []

    def modules(source: nn.Module, target: nn.Module) -> None:
        pairs.extend(zip(source.parameters(), target.parameters(), strict=True))
        if buffers:
            pairs.extend(zip(source.buffers(), target.buffers(), strict=True))

    encoder = theirs.screen_encoder
    pairs += [(encoder.char_embeddings.weight, screen.characters), (encoder.color_embeddings.weight, screen.colours)]
    for block, conv, residual in zip(encoder.conv_net, screen.map.convs, screen.map.residuals, strict=True):
        modules(block[0], conv)
        for source, target in zip(block[2:], residual, strict=True):
            for index, name in ((0, "first"), (1, "first_norm"), (3, "second"), (4, "second_norm")):
                modules(source.net[index], getattr(target, name))
    crop = theirs.extract_crop_representation
    for index, (conv, norm) in enumerate(zip(list(screen.crop.convs), list(screen.crop.norms), strict=True)):
        modules(crop[3 * index], conv)
        modules(crop[3 * index + 1], norm)
    message, status = theirs.topline_encoder.msg_fwd, theirs.bottomline_encoder
    modules(message[2], screen.message.out)
    modules(status.conv_net[0], screen.status.convs[0])
    modules(status.conv_net[2], screen.status.convs[1])
    modules(status.fwd_net[0], screen.status.hidden)
    modules(status.fwd_net[2], screen.status.out)
    modules(theirs.fc[2], ours.mix)
    modules(theirs.core, ours.core.lstm)
    modules(theirs.policy, ours.policy)
    pairs += [(message[0].bias, screen.message.bias), (theirs.fc[0].bias, ours.mix_screen.bias)]
    pairs.append((transformed(message[0].weight, lambda w: w.t()), screen.message.rows))
    pairs += split_mixer(theirs.fc[0].weight, ours, encoder.h_dim)
    pairs.append((transformed(encoder.fc_head[0].weight, lambda w: w), screen.map.out.weight))
    pairs.append((encoder.fc_head[0].bias, screen.map.out.bias))
    return pairs


def split_mixer(weight: Tensor, ours: nn.Module, screen: int) -> list[tuple[Tensor, Tensor]]:
    """The first mixing layer: theirs reads message, status, map, previous action, crop; ours looks the action up."""
    sizes = ours.screen.sizes
    action = sizes.message + sizes.status + screen
    crop = action + ACTIONS
    return [
        (transformed(weight, lambda w: torch.cat((w[:, :action], w[:, crop:]), dim=1)), ours.mix_screen.weight),
        (transformed(weight, lambda w: w[:, action:crop].t()), ours.mix_previous),
    ]


def transformed(weight: Tensor, change) -> Tensor:
    """The weight changed, with its gradient changed alike."""
    with torch.no_grad():
        copy = change(weight).contiguous()
        copy.grad = change(weight.grad).contiguous() if weight.grad is not None else None
    return copy


def load_reference(checkout: Path, width: int) -> nn.Module:
    """The reference's network as published: crop with batch normalisation, previous action, one LSTM layer."""

    class Warper:
        def __init__(self, *_):
            pass

    # Imported for sampling and for making environments, neither of which is used here.
    stubs = {"transformers": {"TopPLogitsWarper": Warper, "TopKLogitsWarper": Warper}, "gym": {}}
    for name, content in stubs.items():
        sys.modules.setdefault(name, types.ModuleType(name)).__dict__.update(content)
    sys.path.insert(0, str(checkout))
    from il_scale.nethack.v1.net import NetHackNetTtyrec  # pyright: ignore[reportMissingImports]

    return NetHackNetTtyrec(
        ACTIONS, h_dim=width, use_lstm=True, il_mode=True, use_prev_action=True, use_crop=True, use_crop_norm=True
    )


def screens(sequences: int, frames: int) -> dict[str, Tensor]:
    """Screens that are mostly blank, as NetHack's are, with cursors all over the map."""
    generator = torch.Generator().manual_seed(0)

    def integers(high: int, *tail: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, (sequences, frames, *tail), generator=generator)

    drawn = torch.rand(sequences, frames, 24, 80, generator=generator) < 0.25
    return {
        "chars": torch.where(drawn, integers(127, 24, 80, low=33), 32).byte(),
        "colors": torch.where(drawn, integers(16, 24, 80), 0).byte(),
        "cursor": torch.stack((integers(22, low=1), integers(80)), dim=-1).byte(),
        "previous": integers(ACTIONS),
        "start": torch.rand(sequences, frames, generator=generator) < 1 / GAME_LENGTH,
        "action": integers(ACTIONS),
    }


if __name__ == "__main__":
    main()
