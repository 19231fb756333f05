"""Writing results so that a reader sees the old one or the new one, never half of one."""

import dataclasses
import glob
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from gensr_dist.errors import InputError
from gensr_dist.storage.output_errors import numbered_errors

Record = TypeVar("Record")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends well, else delete it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with numbered_errors(path):
            yield temporary
            give_usual_mode(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the place of `path` when the block ends well.

    What killed processes left of earlier attempts is deleted. Of a link, the folder that it names is
    replaced.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    replaced = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        with numbered_errors(path):
            yield temporary
            give_usual_mode(temporary)
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def give_usual_mode(path: Path) -> None:
    """Give a new file, or all files of a new folder, the mode that a file made with `open` has here.

    Some libraries write through a temporary file of their own, which only its owner may read.
    """
    # Asked of the file system: the umask cannot be read without changing it, and a folder's default rules come first.
    probe = path.with_name(f".{path.name}.{os.getpid()}.mode") if path.is_file() else path / ".mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for file in (path,) if path.is_file() else path.rglob("*"):
        if file.is_file() and not file.is_symlink() and stat.S_IMODE(file.stat().st_mode) != mode:
            file.chmod(mode)


def _sweep(path: Path) -> None:
    """Delete temporary folders of `path` whose process is gone."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        owner = re.fullmatch(re.escape(f".{path.name}.") + r"(\d+)\.(tmp|old)", left.name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            shutil.rmtree(left, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write a dataclass or plain value as indented JSON, atomically."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file that one of our stages wrote.

    Raises:
        InputError: the file is missing or is not JSON; `remedy` says which stage writes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "the file does not exist", remedy) from None
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(path, f"expected a JSON file ({error})", remedy) from None


def read_record(path: Path, kind: type[Record], what: str, *, missing: str, wrong: str) -> Record:
    """Read a JSON file as a dataclass.

    Args:
        path: of the file.
        kind: the dataclass.
        what: it is the record of.
        missing: remedy for a file that is not there or no JSON.
        wrong: remedy for one of another form.

    Raises:
        InputError: it cannot be read so; names the first field that is wrong.
    """
    from pydantic import TypeAdapter, ValidationError  # commands that read no record start without it

    try:
        return TypeAdapter(kind).validate_python(read_json(path, missing))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InputError(path, f"expected the record of {what}, {place}: {fault['msg']}", wrong) from None
