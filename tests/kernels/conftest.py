import pytest

from gensr_dist.kernels import dispatch


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    """Each test logs as the first, and starts Triton as the first."""
    dispatch._logged.clear()
    dispatch._start_failure.cache_clear()
