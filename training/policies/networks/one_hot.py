"""The product with one-hot rows as a Triton kernel; imported only where Triton is.

The one-hot rows never leave the chip: written to memory they would be ten times what is read. Each program adds up its
share of the cells, and the shares are added afterwards, so that the same input gives the same sum to the bit.
"""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

CELLS = 32
"""Cells whose one-hot rows are in registers at a time: of 256 rows in two programs on each processor, none spilled."""
PROGRAMS = 512
"""Shares that the cells are cut into at most: enough for every card, and the same on each."""


def product(codes: Tensor, values: Tensor, rows: int) -> Tensor:
    """Sums float32 [rows, features] of the values [cells, features] of each code [cells], in the order of cells.

    Codes are integers from 0 to `rows`, contiguous in memory; the features of a value lie side by side.
    """
    cells, features = values.shape
    blocks = triton.cdiv(cells, CELLS)
    programs = max(min(PROGRAMS, blocks), 1)
    partial = torch.empty(programs, rows, features, dtype=torch.float32, device=values.device)
    _sums[(programs,)](  # pyright: ignore[reportIndexIssue]
        codes,
        values,
        partial,
        cells,
        values.stride(0),
        triton.cdiv(blocks, programs) * CELLS,
        rows,
        features,
        ROWS=max(triton.next_power_of_2(rows), 16),
        FEATURES=max(triton.next_power_of_2(features), 16),
        CELLS=CELLS,
        # Without a GPU this is Triton's interpreter, which multiplies no bfloat16.
        WIDEN=not values.is_cuda,
        num_warps=8,
    )
    return partial.sum(0)


@triton.jit
def _sums(
    codes, values, partial, cells, stride, share, rows, features,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, CELLS: tl.constexpr, WIDEN: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, ROWS), tl.arange(0, FEATURES)
    total = tl.full((ROWS, FEATURES), 0.0, tl.float32)
    for offset in range(0, share, CELLS):
        cell = program * share + offset + tl.arange(0, CELLS)
        inside = cell < cells
        code = tl.load(codes + cell, mask=inside, other=0).to(tl.int32)
        wanted = inside[:, None] & (column < features)[None, :]
        value = tl.load(values + cell[:, None] * stride + column[None, :], mask=wanted, other=0.0)
        if WIDEN:
            value = value.to(tl.float32)
        hot = (row[:, None] == code[None, :]).to(value.dtype)
        total = tl.dot(hot, value, total, input_precision="ieee")
    place = (program * rows + row[:, None]) * features + column[None, :]
    tl.store(partial + place, total, mask=(row < rows)[:, None] & (column < features)[None, :])
