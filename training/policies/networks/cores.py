"""Sequence cores: what a policy remembers of a game. [B, T, width] in, [B, T, width] out, reset where a game starts."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LAYERS = 6
HEAD_WIDTH = 64
FEED_FORWARD = 4
"""Hidden width of the transformer's feed-forward layers, in widths of the core."""
ROTARY_BASE = 10_000.0


class LstmCore(nn.Module):
    """One LSTM layer (Hochreiter & Schmidhuber 1997), as in the paper. The state is (hidden, cell), each [B, width].

    On a GPU cuDNN runs once for each stretch without a reset. It has to know on the host where the stretches end, which
    waits for the device unless `start` lies on the CPU. Elsewhere one autograd function steps through time: resets
    cost nothing there, and the gradient of the recurrent weight is one product over all frames, not a sum of T.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        """Zeros."""
        return (torch.zeros(batch_size, self.width, device=device), torch.zeros(batch_size, self.width, device=device))

    def forward(self, x: Tensor, start: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs and the state after the last frame; `start` [B, T] resets the state before a frame."""
        hidden, cell = state
        if x.device.type != "cpu":
            return self._stretches(x, start, hidden, cell)
        with torch.autocast(x.device.type, enabled=False):
            weight = self.lstm.get_parameter("weight_ih_l0")
            bias = self.lstm.get_parameter("bias_ih_l0") + self.lstm.get_parameter("bias_hh_l0")
            inputs = F.linear(x.to(weight.dtype), weight, bias)
            keep = (~start).to(inputs).t()[..., None]
            y, hidden, cell = _Unroll.apply(
                inputs.transpose(0, 1), keep, hidden, cell, self.lstm.get_parameter("weight_hh_l0")
            )
        return y.transpose(0, 1), (hidden, cell)

    def _stretches(self, x: Tensor, start: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        # A single frame has no cut. To read `start` on the host waits for nothing unless it lies on the device.
        cuts = (np.flatnonzero(start[:, 1:].cpu().numpy().any(0)) + 1).tolist() if x.shape[1] > 1 else []
        keep = start.to(x.device, non_blocking=True).logical_not().float().t()[:, None, :, None]
        carried = (hidden[None], cell[None])
        outputs = []
        for begin, end in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
            carried = tuple((keep[begin] * part).contiguous() for part in carried)
            y, carried = self.lstm(x[:, begin:end].contiguous(), carried)
            outputs.append(y)
        hidden, cell = (part[0].float() for part in carried)
        return torch.cat(outputs, dim=1), (hidden, cell)


class _Unroll(torch.autograd.Function):
    """The recurrent part of an LSTM over time, with resets.

    i, f, g, o = σ, σ, tanh, σ of (inputs + W h);  c ← f c + i g;  h ← o tanh c;  h and c are first multiplied by keep.
    inputs [T, B, 4·width], keep [T, B, 1], hidden and cell [B, width], weight [4·width, width].
    """

    @staticmethod
    def forward(ctx, inputs, keep, hidden, cell, weight):
        steps, batch, width = inputs.shape[0], inputs.shape[1], weight.shape[1]
        gates = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        before_h, before_c, after_c, y = (inputs.new_empty(steps, batch, width) for _ in range(4))
        transposed = weight.t()
        for t in range(steps):
            torch.mul(hidden, keep[t], out=before_h[t])
            torch.mul(cell, keep[t], out=before_c[t])
            torch.addmm(inputs[t], before_h[t], transposed, out=gates[t])
            i, f, g, o = gates[t].chunk(4, dim=1)
            gates[t, :, : 2 * width].sigmoid_()
            g.tanh_()
            o.sigmoid_()
            cell = torch.mul(f, before_c[t], out=after_c[t]).addcmul_(i, g)
            hidden = torch.mul(o, cell.tanh(), out=y[t])
        ctx.save_for_backward(gates, keep, before_h, before_c, after_c, weight)
        return y, hidden.clone(), cell.clone()

    @staticmethod
    def backward(ctx, grad_y, grad_h, grad_c):
        gates, keep, before_h, before_c, after_c, weight = ctx.saved_tensors
        grads = torch.empty_like(gates)
        for t in reversed(range(gates.shape[0])):
            i, f, g, o = gates[t].chunk(4, dim=1)
            d_i, d_f, d_g, d_o = grads[t].chunk(4, dim=1)
            tanh = after_c[t].tanh()
            grad_h = grad_h + grad_y[t]
            grad_c = grad_c + grad_h * o * (1 - tanh * tanh)
            torch.mul(grad_c * g, i * (1 - i), out=d_i)
            torch.mul(grad_c * before_c[t], f * (1 - f), out=d_f)
            torch.mul(grad_c * i, 1 - g * g, out=d_g)
            torch.mul(grad_h * tanh, o * (1 - o), out=d_o)
            grad_h = (grads[t] @ weight) * keep[t]
            grad_c = grad_c * f * keep[t]
        return grads, None, grad_h, grad_c, grads.flatten(0, 1).t() @ before_h.flatten(0, 1)


class TransformerCore(nn.Module):
    """A decoder in the manner of Llama (Touvron et al., arXiv 2302.13971), the core of the published NetHack runs.

    Six layers, each with RMS norm, attention with rotary positions and a gated feed-forward layer of four widths.
    A frame attends to itself and to the `context - 1` frames before it in its own game, never across a start. The state
    is a window of that length: keys and values of every layer, each [B, layers, heads, context - 1, head width], and
    which of the frames belong to the running game [B, context - 1]. So logits do not depend on how a game is cut into
    unrolls, and playing one frame at a time computes what training computed. No gradient flows into the window
    (Dai et al., Transformer-XL, arXiv 1901.02860).
    """

    def __init__(self, width: int, context: int):
        super().__init__()
        self.width, self.context = width, context
        self.heads, self.head_width = heads_of(width)
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(LAYERS))
        self.norm = nn.RMSNorm(width, eps=1e-6)

    def initial_state(self, batch_size: int, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        """An empty window."""
        shape = (batch_size, LAYERS, self.heads, self.context - 1, self.head_width)
        keys, values = (torch.zeros(shape, device=device) for _ in range(2))
        return keys, values, torch.zeros(batch_size, self.context - 1, dtype=torch.bool, device=device)

    def forward(self, x: Tensor, start: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs and the window after the last frame; `start` [B, T] begins a new game at a frame."""
        old_keys, old_values, valid = state
        past, steps = self.context - 1, x.shape[1]
        # The number of the game a frame belongs to: 0 is the one that the window holds, -1 what it must not show.
        game = start.to(x.device, non_blocking=True).long().cumsum(1)
        games = torch.cat((valid.long() - 1, game), dim=1)
        age = torch.arange(past, past + steps, device=x.device)[:, None] - torch.arange(past + steps, device=x.device)
        allowed = (game[:, :, None] == games[:, None, :]) & (age >= 0) & (age < self.context)
        turn = rotation(past + steps, self.head_width, x.device)
        kept, x = [], x.float()  # the stream is summed over layers in full precision
        for layer, block in enumerate(self.blocks):
            x, keys, values = block(x, old_keys[:, layer], old_values[:, layer], allowed[:, None], turn)
            kept.append((keys[:, :, steps:], values[:, :, steps:]))
        keys, values = (torch.stack(part, dim=1).detach().to(old_keys.dtype) for part in zip(*kept, strict=True))
        return self.norm(x), (keys, values, games[:, steps:] == game[:, -1:])


class TransformerBlock(nn.Module):
    """Attention and the feed-forward layer, each added to the stream after an RMS norm of its input."""

    def __init__(self, width: int):
        super().__init__()
        self.heads, self.head_width = heads_of(width)
        inner, hidden = self.heads * self.head_width, FEED_FORWARD * width
        self.attention_norm, self.feed_norm = (nn.RMSNorm(width, eps=1e-6) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        with torch.no_grad():  # so that the stream's variance does not grow with depth (Radford et al. 2019, GPT-2)
            for layer in (self.out, self.down):
                layer.weight.mul_((2 * LAYERS) ** -0.5)

    def forward(
        self, x: Tensor, old_keys: Tensor, old_values: Tensor, allowed: Tensor, turn: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The stream [B, T, width], and keys and values of the window and the unroll, keys not yet rotated."""
        shape = (3, self.heads, self.head_width)
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, shape).permute(2, 0, 3, 1, 4)
        keys = torch.cat((old_keys.to(k.dtype), k), dim=2)
        values = torch.cat((old_values.to(v.dtype), v), dim=2)
        past = old_keys.shape[2]
        cos, sin = turn
        y = F.scaled_dot_product_attention(
            rotate(q, cos[past:], sin[past:]), rotate(keys, cos, sin), values, attn_mask=allowed
        )
        x = x + self.out(y.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up), keys, values


def heads_of(width: int) -> tuple[int, int]:
    """Heads of about 64 and their width; what is left of a width that they do not divide, attention does not use."""
    heads = max(1, width // HEAD_WIDTH)
    return heads, width // heads


def rotation(frames: int, head_width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [frames, head width // 2] of rotary positions (Su et al., RoFormer, arXiv 2104.09864)."""
    pairs = head_width // 2
    speed = ROTARY_BASE ** -(torch.arange(pairs, device=device) / max(pairs, 1))
    angle = torch.arange(frames, device=device)[:, None] * speed
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of features of x [..., frames, head width] by their frame's angle; an odd last feature stays."""
    pairs = cos.shape[-1]
    a, b, rest = x.split((pairs, pairs, x.shape[-1] - 2 * pairs), dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos - b * sin, a * sin + b * cos, rest), dim=-1)
