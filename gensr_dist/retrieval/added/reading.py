"""The file of `gensr index --add`: a table of items as the source `tables` reads it (shards/recipes/tables.md)."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.parts import cut_table, read_parts
from gensr_dist.data.sources.tables import SUFFIXES, item_rows
from gensr_dist.errors import InputError


@dataclass(frozen=True, kw_only=True)
class GivenTable:
    """Items of a file, each once."""

    frame: pl.DataFrame  # item_id and text, String, in the order of the file
    read: int  # rows
    repeated: int  # rows whose item_id came earlier in the file; the first counts
    repairs: tuple[Repair, ...]


def read_item_table(path: Path) -> GivenTable:
    """Read a CSV, gzipped CSV or Parquet file with the columns item_id and text; others are ignored.

    Raises:
        InputError: there is no such file, or what the source `tables` finds wrong in it, by file and line.
    """
    if not path.name.endswith(SUFFIXES):
        raise InputError(path, f"expected a file of items that ends in {', '.join(SUFFIXES)}", "rename or convert it")
    if not path.is_file():
        raise InputError(path, "the file does not exist", "give --add a file with the columns item_id and text")
    rows = read_parts(cut_table(str(path), item_rows, map))
    frame = rows.frame.unique("item_id", keep="first", maintain_order=True)
    return GivenTable(frame=frame, read=rows.read, repeated=rows.frame.height - frame.height, repairs=rows.repairs)
