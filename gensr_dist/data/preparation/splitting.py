"""Which events train, validate and test.

Dimensions: N events.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.sources.times import DAY_MS
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError


@dataclass(frozen=True)
class SplitTimes:
    """Where the log is cut in time: milliseconds of the first validation and the first test event."""

    valid: int
    test: int


def moments_of_days(days: Iterable[int]) -> SplitTimes:
    """The last day (UTC) with events tests, the one before validates.

    Args:
        days: days since 1970 that have events, in any order, repeats allowed.

    Raises:
        InputError: fewer than three days.
    """
    distinct = sorted(set(days))
    if len(distinct) < 3:
        raise InputError(
            "data.split",
            f"split 'days' needs events on at least 3 days (UTC), the log has {len(distinct)}",
            "set data.split to leave_one_out or time",
        )
    return SplitTimes(valid=distinct[-2] * DAY_MS, test=distinct[-1] * DAY_MS)


def ranks_of_shares(positives: int, valid_share: float, test_share: float) -> tuple[int, int]:
    """Places, in the times of all positive events in order, of the first validation and the first test event.

    Raises:
        InputError: there is no positive event.
    """
    if not positives:
        raise InputError("data.split", "split 'time' needs positive events, the log has none", "bring a larger log")
    valid, test = (min(int(positives * (1 - s)), positives - 1) for s in (valid_share + test_share, test_share))
    return valid, test


def find_moments(events: pl.DataFrame, config: DataConfig) -> SplitTimes | None:
    """Where `config.split` cuts a whole log; None where each user is cut apart (`leave_one_out`).

    Raises:
        InputError: the log has fewer than three days (`days`) or no positive event (`time`).
    """
    match config.split:
        case "days":
            return moments_of_days(events["time"].unique().to_numpy() // DAY_MS)
        case "time":
            # Cutting at a time, not at a rank, keeps events of one moment on one side.
            time_N = np.sort(events.filter("positive")["time"].to_numpy())
            valid, test = ranks_of_shares(len(time_N), config.valid_share, config.test_share)
            return SplitTimes(valid=int(time_N[valid]), test=int(time_N[test]))
        case "leave_one_out":
            return None


def assign_splits(events: pl.DataFrame, moments: SplitTimes | None) -> pl.DataFrame:
    """Add the column `split` (UInt8, `Split`) and keep the order of rows.

    Within a user no training event is later than a validation event, and none of those later than a test event; that,
    and histories of strictly earlier events, is what keeps later splits out of earlier rows.

    Args:
        events: EVENT_SCHEMA; without moments it must hold all events of each of its users.
        moments: of the whole log. None: of each user with three or more interactions the last tests and the one before
            validates.
    """
    if moments is None:
        return _leave_one_out(events)
    return events.with_columns(split=_after(pl.lit(moments.valid), pl.lit(moments.test)))


def count_positives(events: pl.DataFrame) -> np.ndarray:
    """Positive events of each behaviour and split, int64 [2, 3]; counts of parts of a log add up.

    Args:
        events: with the columns behaviour, split and positive.
    """
    code_P = events.filter("positive").select(pl.col("behaviour").cast(pl.Int64) * len(Split) + pl.col("split"))
    return np.bincount(code_P.to_series().to_numpy(), minlength=2 * len(Split)).reshape(2, len(Split))


def require_positives(positives_BS: np.ndarray, config: DataConfig) -> None:
    """Refuse a log of which a split has nothing to learn from or to measure.

    Args:
        positives_BS: of `count_positives`, of the whole log.
        config: `split`, for the error.

    Raises:
        InputError: a split has no positive event of either task.
    """
    for split in Split:
        if not positives_BS[:, split].any():
            raise InputError(
                "data.split",
                f"split {config.split!r} leaves no positive event of either task to {split.name.lower()}",
                "choose another data.split, change its shares, or bring a longer log",
            )


def _after(valid_time: pl.Expr, test_time: pl.Expr) -> pl.Expr:
    """Split of an event by its time alone. A null bound is never reached."""
    return (
        pl.when(pl.col("time") >= test_time)
        .then(pl.lit(Split.TEST.value, pl.UInt8))
        .when(pl.col("time") >= valid_time)
        .then(pl.lit(Split.VALID.value, pl.UInt8))
        .otherwise(pl.lit(Split.TRAIN.value, pl.UInt8))
    )


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
