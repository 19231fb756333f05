"""JSON files that stages leave for each other, written whole and read as dataclasses, with errors of one line."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import unreadable
from gensr_dist.storage.durable import durable_file

Record = TypeVar("Record")


def write_json(path: Path, value: Any) -> None:
    """Write a dataclass or plain value as indented JSON, atomically."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    with durable_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def digest(value: Any) -> str:
    """SHA-256 of plain values and dataclasses in canonical JSON; equal ones give equal digests on any machine."""
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def read_json(path: Path, remedy: str) -> Any:
    """Read a JSON file that one of our stages wrote.

    Raises:
        InputError: the file is missing or is not JSON; `remedy` says which stage writes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "the file does not exist", remedy) from None
    except (ValueError, IsADirectoryError, RecursionError) as error:
        raise InputError(path, f"expected a JSON file ({error})", remedy) from None
    except OSError as error:
        raise unreadable(path, error) from None


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
    return parse_record(read_json(path, missing), path, kind, what, wrong)


def parse_record(value: Any, where: Path | str, kind: type[Record], what: str, remedy: str) -> Record:
    """A parsed JSON file as a dataclass; arguments and error as of `read_record`."""
    from pydantic import TypeAdapter, ValidationError  # commands that read no record start without it

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "all of it"
        raise InputError(where, f"expected the record of {what}, {field}: {fault['msg']}", remedy) from None
