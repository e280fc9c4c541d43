"""The NetHack screen as a vector: map, crop around the cursor, message line and status lines.

The architecture is that of Tuyls et al. (arXiv 2307.09423, appendix), who follow the NetHack Learning Dataset baseline
(Hambro et al., arXiv 2211.00539): characters and colours are embedded, a residual convolution net in the manner of
IMPALA (Espeholt et al., arXiv 1802.01561) reads rows 1..21, a second one 9×9 cells around the cursor, a one-hot layer
row 0 and a one-dimensional convolution the last two rows. `ScreenSizes.paper` is that network; `ScreenSizes.scaled`
shrinks and grows it with the policy.

Layout is what makes it fast: features stay in the memory order that lookups leave them in (channels last), so that no
layer copies its input to rearrange it.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from training.policies.networks.embedding import embedder, lookup

ROWS, COLUMNS = 24, 80
MAP_ROWS = ROWS - 3
CHARACTERS, COLOURS = 256, 128
CROP = 9
CROP_LAYERS = 5
# Height and width of the map after each block's convolution, and after its pooling (3×3, stride 2).
MAP_SIDES = ((21, 80), (10, 39), (4, 19))
POOLED_SIDES = ((10, 39), (4, 19), (1, 9))
RES_CONVS = 4
_FEW_CHANNELS = 8
Seen = dict[str, tuple[Tensor, Tensor]]
"""The cells that the map net and the crop net saw last, and what they made of them."""
"""Convolutions in a block's two residual branches."""
_POWERS_FROM = 12  # from here on 16 is the nearest power of two
STATUS_KERNELS, STATUS_STRIDES, STATUS_LENGTHS = (8, 4), (4, 1), (39, 36)


