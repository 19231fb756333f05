import numpy as np
import pytest

from gensr_dist.data.spaced import spaced, thinned


@pytest.mark.parametrize("places", [spaced, thinned])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("most", [1, 3, 10])
def test_as_many_as_there_may_be_at_even_distances(places, count: int, most: int) -> None:
    found = places(count, most)
    assert len(found) == min(count, most)
    assert found.tolist() == sorted(set(found.tolist()) & set(range(count)))
    distances = np.diff(found)
    assert np.ptp(distances) <= 1 if len(distances) else True


def test_both_ends_or_the_first_of_each_part() -> None:
    assert spaced(10, 3).tolist() == [0, 4, 9]
    assert thinned(10, 3).tolist() == [0, 3, 6]
