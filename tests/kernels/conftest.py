from collections.abc import Iterator

import pytest

from gensr_dist.kernels import dispatch


@pytest.fixture(autouse=True)
def automatic_path() -> Iterator[None]:
    """Tests that configure a path leave `auto` behind; each logs as the first."""
    dispatch.configure("auto")
    dispatch._logged.clear()
    yield
    dispatch.configure("auto")
