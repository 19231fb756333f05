"""Which events train, validate and test."""

from enum import IntEnum

import polars as pl

from gensr_dist.data.config import SplitMethod
from gensr_dist.errors import InputError

DAY = 86_400_000  # milliseconds


class Split(IntEnum):
    """What an event may be used for."""

    TRAIN = 0
    VALID = 1
    TEST = 2


def assign_splits(events: pl.DataFrame, method: SplitMethod, valid_share: float, test_share: float) -> pl.DataFrame:
    """Add the column `split` (UInt8, `Split`) and keep the order of rows.

    Within a user no training event is later than a validation event, and none of those later than a test event; that,
    and histories of strictly earlier events, is what keeps later splits out of earlier rows.

    Args:
        events: EVENT_SCHEMA.
        method: `days`: the last day (UTC) with events tests, the one before validates. `leave_one_out`: of each user
            with three or more interactions the last tests and the one before validates. `time`: the log is cut at two
            moments.
        valid_share: share of the positive events that validate; `time` only.
        test_share: share of the positive events that test; `time` only.

    Raises:
        InputError: the log has fewer than three days (`days`) or no positive event (`time`).
    """
    match method:
        case "days":
            return _by_day(events)
        case "leave_one_out":
            return _leave_one_out(events)
        case "time":
            return _by_time(events, valid_share, test_share)


def _after(valid_time: pl.Expr, test_time: pl.Expr) -> pl.Expr:
    """Split of an event by its time alone. A null bound is never reached."""
    return (
        pl.when(pl.col("time") >= test_time)
        .then(pl.lit(Split.TEST.value, pl.UInt8))
        .when(pl.col("time") >= valid_time)
        .then(pl.lit(Split.VALID.value, pl.UInt8))
        .otherwise(pl.lit(Split.TRAIN.value, pl.UInt8))
    )


def _by_day(events: pl.DataFrame) -> pl.DataFrame:
    days = events.select((pl.col("time") // DAY).unique().sort())["time"]
    if days.len() < 3:
        raise InputError(
            "data.split",
            f"split 'days' needs events on at least 3 days (UTC), the log has {days.len()}",
            "set data.split to leave_one_out or time",
        )
    return events.with_columns(split=_after(pl.lit(days[-2] * DAY), pl.lit(days[-1] * DAY)))


def _by_time(events: pl.DataFrame, valid_share: float, test_share: float) -> pl.DataFrame:
    times = events.filter("positive")["time"].sort()
    if not times.len():
        raise InputError("data.split", "split 'time' needs positive events, the log has none", "bring a larger log")
    # Cutting at a time, not at a rank, keeps events of one moment on one side.
    valid_time, test_time = (
        times[min(int(times.len() * (1 - s)), times.len() - 1)] for s in (valid_share + test_share, test_share)
    )
    return events.with_columns(split=_after(pl.lit(valid_time), pl.lit(test_time)))


def _leave_one_out(events: pl.DataFrame) -> pl.DataFrame:
    """Positives by rank from the user's end; exposures by time, against the user's held-out interactions."""
    twin = ["user", "time", "item"]  # twin events are one interaction
    numbered = events.with_row_index("row")
    last = pl.int_range(pl.len()).reverse().over("user")
    held_out = (
        numbered.filter("positive")
        .group_by(twin)
        .agg(pl.col("row").min())
        .sort("user", "time", "row")
        .with_columns(from_end=last, interactions=pl.len().over("user"))
        .filter((pl.col("interactions") >= 3) & (pl.col("from_end") < 2))
        .with_columns(held=(Split.TEST.value - pl.col("from_end")).cast(pl.UInt8))
    )
    bounds = held_out.group_by("user").agg(
        valid_time=pl.col("time").filter(pl.col("held") == Split.VALID.value).first(),
        test_time=pl.col("time").filter(pl.col("held") == Split.TEST.value).first(),
    )
    by_time = _after(pl.col("valid_time"), pl.col("test_time"))
    return (
        numbered.join(held_out.select(*twin, "held"), on=twin, how="left")
        .join(bounds, on="user", how="left")
        .with_columns(
            split=pl.coalesce("held", pl.when("positive").then(pl.lit(Split.TRAIN.value, pl.UInt8)).otherwise(by_time))
        )
        .sort("row")
        .select(*events.columns, "split")
    )
