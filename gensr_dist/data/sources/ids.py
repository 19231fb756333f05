"""Ids as people's programs write them: what is an id, what stands for none, and what a float has done to one."""

import re

import polars as pl

from gensr_dist.errors import InputError

MISSING = (
    *("nan", "NaN", "NAN", "none", "None", "NONE", "null", "NULL", "Null", "\\N", "\\n"),
    *("<NA>", "NA", "N/A", "n/a", "#N/A", "NaT", "undefined"),
)
FIXED = "written with .0 read as whole numbers"
EXACT = 1 << 53  # whole numbers up to this one are exact as floats of 64 bits
_NUMERIC = r"^[0-9]{1,18}$"  # fits int64
_NOT_EXACT = r"^\d(?:\.\d+)?[eE]\+\d+$|^\d\.\d+[eE]-?\d+$"  # scientific notation
_UNSEEN = r"[\x00-\x1f\x7f-\x9f\u00ad\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"  # line breaks, marks


def parse_id(text: pl.Expr, column: str = "") -> pl.Expr:
    """Any text but the empty one, the words for none and the column's name; `12.0` is 12, if that is exact."""
    identifier = text.str.strip_chars()
    whole = identifier.str.strip_suffix(".0")
    wrong = (
        (identifier == "")
        | identifier.is_in((*MISSING, column))
        | identifier.str.contains(f"{_NOT_EXACT}|{_UNSEEN}")
        | (is_decimal(text) & (whole.cast(pl.Int64, strict=False).abs() > EXACT).fill_null(True))
    )
    return pl.when(~wrong).then(pl.when(is_decimal(text)).then(whole).otherwise(identifier))


def is_decimal(text: pl.Expr) -> pl.Expr:
    """Whether a text is a whole number written as a float, `12.0`."""
    identifier = text.str.strip_chars()
    number = identifier.str.strip_suffix(".0").cast(pl.Float64, strict=False)
    return identifier.str.ends_with(".0") & (number.round() == number).fill_null(False)


def explain_id(text: str, column: str = "") -> str:
    """Why a text is no id."""
    word = text.strip()
    if word == column:
        return " (a header between rows)"
    if re.search(_UNSEEN, word):
        return " (with characters that cannot be seen)"
    if word in MISSING:
        return " (a word for no value)"
    return " (a float that has lost digits)" if word.strip("+-.eE0123456789") == "" and word else ""


def id_order(ids: pl.Series) -> list[pl.Expr]:
    """What to sort a table of distinct ids by: in numeric order where all are whole numbers, else in text order."""
    column = pl.col(ids.name)
    if ids.dtype == pl.String and ids.str.contains(_NUMERIC).all():
        return [column.cast(pl.Int64), column]  # the text orders 7 and 007
    return [column]


def require_known(used: pl.Series, listed: pl.Series, unknown: pl.Series, what: str) -> None:
    """Refuse two tables whose ids are not written the same way.

    Args:
        used: distinct ids of the events.
        listed: distinct ids of the other table, at least one.
        unknown: those of `used` that `listed` lacks.
        what: `items`, for the error.

    Raises:
        InputError: under half of `used` are listed.
    """
    if 2 * len(unknown) <= len(used):
        return
    problem = (
        f"{len(unknown):,} of the {len(used):,} {what} of events are not among the {len(listed):,} {what} listed: "
        f"events have {str(unknown.min())[:60]!r}, the {what} {str(listed.min())[:60]!r}"
    )
    if used.dtype == listed.dtype == pl.String:
        apart = unknown.str.normalize("NFC").is_in(listed.str.normalize("NFC").implode()).sum()
        problem += f"; {apart:,} differ in their Unicode normalisation alone" if apart else ""
    raise InputError("data.raw", problem, "write the same ids in the same way in both tables, and list those of events")
