"""The file of `gensr answer`: who asks, and what was typed, read as the source `tables` reads its events."""

from pathlib import Path

from gensr_dist.data.sources.chunks import Advance, Chunk
from gensr_dist.data.sources.columns import Column
from gensr_dist.data.sources.parts import cut_table, read_parts
from gensr_dist.data.sources.reading import Rows, read_chunk
from gensr_dist.data.sources.tables import SUFFIXES, USER_COLUMNS
from gensr_dist.data.sources.texts import clean, parse_text
from gensr_dist.errors import InputError

_COLUMNS = (
    *USER_COLUMNS,
    Column(name="query", expected="text", parse=parse_text, required=False, empty=True),
)


def read_asks(path: Path) -> Rows:
    """Read a CSV, gzipped CSV or Parquet file with the columns user_id and, for searches, query; others are ignored.

    Returns:
        `frame` has user_id and query, String, in the order of the file; without a query it is null.

    Raises:
        InputError: there is no such file, it has no line, or what the source `tables` finds wrong in it, by line.
    """
    if not path.name.endswith(SUFFIXES):
        raise InputError(path, f"expected a file that ends in {', '.join(SUFFIXES)}", "rename or convert it")
    if not path.is_file():
        raise InputError(path, "the file does not exist", "give --users a file with the columns user_id and query")
    rows = read_parts(cut_table(str(path), _rows, map))
    if not rows.frame.height:
        raise InputError(path, "it has no line", "give a user_id in each line, and a query where it is a search")
    return rows


def _rows(chunk: Chunk, advance: Advance) -> Rows:
    rows = read_chunk(chunk, _COLUMNS, advance=advance)
    queries, repairs = clean(rows.frame["query"], "queries")
    return Rows(rows.frame.with_columns(queries.replace("", None)), rows.repairs + repairs, rows.read)
