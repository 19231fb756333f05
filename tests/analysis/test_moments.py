"""Which of many checkpoints are looked at."""

from pathlib import Path

import pytest

from gensr_dist.analysis.moments import spread


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 31])
def test_at_most_eight_evenly_and_the_last(count: int) -> None:
    kept = {10 * (number + 1): Path(str(number)) for number in range(count)}
    chosen = spread(kept)
    assert len(chosen) == min(8, count)
    assert chosen.items() <= kept.items()
    assert list(chosen) == sorted(chosen)
    if count:
        assert max(chosen) == max(kept)
        gaps = [later - earlier for earlier, later in zip(chosen, list(chosen)[1:], strict=False)]
        assert max(gaps, default=0) - min(gaps, default=0) <= 10
