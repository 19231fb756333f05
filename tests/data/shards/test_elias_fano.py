import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.shards.elias_fano import decode_rows, encode_rows


def plain_code(row: list[int], low_bytes: int, width: int) -> bytes:
    """A row by the definition in shards/README.md, bit by bit."""
    low = b"".join((value % 256**low_bytes).to_bytes(low_bytes, "little") for value in row)
    high = sum(1 << (place + value // 256**low_bytes) for place, value in enumerate(row))
    return low + high.to_bytes(width - len(low), "little")


@settings(max_examples=200)
@given(rows=st.integers(0, 5), count=st.integers(0, 40), bits=st.integers(6, 32), seed=st.integers(0, 1 << 30))
def test_rows_are_coded_by_the_definition(rows: int, count: int, bits: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = [sorted(int(v) for v in draw.choice(min(1 << bits, 1 << 32), count, replace=False)) for _ in range(rows)]
    if rows and count:
        table[0][-1] = max(table[0][-1], (1 << bits) - 1)
    value_RC = np.array(table, dtype=np.uint32).reshape(rows, count)
    coded_RW, low_bytes = encode_rows(value_RC)
    width = coded_RW.shape[1]
    assert [bytes(row) for row in coded_RW] == [plain_code(row, low_bytes, width) for row in table]
    largest = int(value_RC.max(initial=0))
    widths = [low * count + -(-(count + largest // 256**low) // 8) for low in range(4)]
    assert (width, low_bytes) == (min(widths), widths.index(min(widths)))
    decoded_RC = decode_rows(coded_RW, count, low_bytes)
    assert decoded_RC.dtype == np.uint32
    assert np.array_equal(decoded_RC, value_RC)


@pytest.mark.parametrize("row", [[3, 3], [4, 2]])
def test_rows_that_do_not_ascend_are_refused(row: list[int]) -> None:
    with pytest.raises(ValueError, match="does not ascend"):
        encode_rows(np.array([row], dtype=np.uint32))


@settings(max_examples=300)
@given(
    coded=st.lists(st.binary(min_size=6, max_size=6), max_size=3),
    count=st.integers(-2, 20) | st.integers(0, 1 << 62),
    low_bytes=st.integers(-2, 5),
)
def test_any_bytes_decode_to_ascending_rows_or_are_refused(coded: list[bytes], count: int, low_bytes: int) -> None:
    coded_RW = np.frombuffer(b"".join(coded), dtype=np.uint8).reshape(len(coded), 6)
    try:
        value_RC = decode_rows(coded_RW, count, low_bytes)
    except ValueError:
        return
    assert value_RC.shape == (len(coded), count)
    for code, row in zip(coded, value_RC.tolist(), strict=True):
        assert row == sorted(set(row))
        assert plain_code(row, low_bytes, 6) == code


def test_a_flipped_bit_of_the_high_part_is_noticed() -> None:
    value_RC = np.array([[5, 300, 70_000], [1, 2, 3]], dtype=np.uint32)
    coded_RW, low_bytes = encode_rows(value_RC)
    for bit in range(8 * 3 * low_bytes, 8 * coded_RW.shape[1]):
        damaged_RW = coded_RW.copy()
        damaged_RW[1, bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="lost or gained a bit"):
            decode_rows(damaged_RW, 3, low_bytes)
