"""GPU programs of the gated gelu: an element of each tensor is read once, and gelu is computed again for the gradient.

Dimensions: R rows, D width; BR, BD tiles. Rows of gate and value may lie apart (halves of one product); all else is
contiguous. Arithmetic is float32.
"""

import triton
import triton.language as tl


@triton.jit
def _sharpness(gate):
    """The z of gelu(a) = a sigmoid(z): (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (a + 0.044715 a^3)."""
    return 1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)


@triton.jit
def activate(gate, value, out, R, gate_stride, value_stride, D: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr):
    """Grid: tiles of rows x tiles of the width."""
    widths = tl.cdiv(D, BD)
    row = (tl.program_id(0) // widths).to(tl.int64) * BR + tl.arange(0, BR)
    column = tl.program_id(0) % widths * BD + tl.arange(0, BD)
    inside = (row < R)[:, None] & (column < D)[None, :]
    a = tl.load(gate + row[:, None] * gate_stride + column[None, :], mask=inside, other=0.0).to(tl.float32)
    b = tl.load(value + row[:, None] * value_stride + column[None, :], mask=inside, other=0.0).to(tl.float32)
    out_tile = a * tl.sigmoid(_sharpness(a)) * b
    tl.store(out + row[:, None] * D + column[None, :], out_tile.to(out.dtype.element_ty), mask=inside)


@triton.jit
def gradients(
    gate, value, d_out, d_gate, d_value,
    R, gate_stride, value_stride,
    D: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Grid: tiles of rows x tiles of the width."""
    widths = tl.cdiv(D, BD)
    row = (tl.program_id(0) // widths).to(tl.int64) * BR + tl.arange(0, BR)
    column = tl.program_id(0) % widths * BD + tl.arange(0, BD)
    inside = (row < R)[:, None] & (column < D)[None, :]
    at = row[:, None] * D + column[None, :]
    a = tl.load(gate + row[:, None] * gate_stride + column[None, :], mask=inside, other=0.0).to(tl.float32)
    b = tl.load(value + row[:, None] * value_stride + column[None, :], mask=inside, other=0.0).to(tl.float32)
    d = tl.load(d_out + at, mask=inside, other=0.0).to(tl.float32)
    z = _sharpness(a)
    s = tl.sigmoid(z)
    # sigmoid(-z), for 1 - s would have no digits left where s is close to one.
    d_gelu = s + a * s * tl.sigmoid(-z) * 1.5957691216057308 * (1.0 + 0.134145 * a * a)
    tl.store(d_gate + at, (d * b * d_gelu).to(d_gate.dtype.element_ty), mask=inside)
    tl.store(d_value + at, (d * a * s).to(d_value.dtype.element_ty), mask=inside)
