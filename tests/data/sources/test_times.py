"""The clock of this machine as a bound of times."""

import time

import pytest

from gensr_dist.data.sources.times import DAY_MS, latest_time
from gensr_dist.errors import InputError


def test_an_event_may_be_of_tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1.9e9)
    assert latest_time() == 1_900_000_000_000 + DAY_MS


@pytest.mark.parametrize("now", [0.0, 1.5e9])
def test_a_clock_that_is_set_back_calls_no_good_time_wrong(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    monkeypatch.setattr(time, "time", lambda: now)
    with pytest.raises(InputError, match=r"the clock of this machine: it says \d{4}-.*which has long passed; set it"):
        latest_time()
