"""GPU programs of T5's layer norm: a tile of whole rows at a time, each read once.

Dimensions: R rows, D width; BR, BD tiles, BD >= D. All tensors are contiguous. Arithmetic is float32.
"""

import triton
import triton.language as tl


@triton.jit
def _normalised(x, row, column, inside, eps, D: tl.constexpr):
    """Rows divided by the roots of their mean squares, and one over those."""
    tile = tl.load(x + row[:, None] * D + column[None, :], mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(tile * tile, 1) / D + eps)
    return tile * scale[:, None], scale


@triton.jit
def normalise(x, weight, out, R, eps, D: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr):
    """Grid: tiles of rows."""
    row = tl.program_id(0).to(tl.int64) * BR + tl.arange(0, BR)
    column = tl.arange(0, BD)
    inside = (row < R)[:, None] & (column < D)[None, :]
    normalised, _ = _normalised(x, row, column, inside, eps, D)
    weights = tl.load(weight + column, mask=column < D, other=0.0).to(tl.float32)
    out_tile = normalised * weights[None, :]
    tl.store(out + row[:, None] * D + column[None, :], out_tile.to(out.dtype.element_ty), mask=inside)


@triton.jit
def gradients(
    x, weight, d_out, d_x, d_weight_parts, R, eps, D: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr
):  # fmt: skip
    """Gradient of the rows, and of the weight from this program's rows. Grid: any number of parts."""
    column = tl.arange(0, BD)
    weights = tl.load(weight + column, mask=column < D, other=0.0).to(tl.float32)
    d_weight = tl.zeros([BD], dtype=tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(R, BR), tl.num_programs(0)):
        row = tl.cast(tile, tl.int64) * BR + tl.arange(0, BR)
        inside = (row < R)[:, None] & (column < D)[None, :]
        at = row[:, None] * D + column[None, :]
        normalised, scale = _normalised(x, row, column, inside, eps, D)
        d_out_tile = tl.load(d_out + at, mask=inside, other=0.0).to(tl.float32)
        d_weight += tl.sum(d_out_tile * normalised, 0)
        d_normalised = d_out_tile * weights[None, :]
        along = tl.sum(d_normalised * normalised, 1) / D
        d_x_tile = scale[:, None] * (d_normalised - normalised * along[:, None])
        tl.store(d_x + at, d_x_tile.to(d_x.dtype.element_ty), mask=inside)
    tl.store(d_weight_parts + tl.program_id(0) * D + column, d_weight, mask=column < D)
