"""Reading large files of one JSON object a line, gzipped or plain, a block of lines at a time."""

import ast
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl
from tqdm import tqdm

from gensr_dist.data.sources.encoding import refuse_other_kinds, refuse_wide
from gensr_dist.data.sources.ids import EXACT
from gensr_dist.data.sources.raw_files import (
    BYTE_ORDER_MARK,
    Look,
    base_name,
    decompressed,
    file_size,
    opened,
    readable,
    shown,
    unzipped,
)
from gensr_dist.errors import InputError

BLOCK_BYTES = 8 << 20  # text parsed at once; also the longest line that is accepted
_INT64 = 1 << 63
_DOUBTFUL = r"^[\[{]|^(?:true|false)$|^-?\d+\.\d|^-?\d{16}"  # of 16 digits, floats are not exact
_NUMBER = r"^-?\d+$"  # polars reads 1e3 as the text 1000
_CONTAINERS = (  # as polars writes them
    r'^\[["\[\]{]|^\{["}]|^(?:true|false)$'
    r"|^\[(?:null|true|false|-?\d[\d.]*)(?:,.*)?\]$"
)
_HALF = r"[\ud800-\udfff]"  # of a surrogate pair, without the other: polars reads a zero character
_LOOKED_AT = 20  # lines whose fields are named
_KIND_BYTES = 64  # of a beginning that tell what is no text
_REMEDY = "write one object a line, and leave out lines that are none"


@dataclass(frozen=True, kw_only=True)
class JsonBlock:
    """Some consecutive lines of a file, parsed."""

    rows: pl.DataFrame
    python_literals: int  # lines that were Python dicts in place of JSON objects
    text: bytes
    first_line: int  # of the text in its file, from 1

    def line(self, row: int) -> int:
        """The line of the file that a row is from; blank lines are none."""
        lines = (number for number, line in enumerate(self.text.split(b"\n"), self.first_line) if line.strip())
        return next(islice(lines, row, None))


def read_blocks(
    file: str, schema: Mapping[str, pl.DataType], *, required: Sequence[str], most: int = 0
) -> Iterator[JsonBlock]:
    """Parse the fields of `schema` from every line of a file; other fields are passed over and absent ones are null.

    polars parses a block; where it objects, the block is parsed again line by line. That also takes the Python-literal
    dicts of McAuley's original meta files (`ast.literal_eval`: nothing is executed) and finds the line at fault.

    Args:
        file: path or URL; gzip is gunzipped, whatever its name.
        schema: fields of type String, Int64, List(String) or List(List(String)).
        required: fields that every line must have.
        most: only lines that begin within so many bytes are read, after decompression; 0: all.

    Raises:
        InputError: the file cannot be read or is cut short, or a line is not an object with such fields.
    """
    line = 1
    for block in _line_blocks(file, most):
        try:
            rows = pl.read_ndjson(io.BytesIO(block), schema=dict(schema))
            trusted = not any(rows[name].null_count() for name in required) and not any(
                _holds(rows[name], _DOUBTFUL if name in required else _CONTAINERS) for name in schema
            )
            trusted = trusted and not any(_holds(rows[name], _NUMBER) and _scientific(block, name) for name in required)
        except (pl.exceptions.PolarsError, OSError):
            trusted = False
        literals = 0
        if not trusted:
            rows, literals = _parse_lines(block, file, line, schema, required)
        yield JsonBlock(rows=rows, python_literals=literals, text=block, first_line=line)
        line += block.count(b"\n")


def look(file: str, wanted: Sequence[str], count: int) -> Look:
    """The names of the fields in a file's first lines, and the wanted ones' values as text, well written or not.

    Args:
        file: path or URL; gzip is gunzipped.
        wanted: names of fields.
        count: lines at most.

    Raises:
        InputError: the file cannot be read, or one of its first lines is no object.
    """
    records: list[dict[str, object]] = []
    with readable(file), unzipped(file) as stream:
        for number in range(1, _LOOKED_AT + 1):
            line = stream.readline(BLOCK_BYTES).removeprefix(BYTE_ORDER_MARK)
            if line.strip():
                records.append(_parse_line(line, f"{file}:{number}")[0])
    names = tuple(dict.fromkeys(name for record in records for name in record))
    return Look.of(names, [name for name in wanted if name in names], records[:count])


def _holds(texts: pl.Series, pattern: str) -> bool:
    """Tell whether polars may have turned what is no text or exact number into text, which it does without a word."""
    while isinstance(texts.dtype, pl.List):
        texts = texts.explode()
    return texts.dtype == pl.String and bool(texts.str.contains(pattern).any())


