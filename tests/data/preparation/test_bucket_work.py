from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.data.events import EVENT_SCHEMA, EventLog
from gensr_dist.data.preparation.bucket_work import days_of, gather_bucket, positives_before, time_of_rank
from gensr_dist.data.sources.assembling import drop_repeats


@given(times=st.lists(st.integers(0, 2**41) | st.integers(1000, 1003), min_size=1, max_size=50), data=st.data())
def test_time_of_a_rank(times: list[int], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(times) - 1))
    ordered = np.sort(times)
    found = time_of_rank(rank, 2**41, lambda edge_E: np.searchsorted(ordered, edge_E, side="left"))
    assert found == ordered[rank]


@pytest.mark.parametrize("buckets", [1, 2, 7])
def test_buckets_add_up_to_the_log(make_log: Callable[..., EventLog], buckets: int) -> None:
    events = make_log(events=3_000).events
    events = pl.concat([events, events[::3]])  # repeats
    dealt_out = events.with_columns(
        order=pl.int_range(pl.len(), dtype=pl.Int64), bucket=pl.col("user").cast(pl.Int64) % buckets
    ).sample(fraction=1, shuffle=True, seed=1)
    gathered = [gather_bucket(part) for part in dealt_out.partition_by("bucket")]
    whole = pl.concat(gathered).sort("order").select(EVENT_SCHEMA.names())
    assert whole.equals(drop_repeats(events))
    edge_E = np.array([0, *whole["time"].unique().sort()[::5], 1 << 50])
    positive = whole.filter("positive")["time"].to_numpy()
    before = np.sum([positives_before(part, edge_E) for part in gathered], axis=0)
    assert before.tolist() == [(positive < time).sum() for time in edge_E]
    assert set().union(*map(days_of, gathered)) == set((whole["time"] // 86_400_000).to_list())
