"""Times of events: which are plausible in any source, and what an implausible number may have been meant to be."""

import math
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import polars as pl

from gensr_dist.errors import InputError

DAY_MS = 86_400_000
EARLIEST_MS = 631_152_000_000  # 1990: earlier times are seconds, dates without signs or counters in the wrong place
EXPECTED = "milliseconds since 1970, from 1990 to tomorrow"
REMEDY = "write the times of all events in milliseconds, with all digits"
_UNITS_MS = {"seconds": 1e3, "milliseconds": 1.0, "microseconds": 1e-3, "nanoseconds": 1e-6}
_WRITTEN_MS = 1_735_689_600_000  # 2025: this was written later, so that no present is before it
_FLOAT32_STEP = 1 << 17  # of times in milliseconds, from 2004 to 2039
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def latest_time() -> int:
    """Milliseconds since 1970 that no event can be later than: one day from now, for clocks and time zones.

    Raises:
        InputError: the clock of this machine is set back, so that it would call good times wrong.
    """
    now = int(time.time() * 1000)
    if now < _WRITTEN_MS:
        problem = f"it says {clock(now)}, which has long passed"
        raise InputError("the clock of this machine", problem, "set it, as by `date -s` or NTP")
    return now + DAY_MS


def plausible(milliseconds: pl.Expr) -> pl.Expr:
    """Times from 1990 to tomorrow; others become null."""
    return pl.when(milliseconds.is_between(EARLIEST_MS, latest_time())).then(milliseconds)


def explain_time(text: str, unit: str = "milliseconds") -> str:
    """What a number that is no plausible time is in its unit and in any other; empty where no other reading is."""
    try:
        number = float(text)
    except ValueError:
        return ""
    others = [
        f"as {name} {clock(number * factor)}"
        for name, factor in _UNITS_MS.items()
        if name != unit and EARLIEST_MS <= number * factor <= latest_time()
    ]
    if not others and (date := _digits_as_date(text)):
        others = [f"as a date {date}"]
    if not others and "e" in text.lower() and EARLIEST_MS <= number * _UNITS_MS[unit] <= latest_time():
        return " (scientific notation has lost digits)"
    return f" (as {unit} {clock(number * _UNITS_MS[unit])}, {', '.join(others)})" if others else ""


def require_span(first: int, last: int, bits: int) -> None:
    """Refuse the times of a whole log that cannot be those of events.

    Args:
        first: earliest time, milliseconds.
        last: latest time.
        bits: all times, joined by `or`.

    Raises:
        InputError: they span under a day, or all are rounded to what a float of 32 bits can hold.
    """
    if last - first < DAY_MS:
        milliseconds, seconds = (f"{clock(first * unit)} to {clock(last * unit)}" for unit in (1, 1000))
        problem = f"all events lie within a day, as milliseconds {milliseconds}, as seconds {seconds}"
        raise InputError("data.raw", problem, "check the unit of the times, or bring a longer log")
    if not bits % _FLOAT32_STEP:
        problem = f"all times of events are multiples of {_FLOAT32_STEP} ms, as floats of 32 bits are"
        raise InputError("data.raw", problem, "write the times as whole numbers of 64 bits")


def require_exact(file: str, times: pl.Series) -> None:
    """Refuse the times of a file, or of a part of it, that floats of 32 bits have rounded.

    Two distinct times that are multiples of what such a float can hold are no accident.

    Raises:
        InputError: all of several times are such multiples.
    """
    if len(times) and not np.bitwise_or.reduce(times.to_numpy()) % _FLOAT32_STEP and times.min() != times.max():
        problem = f"all times are multiples of {_FLOAT32_STEP} ms, as floats of 32 bits are"
        raise InputError(file, problem, "write the times as whole numbers of 64 bits")


def clock(milliseconds: float) -> str:
    """A time as people read it, UTC."""
    if not math.isfinite(milliseconds):
        return "no time"
    try:
        return (_EPOCH + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%d %H:%M:%S")
    except OverflowError:
        return f"the year {round(1970 + milliseconds / (365.2425 * DAY_MS))}"


def _digits_as_date(text: str) -> str:
    for form, length in (("%Y%m%d", 8), ("%Y%m%d%H%M", 12), ("%Y%m%d%H%M%S", 14)):
        digits = text.strip().removesuffix(".0")
        if len(digits) == length and digits.isdigit():
            try:
                return str(datetime.strptime(digits, form).replace(tzinfo=timezone.utc).date())
            except ValueError:
                continue
    return ""
