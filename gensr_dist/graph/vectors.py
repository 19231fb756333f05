"""CF vectors on disk: `items.npy` [I, E], `users.npy` [V, E] float32 and `lightgcn.json`."""

from pathlib import Path
from typing import Any

import numpy as np

from gensr_dist.errors import InputError
from gensr_dist.files import atomic_folder, read_json, write_json

REMEDY = "run the lightgcn stage"

_ROWS = 65_536  # checked at once


def save_cf(folder: Path, item_IE: np.ndarray, user_VE: np.ndarray, record: dict[str, Any]) -> None:
    """Write both arrays and the record of the training in one move."""
    with atomic_folder(folder) as temporary:
        np.save(temporary / "items.npy", np.asarray(item_IE, dtype=np.float32), allow_pickle=False)
        np.save(temporary / "users.npy", np.asarray(user_VE, dtype=np.float32), allow_pickle=False)
        write_json(temporary / "lightgcn.json", record)


def load_cf(folder: Path) -> tuple[np.memmap, np.memmap]:
    """Memory-map the CF vectors: items [I, E] and users [V, E], float32.

    Raises:
        InputError: a file is missing, is no array, does not fit `lightgcn.json`, or holds values that are not finite.
    """
    record = read_json(folder / "lightgcn.json", REMEDY)
    try:
        result, width = record["result"], int(record["settings"]["width"])
        expected = {"items.npy": (int(result["items"]), width), "users.npy": (int(result["users"]), width)}
    except (KeyError, TypeError, ValueError):
        raise InputError(
            folder / "lightgcn.json", "expected settings.width, result.items, result.users", REMEDY
        ) from None
    item_IE, user_VE = (_open(folder / name, shape) for name, shape in expected.items())
    return item_IE, user_VE


def _open(path: Path, shape: tuple[int, int]) -> np.memmap:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(path, "the file does not exist", REMEDY) from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(path, f"expected an npy array ({error})", REMEDY) from None
    if array.shape != shape or array.dtype != np.float32:
        raise InputError(path, f"expected float32 {shape}, found {array.dtype} {array.shape}", REMEDY)
    if not _finite(path, array):
        raise InputError(path, "holds values that are not finite", REMEDY)
    return array


def _finite(path: Path, array: np.memmap) -> bool:
    """Reads the file and not the mapping, whose pages would count as memory of this process."""
    values = _ROWS * array.shape[1]
    with path.open("rb") as file:
        file.seek(array.offset)
        return all(np.isfinite(np.fromfile(file, np.float32, values)).all() for _ in range(0, len(array), _ROWS))
