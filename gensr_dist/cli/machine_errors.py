"""What the machine refuses in the middle of a command, each as one line: memory, files, processes, folders, names."""

import errno
import os
import resource
import sys
import threading
from pathlib import Path

from gensr_dist.errors import InputError

# In what torch raises, and what the loader of libraries says under `ulimit -v`.
_NO_MEMORY = ("can't allocate memory", "out of memory", "failed to map segment")
# What Python says where a process may have no more, and what C++ and Rust say.
_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")
_NO_TEMPORARY = "No usable temporary directory"  # what its tempfile says
_MORE_PROCESSES = "raise ulimit -u or the container's limit, or set OMP_NUM_THREADS=1"
_THREADS = 20  # that polars, tokenizers and others start beside one a core
_GONE = (errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN)  # of network file systems


def as_machine_error(error: BaseException) -> InputError | None:
    """The line for the user, if this machine or its environment is at fault; None for an error of another kind."""
    if isinstance(error, UnicodeEncodeError):
        return _not_in_locale(error)
    said, number = " ".join(str(error).split())[:200], getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(words in said for words in _NO_MEMORY):
        remedy = "lower the setting that asks for so much, or take a larger machine"
        return InputError("memory", said or "no more is free", remedy)
    if number in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return InputError("open files", f"{said}; this process may have {limit}", "raise it, as by ulimit -n 4096")
    if any(words in said for words in _NO_THREAD) and "without blocking" not in said:
        problem = f"this user may start no more of them, or of threads ({said})"
        return InputError("processes", problem, _MORE_PROCESSES)
    if number in _GONE and isinstance(error, OSError):
        remedy = "mount its file system again, then start the same command: it goes on"
        return InputError(error.filename or "storage", os.strerror(error.errno or 0), remedy)
    if _NO_TEMPORARY in said:
        return InputError("TMPDIR", "no folder for temporary files can be written", "set TMPDIR to one with room")
    return None


def require_threads() -> None:
    """Raise InputError where a limit leaves too few: polars then waits forever, or blames the file that it reads."""
    if os.environ.get("POLARS_MAX_THREADS") == "0":  # polars ignores what is no number
        raise InputError("POLARS_MAX_THREADS", "0 threads, expected at least 1", "raise it or unset it")
    needed, started, over = _THREADS + (os.cpu_count() or 1), list[threading.Thread](), threading.Event()
    try:
        for _ in range(needed):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        problem = f"this user may start {len(started)} more threads, of {needed} that the libraries begin with"
        raise InputError("processes", problem, _MORE_PROCESSES) from None
    finally:
        over.set()
        for thread in started:
            thread.join()


def require_current_folder() -> None:
    """Raise InputError where it was deleted: libraries of C end the process in words of their own."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError("the current folder", f"it is gone ({error.strerror})", "change to another") from None


def _not_in_locale(error: UnicodeEncodeError) -> InputError | None:
    """Of a path of a config, say; arguments are checked before."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return None
    return InputError("locale", f"{encoding} has no letters for {error.object!r}", "set PYTHONUTF8=1")
