"""Files that cannot be written: what the operating system said, however the library that wrote wraps it.

safetensors, tokenizers and polars raise errors of their own with `(os error 28)` in the text, numpy says how many
elements it did not write, torch and FAISS that a write failed. All of them become an OSError with number and file, and
at the command line one line.
"""

import errno
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gensr_dist.errors import InputError

OUTPUT_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EBUSY, errno.EIO, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NUMBER = re.compile(r"\(os error (\d+)\)")
_UNNUMBERED = re.compile(r"\d+ requested and \d+ written|PytorchStreamWriter failed|unexpected pos \d+ vs|write error")
_ROOM = 1 << 20  # bytes: a disk with less is full, for what is written here
_REMEDY = "free space, or write elsewhere (`run`, `--out`)"
_OTHERS = "check whose it is and its permissions, or write elsewhere (`run`, `--out`)"
_REMEDIES = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EISDIR: "give the name of a file",
    errno.ENOTDIR: "give a name within a folder",
    errno.EEXIST: "delete this file, or link to nothing, which is where a folder belongs",
    errno.EACCES: _OTHERS,
    errno.EPERM: _OTHERS,
}


@contextmanager
def numbered_errors(path: Path) -> Iterator[None]:
    """Give errors of writing in this block their number, and their file where they name none.

    Args:
        path: what is written, or the folder of it.

    Raises:
        OSError: with `errno` and `filename`.
    """
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        if error.errno is None and (number := _number_of(error, path)):
            raise OSError(number, os.strerror(number), str(path)) from None
        if error.errno in _FULL and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise
    except Exception as error:
        number = _number_of(error, path)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def require_room(folder: Path) -> None:
    """Write a MiB to a folder and delete it.

    Raises:
        OSError: it is not to be had: a full disk, a quota, a limit.
    """
    with numbered_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_ROOM))
        file.flush()
        os.fsync(file.fileno())


def as_input_error(error: OSError) -> InputError | None:
    """The line for the user, if it is about writing; None for an error of another kind."""
    if error.errno not in OUTPUT_ERRORS:
        return None
    remedy = _REMEDIES.get(error.errno, _REMEDY)
    return InputError(error.filename or "output", os.strerror(error.errno), remedy)


def quieten_writing_threads() -> None:
    """Let no thread of TensorBoard's print a traceback of a full disk: the thread that gave it the work says it."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        told = isinstance(failed.exc_value, OSError) and failed.exc_value.errno in OUTPUT_ERRORS
        if not (told and type(failed.thread).__name__ == "_AsyncWriterThread"):
            before(failed)

    threading.excepthook = hook


def _number_of(error: Exception, path: Path) -> int | None:
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1])
    for number in _FULL:
        if os.strerror(number) in text:
            return number
    if not _UNNUMBERED.search(text):
        return None
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return errno.ENOSPC if shutil.disk_usage(place).free < _ROOM else errno.EIO
