"""Ids as people's programs write them: what is an id, what stands for none, and what a float has done to one."""

import re
from pathlib import Path

import polars as pl

from gensr_dist.errors import InputError

MISSING = (  # as texts and categories
    *("nan", "NaN", "NAN", "none", "None", "NONE", "null", "NULL", "Null", "\\N", "\\n"),
    *("<NA>", "NA", "N/A", "n/a", "#N/A", "NaT", "undefined"),
)
_NO_ID = frozenset(word.lower() for word in MISSING) | {  # beside them; in lower case
    *("#na", "#n/a n/a", "-nan", "+nan", "<nan>", "nan(ind)", "-nan(ind)", "inf", "+inf", "-inf"),
    *("1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind", "1.#inf", "-1.#inf"),  # of pandas and of C on Windows
    *("#name?", "#ref!", "#value!", "#div/0!", "#num!", "#null!", "#spill!", "#calc!", "#error!"),  # of spreadsheets
    *("nil", "<nil>", "(nil)", "(null)", "<null>", "[null]", "<none>", "(none)", "<nat>", "\\null"),
    *("<undefined>", "(undefined)", "[object object]", "[object undefined]", "[object null]"),
}
FIXED = "written with .0 read as whole numbers"
EXACT = 1 << 53  # whole numbers up to this one are exact as floats of 64 bits
_NUMERIC = r"^[0-9]{1,18}$"  # fits int64
_NOT_EXACT = r"^[+-]?\d+(?:[.,]\d*)?[eE]\+\d+$|^[+-]?\d+[.,]\d+[eE]-?\d+$"  # scientific notation
_FILLERS = r"\u034f\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0\ufff9-\ufffb"
_SIGNS = r"\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f"
UNSEEN = rf"[\x00-\x1f\x7f-\x9f{_SIGNS}{_FILLERS}]|^[\ufe00-\ufe0f]"  # line breaks, marks; joiners may be needed
DECOMPOSED = r"[\p{M}\u1100-\u11ff]"  # marks, and parts of Korean syllables: without them no text is decomposed
_LOST = "\ufffd"  # what decoders put in place of bytes that were no text
_TOO_NARROW = r"^##+$"  # a spreadsheet's column that has no room for its number


def parse_id(text: pl.Expr, column: str = "") -> pl.Expr:
    """Any text but the empty one, the words for none and the column's name; `12.0` is 12, if that is exact."""
    identifier = text.str.strip_chars()
    whole = identifier.str.strip_suffix(".0")
    wrong = (
        (identifier == "")
        | (identifier == column)
        | identifier.str.to_lowercase().is_in(sorted(_NO_ID))
        | identifier.str.contains(f"{_NOT_EXACT}|{UNSEEN}|{_LOST}|{_TOO_NARROW}")
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
    if column and word == column:
        return " (a header between rows)"
    if re.search(UNSEEN, word):
        return " (with characters that cannot be seen)"
    if _LOST in word:
        return " (U+FFFD stands for letters that were lost)"
    if word.lower() in _NO_ID or re.search(_TOO_NARROW, word):
        return " (a word for no value)"
    return " (a float that has lost digits)" if word.strip("+-.,eE0123456789") == "" and word else ""


def without_unseen(text: str) -> str:
    """A name without characters that cannot be seen and without blanks around it."""
    return re.sub(UNSEEN, "", text).strip()


def revealed(text: str) -> str:
    """A text in quotes, with the codes of characters that cannot be seen."""
    return "'" + re.sub(UNSEEN, lambda found: found[0].encode("unicode_escape").decode(), text) + "'"


def id_order(ids: pl.Series) -> list[pl.Expr]:
    """What to sort a table of distinct ids by: in numeric order where all are whole numbers, else in text order."""
    column = pl.col(ids.name)
    if ids.dtype == pl.String and ids.str.contains(_NUMERIC).all():
        return [column.cast(pl.Int64), column]  # the text orders 7 and 007
    return [column]


def require_one_form(ids: pl.Series, what: str, where: str | Path = "data.raw") -> None:
    """Refuse a log that writes one id in two ways that look alike: it would be two users, or two items.

    Args:
        ids: distinct.
        what: `users`, for the error.
        where: the place that it names.

    Raises:
        InputError: two ids are the same letters, composed in one and apart from their marks in the other.
    """
    if ids.dtype != pl.String:
        return
    other = ids.filter(ids.str.len_bytes() > ids.str.len_chars())  # than ASCII: a tenth of the time for ASCII
    apart = other.filter(other.str.contains(DECOMPOSED))
    composed = apart.str.normalize("NFC")
    twins = apart.filter((composed != apart) & (composed.is_in(other.implode()) | composed.is_duplicated()))
    if len(twins):
        problem = f"{len(twins):,} ids of {what} are there twice, with letters and marks composed and apart"
        raise InputError(where, f"{problem}: {twins.min()!r}", "compose the ids of all tables (Unicode's NFC)")


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
