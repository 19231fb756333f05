"""Arrays in npy files: mapped, and written a block of rows at a time."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import unreadable


def open_array(path: Path, remedy: str) -> np.ndarray:
    """Map an array; one without elements, which cannot be mapped, is read.

    Raises:
        InputError: the file is missing or holds no array; pickled ones are refused.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None, allow_pickle=False)
        return array
    except FileNotFoundError:
        raise InputError(path, "the file does not exist", remedy) from None
    except (ValueError, IsADirectoryError, EOFError) as error:
        raise InputError(path, f"expected an npy array ({error})", remedy) from None
    except OSError as error:
        raise unreadable(path, error) from None


def write_rows(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray], dtype: str = "<f4") -> None:
    """Write an array of this shape from consecutive blocks of its rows."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
        for rows in blocks:
            file.write(np.ascontiguousarray(rows, dtype=dtype).data)
