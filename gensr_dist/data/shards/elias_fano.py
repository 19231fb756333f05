"""Rows of ascending integers in few bytes, all rows of a table in the same number of bytes.

Elias and Fano split a number into low bits, stored as they are, and high bits, stored as the gaps between rows of ones.
Here the low part is whole bytes, so that a table is coded and decoded by a few array operations.

A coded row holds C integers: first C low parts of `low_bytes` bytes, little endian; then a bit string, lowest bit of a
byte first, in which the c-th one (from 0) stands at position c + (value >> 8 * low_bytes). Zeros fill it up.

Dimensions: R rows, C integers a row, W bytes of a coded row, H its bits after the low parts, B low bytes.
"""

import numpy as np

_LARGEST = (1 << 32) - 1


def encode_rows(value_RC: np.ndarray) -> tuple[np.ndarray, int]:
    """Code rows of strictly ascending uint32.

    Returns:
        coded_RW: uint8; the table's largest value decides the width.
        low_bytes: 0 to 3, whichever gives the narrowest rows.

    Raises:
        ValueError: a row does not ascend.
    """
    rows, count = value_RC.shape
    _require_ascending(value_RC)
    largest = int(value_RC.max(initial=0))
    low_bytes = min(range(4), key=lambda low: count * low + _high_bytes(count, largest, low))
    high_RC = (value_RC >> np.uint32(8 * low_bytes)).astype(np.int64) + np.arange(count)
    bit_RH = np.zeros((rows, 8 * _high_bytes(count, largest, low_bytes)), dtype=np.uint8)
    np.put_along_axis(bit_RH, high_RC, 1, axis=1)
    byte_RC4 = np.ascontiguousarray(value_RC, dtype="<u4").view(np.uint8).reshape(rows, count, 4)
    low_RW = byte_RC4[:, :, :low_bytes].reshape(rows, count * low_bytes)
    return np.concatenate([low_RW, np.packbits(bit_RH, axis=1, bitorder="little")], axis=1), low_bytes


def decode_rows(coded_RW: np.ndarray, count: int, low_bytes: int) -> np.ndarray:
    """Invert `encode_rows`.

    Returns:
        value_RC: uint32, strictly ascending in each row.

    Raises:
        ValueError: no table codes to these bytes.
    """
    rows, width = coded_RW.shape
    split = count * low_bytes
    if count < 0 or not 0 <= low_bytes <= 3 or split > width:
        raise ValueError(f"rows of {width} bytes hold no {count} integers with {low_bytes} low bytes")
    if not rows:
        return np.zeros((0, count), dtype=np.uint32)
    bits = 8 * (width - split)
    one = np.flatnonzero(np.unpackbits(coded_RW[:, split:], axis=1, bitorder="little"))
    if len(one) != rows * count:
        raise ValueError("a row of coded integers has lost or gained a bit")
    high_RC = one.reshape(rows, count) - np.arange(rows)[:, None] * bits
    if count and (high_RC[:, 0].min() < 0 or high_RC[:, -1].max() >= bits):
        raise ValueError("a row of coded integers has lost or gained a bit")
    high_RC -= np.arange(count)
    if high_RC.max(initial=0) > _LARGEST >> 8 * low_bytes:
        raise ValueError("a coded integer is too large")
    byte_RC4 = np.zeros((rows, count, 4), dtype=np.uint8)
    byte_RC4[:, :, :low_bytes] = coded_RW[:, :split].reshape(rows, count, low_bytes)
    value_RC = byte_RC4.view("<u4")[:, :, 0].astype(np.uint32) | (high_RC.astype(np.uint32) << np.uint32(8 * low_bytes))
    _require_ascending(value_RC)
    return value_RC


def _high_bytes(count: int, largest: int, low_bytes: int) -> int:
    return -(-(count + (largest >> 8 * low_bytes)) // 8)


def _require_ascending(value_RC: np.ndarray) -> None:
    if (value_RC[:, 1:] <= value_RC[:, :-1]).any():
        raise ValueError("a row of integers does not ascend")