@dataclass(frozen=True, kw_only=True)
class ScreenSizes:
    """Widths of every part of the encoder."""

    character: int
    """Length of a character's embedding."""
    colour: int
    """Length of a colour's embedding."""
    channels: tuple[int, int, int]
    """Channels of the three blocks of the map net."""
    crop: tuple[int, int]
    """Channels inside the crop net and at its end."""
    message: int
    """Features of the message line."""
    status_channels: tuple[int, int]
    """Channels of the two convolutions over the status lines."""
    status: int
    """Features of the status lines."""
    screen: int
    """Features of the map."""
    paper: bool
    """One-hot message layer, batch normalisation and the published crop, as in the paper."""

    @classmethod
    def of_paper(cls, width: int) -> "ScreenSizes":
        """The paper's encoder beside a core of `width`: only its outputs grow with the core."""
        return cls(
            character=16,
            colour=16,
            channels=(16, 32, 32),
            crop=(16, 8),
            message=64,
            status_channels=(32, 64),
            status=width // 4,
            screen=width,
            paper=True,
        )

    @classmethod
    def scaled(cls, width: int, family: int) -> "ScreenSizes":
        """Channels that grow with the root of the width, and are near the paper's at 512.

        So the encoder's cost grows with the width and the core's with its square: small models are cheap, and large
        ones spend their compute in the core. In family 2 the channels of convolutions and the features of a cell are
        powers of two from 16 on: for counts between, the gradient of a convolution's weights can take many times as
        long on a GPU. In family 1 all sizes from width 512 on are multiples of 8, which tensor cores need.
        """
        paper = 16 * math.sqrt(width / 512)

        def size(times: float, least: int) -> int:
            # Each size is rounded for itself, so that they do not all jump at the same width.
            ideal = times * paper
            return max(least, round(ideal)) if width < 512 else 8 * round(ideal / 8)

        def channels(times: float, least: int) -> int:
            few = size(times, least)
            return few if family == 1 or few < _POWERS_FROM else _power_of_two(times * paper)

        character, colour = min(32, size(1, 4)), min(16, size(0.5, 2))
        if family > 1 and character + colour >= _POWERS_FROM:
            cell = min(64, _power_of_two(1.5 * paper))
            character, colour = 3 * cell // 4, cell // 4
        return cls(
            character=character,
            colour=colour,
            channels=(channels(1, 2), channels(2, 4), channels(2, 4)),
            crop=(channels(1, 2), channels(0.5, 2)),
            message=size(4, 8),
            status_channels=(size(2, 4), size(4, 8)),
            status=max(4, width // 4),
            screen=width,
            paper=False,
        )

    @property
    def out(self) -> int:
        """Features per frame."""
        return self.message + self.status + self.screen + CROP * CROP * self.crop[1]


def _power_of_two(value: float) -> int:
    """The nearest one from 16 on, by ratio."""
    return max(16, 2 ** round(math.log2(value)))


class ScreenEncoder(nn.Module):
    """Frames to features [N, sizes.out]."""

    def __init__(self, sizes: ScreenSizes):
        super().__init__()
        self.sizes = sizes
        self.characters = nn.Parameter(torch.randn(CHARACTERS, sizes.character))
        self.colours = nn.Parameter(torch.randn(COLOURS, sizes.colour))
        self.map = MapNet(sizes)
        self.crop = CropNet(sizes)
        self.message = MessageBag(sizes.message) if sizes.paper else MessageLine(sizes.character, sizes.message)
        self.status = StatusLines(sizes)
        self._before: Seen | None = None  # while it remembers

    @contextlib.contextmanager
    def remembering(self, seen: Seen) -> Iterator[None]:
        """While the weights stay as they are and no gradient is wanted: what a game showed before is not read again."""
        self._before = seen
        try:
            yield
        finally:
            self._before = None

    def forward(self, chars: Tensor, colors: Tensor, cursor: Tensor) -> Tensor:
        """Features of `chars` and `colors` [N, 24, 80] with the `cursor` [N, 2] at (row, column)."""
        chars = chars.long()
        cells = chars[:, 1:-2] * COLOURS + colors[:, 1:-2]
        # The published crop reaches from 5 cells before the cursor to 3 behind it; ours is centred.
        around = cells_around(cells, cursor, -5 if self.sizes.paper else -4)
        embed = embedder(self.characters, self.colours, cells)
        parts = [
            self.message(chars[:, 0], self.characters),
            self.status(chars[:, -2:].flatten(1)),
            self._read("map", cells, embed),
            self._read("crop", around, embed),
        ]
        return torch.cat(parts, dim=1)

    def _read(self, name: str, cells: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
        """What the net of this name makes of cells [N, rows, columns]; of equal ones in a row it is asked once.

        In two of three frames of random play the map is the one before. A GPU would have to wait to hear which, a
        compiled encoder has one shape, and batch normalisation needs every frame.
        """
        net = getattr(self, name)
        if self.sizes.paper or cells.device.type != "cpu" or torch.compiler.is_compiling():
            return net(embed(cells))
        if self._before is not None:
            return self._read_since(self._before, name, cells, embed)
        new = torch.ones(len(cells), dtype=torch.bool)
        torch.any((cells[1:] != cells[:-1]).flatten(1), 1, out=new[1:])
        return net(embed(cells[new])).index_select(0, new.cumsum(0) - 1)

    def _read_since(
        self,
        before: Seen,
        name: str,
        cells: Tensor,
        embed: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The same for one frame of each of N games, where some cells are those of the call before."""
        net, (old, features) = getattr(self, name), before.get(name, (None, cells))
        if old is None or old.shape != cells.shape:
            features = net(embed(cells))
        elif len(new := (cells != old).flatten(1).any(1).nonzero().squeeze(1)):
            features = features.index_copy(0, new, net(embed(cells[new])))
        before[name] = cells, features
        return features


class ResidualPair(nn.Module):
    """x + (convolution, ELU, convolution, ELU)(x), with batch normalisation in the paper's variant alone.

    Batch normalisation makes a frame's logits depend on the other frames of its batch while training but not while
    acting, and on how many processes share a batch. So the scaled family has none; its branches start at zero instead
    (Zhang et al., Fixup, arXiv 1901.09321), which keeps the activations' scale whatever the width.
    """

    def __init__(self, channels: int, norm: bool):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.first_norm, self.second_norm = (nn.BatchNorm2d(channels) if norm else nn.Identity() for _ in range(2))

    def begin_at_zero(self) -> None:
        """Make the branch zero, the pair the identity."""
        for value in self.second.parameters():
            nn.init.zeros_(value)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, rows, columns] to the same."""
        y = F.elu(self.first_norm(self.first(x)), inplace=True)
        return F.elu(self.second_norm(self.second(y)), inplace=True) + x


class MapNet(nn.Module):
    """The residual net over the 21 map rows."""

    def __init__(self, sizes: ScreenSizes):
        super().__init__()
        inputs = (sizes.character + sizes.colour, *sizes.channels[:2])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, sizes.channels, strict=True))
        self.residuals = nn.ModuleList(
            nn.Sequential(*(ResidualPair(c, sizes.paper) for _ in range(RES_CONVS // 2))) for c in sizes.channels
        )
        height, width = POOLED_SIDES[-1]
        self.out = nn.Linear(sizes.channels[-1] * height * width, sizes.screen)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """[N, features, 21, 80] to [N, screen]."""
        for conv, residual in zip(self.convs, self.residuals, strict=True):
            x = residual(pooled(conv(x)))
        return F.elu(self.out(x.flatten(1)), inplace=True)


def pooled(x: Tensor) -> Tensor:
    """`max_pool2d(x, 3, stride=2)` of x [N, channels, rows, columns].

    Torch's own takes as long for three channels as for sixteen on a CPU; comparing whole slices is up to ten times as
    fast for few, where no gradient is wanted and so nobody asks which was the greatest.
    """
    if torch.is_grad_enabled() or x.device.type != "cpu" or x.shape[1] > _FEW_CHANNELS:
        return F.max_pool2d(x, 3, stride=2)
    for axis in (2, 3):
        count = (x.shape[axis] - 3) // 2 + 1
        first, second, third = (x[(slice(None),) * axis + (slice(i, i + 2 * count - 1, 2),)] for i in range(3))
        x = torch.maximum(torch.maximum(first, second), third)
    return x


class CropNet(nn.Module):
    """Five convolutions over the cells around the cursor."""

    def __init__(self, sizes: ScreenSizes):
        super().__init__()
        inner, last = sizes.crop
        inputs = (sizes.character + sizes.colour, *[inner] * (CROP_LAYERS - 1))
        outputs = (*[inner] * (CROP_LAYERS - 1), last)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, outputs, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) if sizes.paper else nn.Identity() for o in outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """[N, features, 9, 9] to [N, channels out · 81]."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.elu(norm(conv(x)), inplace=True)
        return x.flatten(1)


class MessageBag(nn.Module):
    """The paper's layer on the one-hot message.

    A product with 80 one-hot vectors is a sum of 80 rows of the weight, so the rows are summed and the 20,480 inputs
    of each frame never written out.
    """

    def __init__(self, size: int):
        super().__init__()
        bound = 1 / math.sqrt(COLUMNS * CHARACTERS)
        self.rows = nn.Parameter(torch.empty(COLUMNS * CHARACTERS, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(size).uniform_(-bound, bound))
        self.out = nn.Linear(size, size)

    def forward(self, line: Tensor, characters: Tensor) -> Tensor:
        """[N, 80] to [N, message]; `characters` is not used, for this layer has a row for each in every place."""
        place = torch.arange(0, COLUMNS * CHARACTERS, CHARACTERS, device=line.device, dtype=line.dtype)
        x = F.embedding_bag(line + place, self.rows, mode="sum") + self.bias
        return F.elu(self.out(F.elu(x)))


class MessageLine(nn.Module):
    """The same with the weight factorised through the characters' embedding: 80 · embedding weights in place of 20,480.

    The one-hot layer has at least 20,480 parameters, more than the whole of a small policy.
    """

    def __init__(self, embedding: int, size: int):
        super().__init__()
        self.first, self.out = nn.Linear(COLUMNS * embedding, size), nn.Linear(size, size)

    def forward(self, line: Tensor, characters: Tensor) -> Tensor:
        """[N, 80] to [N, message], with the table of the characters' embeddings."""
        x = lookup(characters, line).flatten(1)
        return F.elu(self.out(F.elu(self.first(x))))


class StatusLines(nn.Module):
    """One-dimensional convolutions over the last two lines."""

    def __init__(self, sizes: ScreenSizes):
        super().__init__()
        first, second = sizes.status_channels
        self.convs = nn.ModuleList(
            nn.Conv1d(i, o, k, stride=s)
            for i, o, k, s in zip((2, first), (first, second), STATUS_KERNELS, STATUS_STRIDES, strict=True)
        )
        self.hidden = nn.Linear(second * STATUS_LENGTHS[-1], sizes.status)
        self.out = nn.Linear(sizes.status, sizes.status)

    def forward(self, codes: Tensor) -> Tensor:
        """Character codes [N, 160] to [N, status]."""
        text = codes.float()
        # Codes 45..57 are -./0123456789; the published scale, which leaves 0 at 0.1, is kept.
        digits = ((text - 47) / 10).masked_fill((text <= 44) | (text >= 58), 0.0)
        x = torch.stack(((text - 32) / 96, digits), dim=1)
        for conv in self.convs:
            x = F.elu(conv(x), inplace=True)
        return F.elu(self.out(F.elu(self.hidden(x.flatten(1)))))


def cells_around(cells: Tensor, cursor: Tensor, first: int) -> Tensor:
    """9×9 of the map's cells [N, 21, 80], from `first` cells before the cursor [N, 2] on; 0 outside the map."""
    steps = torch.arange(first, first + CROP, device=cells.device)
    row, column = cursor.long().unbind(-1)
    rows, columns = (row - 1)[:, None] + steps, column[:, None] + steps  # the map begins at row 1 of the screen
    inside = ((rows >= 0) & (rows < MAP_ROWS))[:, :, None] & ((columns >= 0) & (columns < COLUMNS))[:, None, :]
    index = rows.clamp(0, MAP_ROWS - 1)[:, :, None] * COLUMNS + columns.clamp(0, COLUMNS - 1)[:, None, :]
    return cells.flatten(1).gather(1, index.flatten(1)).unflatten(1, (CROP, CROP)) * inside
