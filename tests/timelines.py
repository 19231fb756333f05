"""Timelines written down in tests."""

from typing import Any

import numpy as np

from gensr_dist.data.timelines.timelines import COLUMNS, Timelines

_DEFAULTS = {"query_N": -1, "behaviour_N": 0, "positive_N": True, "split_N": 0}


def timelines_of_columns(users: int, user_N: Any, **columns: Any) -> Timelines:
    """Columns of any dtype, in the order of users; by default clicked recommendations of the training split, a
    millisecond apart.
    """
    events = len(user_N)
    given = {**_DEFAULTS, "time_N": np.arange(events), **columns}
    return Timelines(
        user_start_V=np.searchsorted(user_N, np.arange(users + 1)),
        **{name: np.broadcast_to(given[name], events).astype(dtype) for name, dtype in COLUMNS.items()},
    )