def _line_blocks(file: str, most: int) -> Iterator[bytes]:
    """Give the lines that begin within `most` bytes, or all, in blocks of whole lines, without a byte order mark."""
    quiet = True if 0 < most < BLOCK_BYTES else None  # so little is soon read
    with (
        readable(file),
        opened(file) as raw,
        tqdm(
            total=file_size(file), desc=f"read {base_name(file)}", unit="B", unit_scale=True, disable=quiet
        ) as progress,
    ):
        with decompressed(raw) as unpacked:
            beginning = unpacked.read(_KIND_BYTES)
            refuse_other_kinds(file, beginning)
            refuse_wide(file, beginning)
            unpacked.seek(0)
            rest = unpacked.read(len(BYTE_ORDER_MARK)).removeprefix(BYTE_ORDER_MARK)
            taken = len(rest)
            while chunk := unpacked.read(min(BLOCK_BYTES, max(1, most - taken)) if most else BLOCK_BYTES):
                progress.update(raw.tell() - progress.n)
                taken += len(chunk)
                if 0 < most <= taken:
                    yield rest + chunk + (b"" if chunk.endswith(b"\n") else unpacked.readline(BLOCK_BYTES))
                    return
                whole, newline, tail = chunk.rpartition(b"\n")
                if newline:
                    yield rest + whole + newline
                    rest = tail
                else:
                    rest += tail
                if len(rest) > BLOCK_BYTES:
                    raise InputError(
                        file,
                        f"expected one JSON object a line, found a line over {BLOCK_BYTES >> 20} MiB",
                        "write one object a line",
                    )
        if rest:
            yield rest


def _parse_lines(
    block: bytes, file: str, first_line: int, schema: Mapping[str, pl.DataType], required: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    columns: dict[str, list[object]] = {name: [] for name in schema}
    converters = {name: _CONVERTERS[dtype] for name, dtype in schema.items()}
    literals = 0
    for number, line in enumerate(block.split(b"\n"), start=first_line):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        record, is_literal = _parse_line(line, where)
        literals += is_literal
        for name, convert in converters.items():
            value = record.get(name)
            if name in required and isinstance(value, float) and abs(value) < EXACT:
                _refuse_scientific(line, name, where)
            try:
                columns[name].append(None if value is None else convert(value))
            except (TypeError, ValueError, OverflowError):
                raise InputError(
                    where, f"{name} is {repr(value)[:60]}, not {_EXPECTED[schema[name]]}", "fix the line"
                ) from None
            if value is None and name in required:
                raise _missing(name, record, where)
    return pl.DataFrame(columns, schema=dict(schema)), literals


def _parse_line(line: bytes, where: str) -> tuple[dict[str, object], bool]:
    """Parse one line as JSON, else as a Python literal; the flag says which."""
    is_literal = False
    try:
        text = line.decode("utf-8").strip()
        try:
            record = json.loads(text, object_pairs_hook=_first_of_each)
        except ValueError:
            record, is_literal = ast.literal_eval(text), True
    except UnicodeDecodeError as error:
        raise InputError(where, f"is not UTF-8 text ({error.reason})", "convert the file to UTF-8") from None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise InputError(where, f"expected a JSON object, found {shown(text)!r}", _REMEDY) from None
    if not isinstance(record, dict):
        raise InputError(where, f"expected a JSON object, found {type(record).__name__}", _REMEDY)
    return record, is_literal


def _missing(name: str, record: Mapping[str, object], where: str) -> InputError:
    if name in record:
        return InputError(where, f"the field {name} is null", "fix the line or leave it out")
    problem = f"the field {name} is missing, found {shown(', '.join(record)) or 'none'}"
    return InputError(where, problem, "fix the line or leave it out; if all lines lack it, give another file")


def _scientific(text: bytes, name: str) -> re.Match[bytes] | None:
    """Where a field first has a number in scientific notation, which is the group; in texts there may be such, too."""
    number = r"\s*:\s*([-+]?[0-9._]+[eE][-+]?[0-9_]+)"
    found = (re.search(f"{quote}{re.escape(name)}{quote}{number}".encode(), text) for quote in "\"'")  # Python's, too
    return next(filter(None, found), None)


def _refuse_scientific(line: bytes, name: str, where: str) -> None:
    """Refuse a field whose number is written as `1.7e+09`, which programs do that round it."""
    if found := _scientific(line, name):
        problem = f"{name} is {found[1].decode()}, scientific notation, which may have lost digits"
        raise InputError(where, problem, "write the number with all its digits")


def _first_of_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose repeated names have their first value, as polars gives them."""
    record = dict(pairs)
    return record if len(record) == len(pairs) else dict(reversed(pairs))


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError
    return re.sub(_HALF, "\0", str(value))


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    number = int(value)
    if (isinstance(value, float) and number != value) or not -_INT64 <= number < _INT64:
        raise ValueError
    return number


def _lists_of_texts(value: object) -> list[list[str]]:
    if not isinstance(value, list) or not all(isinstance(inner, list) for inner in value):
        raise TypeError
    return [[_text(text) for text in inner if text is not None] for inner in value]


def _list_of_texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [_text(text) for text in value if text is not None]


_CONVERTERS: dict[pl.DataType, Callable[[object], object]] = {
    pl.String(): _text,
    pl.Int64(): _integer,
    pl.List(pl.String()): _list_of_texts,
    pl.List(pl.List(pl.String())): _lists_of_texts,
}
_EXPECTED: dict[pl.DataType, str] = {
    pl.String(): "a text",
    pl.Int64(): "a whole number",
    pl.List(pl.String()): "a list of texts",
    pl.List(pl.List(pl.String())): "a list of lists of texts",
}
