"""Lookups in small tables, and their gradients: a screen asks for the same few rows millions of times.

On a CPU a lookup and its gradient are torch's. Elsewhere torch sorts the codes to add up the gradient, which takes more
than half of a training step (most cells are the same blank). There the gradient is a product: with one-hot rows O
[cells, rows] of the codes, that of the table is Oᵀ times that of the lookups, one pass over the cells.
"""

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_CHUNK = 2**16
"""Cells whose one-hot rows are written to memory at a time, where there is no Triton."""
_ROWS = 256
"""Rows that a product is for: its cost grows with them."""


def embedder(characters: Tensor, colours: Tensor, cells: Tensor) -> Callable[[Tensor], Tensor]:
    """What turns cells [N, rows, columns] into features [N, features, rows, columns], channels last in memory.

    A cell's code is its character times the number of `colours`, plus its colour. `cells` are all that will be asked
    for: on a CPU, of many, the embeddings of every pair are made first. Then a cell is one lookup and nothing is
    concatenated.
    """
    count = len(colours)
    if not by_product(cells.device) and cells.numel() > 4 * len(characters) * count:
        shape = (len(characters), count, -1)
        pairs = (characters[:, None].expand(shape), colours[None].expand(shape))
        looks = torch.cat(pairs, dim=-1).flatten(0, 1)
        return lambda cells: lookup(looks, cells).permute(0, 3, 1, 2)

    def embed(cells: Tensor) -> Tensor:
        pair = lookup(characters, cells // count), lookup(colours, cells % count)
        return torch.cat(pair, dim=-1).permute(0, 3, 1, 2)

    return embed


def lookup(table: Tensor, codes: Tensor) -> Tensor:
    """Rows of a table [rows, features] as [*codes, features].

    On a CPU in the table's type, elsewhere in that of the run's products (autocast), and for at most 256 rows.
    """
    if not by_product(codes.device):
        return table.index_select(0, codes.flatten()).unflatten(0, codes.shape)
    if len(table) > _ROWS:
        raise ValueError(f"a table has at most {_ROWS} rows, got {len(table)}.")
    kind = codes.device.type
    mixed = torch.is_autocast_enabled(kind) if torch.amp.is_autocast_available(kind) else False
    return _Rows.apply(table, codes, torch.get_autocast_dtype(kind) if mixed else table.dtype)


def by_product(device: torch.device) -> bool:
    """Whether gradients of tables are products there."""
    return device.type != "cpu"


class _Rows(torch.autograd.Function):
    """Rows of a table in another type; the gradient of the table is summed in float32 and has the table's type."""

    @staticmethod
    def forward(ctx, table, codes, dtype):
        ctx.save_for_backward(codes.to(torch.uint8))  # an eighth of the memory until the gradient is wanted
        ctx.rows, ctx.dtype = len(table), table.dtype
        return F.embedding(codes, table.to(dtype))

    @staticmethod
    def backward(ctx, grad):
        (codes,) = ctx.saved_tensors
        return one_hot_product(codes.flatten(), grad.flatten(0, -2), ctx.rows).to(ctx.dtype), None, None


@torch.library.custom_op("training::one_hot_product", mutates_args=())
def one_hot_product(codes: Tensor, values: Tensor, rows: int) -> Tensor:
    """Sums float32 [rows, features] of the values [cells, features] of each code uint8 [cells].

    The same input gives the same sums to the bit. By a Triton kernel on a GPU where Triton is installed.
    """
    if values.stride(1) != 1:
        values = values.contiguous()
    way = _fastest(values.device, values.dtype) if values.is_cuda else product_in_chunks
    return way(codes, values, rows)


@one_hot_product.register_fake
def _(codes: Tensor, values: Tensor, rows: int) -> Tensor:
    return values.new_empty((rows, values.shape[1]), dtype=torch.float32)


@functools.cache
def _fastest(device: torch.device, dtype: torch.dtype) -> Callable[[Tensor, Tensor, int], Tensor]:
    """The kernel on a GPU, where Triton is installed and finds the compiler that it needs."""
    try:
        from training.policies.networks.one_hot import product

        product(torch.zeros(1, dtype=torch.uint8, device=device), torch.zeros(1, 1, dtype=dtype, device=device), 1)
    except ImportError:
        return product_in_chunks
    except Exception as error:  # Triton raises whatever its compilers do
        reason = str(error).partition("\n")[0]
        warnings.warn(f"Triton does not work here ({reason}): gradients of embeddings take longer.", stacklevel=2)
        return product_in_chunks
    return product


def product_in_chunks(codes: Tensor, values: Tensor, rows: int) -> Tensor:
    """The same in torch's own operations, with the one-hot rows of some cells in memory at a time."""
    total = values.new_zeros((rows, values.shape[1]), dtype=torch.float32)
    row = torch.arange(rows, device=codes.device, dtype=codes.dtype)
    with torch.autocast(values.device.type, enabled=False):
        for some, of_them in zip(codes.split(_CHUNK), values.split(_CHUNK), strict=True):
            total.addmm_((some == row[:, None]).to(total.dtype), of_them.to(total.dtype))
    return total
