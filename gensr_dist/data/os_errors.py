"""What polars reports of the operating system, as Python reports it."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl


@contextmanager
def numbered_os_errors(path: str | Path) -> Iterator[None]:
    """Give errors that polars raises while it writes `path`, such as that of a full disk, their number and file.

    Raises:
        OSError: with `errno` and `filename`.
    """
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
