import errno
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gensr_dist.data.os_errors import numbered_os_errors

FULL = Path("/dev/full")  # every write to it finds no room


def write_csv(table: pl.DataFrame) -> None:
    with FULL.open("wb") as file:
        table.write_csv(file)


@pytest.mark.parametrize("write", [write_csv, lambda table: table.write_parquet(FULL)])
def test_a_full_disk_has_its_number(write: Callable[[pl.DataFrame], None]) -> None:
    with pytest.raises(OSError, match="No space left") as caught, numbered_os_errors(FULL):
        write(pl.DataFrame({"number": range(100_000)}))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


def test_other_errors_pass() -> None:
    with pytest.raises(pl.exceptions.ComputeError, match="overflow"), numbered_os_errors("x"):
        raise pl.exceptions.ComputeError("overflow")
    with pytest.raises(FileNotFoundError), numbered_os_errors("x"):
        Path("/nowhere/x").write_text("")
