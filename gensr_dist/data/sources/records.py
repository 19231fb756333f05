"""How many records some CSV text holds, and which of them is not written as a record should be.

A quote opens a field only at its beginning, closes it only at its end and is written twice within it; a record has as
many fields as the header. Other ways to write quotes would let a field run on and swallow the rows after it.

Dimensions: N bytes, Q quotes, C commas, L line breaks, S commas, line breaks and quotes, R records, F fields of quotes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_QUOTE, _COMMA, _LF, _CR = b'",\n\r'
_PIECE = 1 << 19  # bytes whose masks stay in a processor's cache: half the time


@dataclass(frozen=True)
class Layout:
    """Where the records of a text begin, and the first that is wrong."""

    begin_R: np.ndarray  # [R + 1] first byte of each record, and the end
    first_wrong: int  # R if none is


class RecordCounts(NamedTuple):
    """Of some text: records, blank ones included; line breaks within quotes; whether the last line has no end."""

    records: int
    breaks: int
    unended: int


def count_records(data: memoryview, width: int) -> RecordCounts | None:
    """Count records; None if one is wrong.

    Args:
        data: whole records.
        width: fields of a record.
    """
    byte_N = np.frombuffer(data, dtype=np.uint8)
    if not len(byte_N):
        return RecordCounts(0, 0, 0)
    sign_S, quote_Q = _signs(byte_N)
    if len(quote_Q) % 2 or len(_misplaced(byte_N, quote_Q)):
        return None
    is_break_S = sign_S == _LF
    breaks = 0
    if len(quote_Q):
        is_quote_S = sign_S == _QUOTE
        is_within_S = np.cumsum(is_quote_S, dtype=np.uint8) & 1 == 1  # the sum may run over: its parity stays
        breaks = int(np.count_nonzero(is_break_S & is_within_S))
        is_break_S = is_break_S[~(is_within_S | is_quote_S)]
    unended = int(byte_N[-1] != _LF)
    counts = RecordCounts(int(np.count_nonzero(is_break_S)) + unended, breaks, unended)
    # Sums alone would let a long record and a short or blank one make up for each other.
    if len(is_break_S) + unended == counts.records * width and is_break_S[width - 1 :: width].all():
        return counts
    layout = find_records(data, width)  # blank records, or a wrong one
    return None if layout.first_wrong < len(layout.begin_R) - 1 else counts


def find_records(data: memoryview, width: int) -> Layout:
    """Find every record; as `count_records`, but says which one is wrong."""
    byte_N = np.frombuffer(data, dtype=np.uint8)
    quote_Q = np.flatnonzero(byte_N == _QUOTE)
    newline_L, comma_C = (_outside(np.flatnonzero(byte_N == sign), quote_Q) for sign in (_LF, _COMMA))
    begin_R = np.concatenate([[0], newline_L + 1])
    if begin_R[-1] != len(byte_N):
        begin_R = np.append(begin_R, len(byte_N))
    fields_R = np.diff(np.searchsorted(comma_C, begin_R)) + 1
    wrong_R = (fields_R != width) & ~_blank(byte_N, begin_R)
    misplaced_M = _misplaced(byte_N, quote_Q)
    wrong_R[np.searchsorted(begin_R, misplaced_M, side="right") - 1] = True
    if len(quote_Q) % 2:
        wrong_R[-1] = True
    return Layout(begin_R, int(wrong_R.argmax()) if wrong_R.any() else len(wrong_R))


def find_swallowing(data: memoryview, width: int) -> list[tuple[int, int]]:
    """Both quotes of each field that has as many commas and line breaks as whole records have.

    Args:
        data: records without a fault.
        width: fields of a record.
    """
    byte_N = np.frombuffer(data, dtype=np.uint8)
    quote_Q = np.flatnonzero(byte_N == _QUOTE)
    breaks_F, commas_F = (
        np.diff(np.searchsorted(np.flatnonzero(byte_N == sign), quote_Q).reshape(-1, 2), axis=1)[:, 0]
        for sign in (_LF, _COMMA)
    )
    suspect_F = (breaks_F > 0) & (commas_F == breaks_F * (width - 1))
    return [(int(first), int(last)) for first, last in quote_Q.reshape(-1, 2)[suspect_F]]


def has_misplaced_quotes(record: bytes) -> bool:
    """Whether a quote of a record stands within a field and is not written twice."""
    byte_N = np.frombuffer(record, dtype=np.uint8)
    return bool(len(_misplaced(byte_N, np.flatnonzero(byte_N == _QUOTE))))


def _signs(byte_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The commas, line breaks and quotes in turn, and where the quotes are."""
    signs: list[np.ndarray] = []
    quotes: list[np.ndarray] = []
    for start in range(0, len(byte_N), _PIECE):
        piece = byte_N[start : start + _PIECE]
        is_quote = piece == _QUOTE
        signs.append(piece[is_quote | (piece == _LF) | (piece == _COMMA)])
        quotes.append(np.flatnonzero(is_quote) + start)
    return np.concatenate(signs), np.concatenate(quotes)


def _misplaced(byte_N: np.ndarray, quote_Q: np.ndarray) -> np.ndarray:
    """Quotes that open a field after its beginning, or close it before its end. Twice a quote closes and opens."""
    if not len(quote_Q):
        return quote_Q
    opening, closing = quote_Q[0::2], quote_Q[1::2]
    before = np.where(opening > 0, byte_N[opening - 1], _LF)
    last = len(byte_N) - 1
    after = np.where(closing < last, byte_N[np.minimum(closing + 1, last)], _LF)
    fine_before = (before == _COMMA) | (before == _LF) | (before == _QUOTE)
    fine_after = (after == _COMMA) | (after == _LF) | (after == _CR) | (after == _QUOTE)
    return np.concatenate([opening[~fine_before], closing[~fine_after]])


def _outside(place_S: np.ndarray, quote_Q: np.ndarray) -> np.ndarray:
    """The positions that lie outside quotes."""
    return place_S[np.searchsorted(quote_Q, place_S) % 2 == 0] if len(quote_Q) else place_S


def _blank(byte_N: np.ndarray, begin_R: np.ndarray) -> np.ndarray:
    """Which records hold nothing but their line break: bool [R]."""
    length_R = np.diff(begin_R)
    first_R = byte_N[begin_R[:-1]] if len(byte_N) else np.zeros(0, dtype=np.uint8)
    return ((length_R == 1) & ((first_R == _LF) | (first_R == _CR))) | ((length_R == 2) & (first_R == _CR))
