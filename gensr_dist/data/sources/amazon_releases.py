"""How the files of Amazon's releases are called and written: 2014 and 2018 alike, 2023 in its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal

import polars as pl

from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

PATH, PATHS = pl.List(pl.String()), pl.List(pl.List(pl.String()))


@dataclass(frozen=True, kw_only=True)
class Release:
    """How the files of some years are written.

    Args:
        user: field of a review; so are item and time.
        item: as of a review.
        time: in `unit`.
        unit: seconds or milliseconds.
        meta_item: field of a meta line; so is brand.
        brand: or the store.
        paths: fields of a meta line that hold category paths, one or several.
    """

    user: str
    item: str
    time: str
    unit: Literal["seconds", "milliseconds"]
    meta_item: str
    brand: str
    paths: Mapping[str, pl.DataType]


OF_2014_AND_2018 = Release(
    user="reviewerID",
    item="asin",
    time="unixReviewTime",
    unit="seconds",
    meta_item="asin",
    brand="brand",
    paths={"categories": PATHS, "category": PATH},
)
OF_2023 = Release(
    user="user_id",
    item="parent_asin",
    time="timestamp",
    unit="milliseconds",
    meta_item="parent_asin",
    brand="store",
    paths={"categories": PATH},
)
REVIEW_FILES = ("reviews_*_5.json", "*_5.json", "*.jsonl")
META_FILES = ("meta_*.json", "meta_*.jsonl")


def find_files(raw: Folder) -> tuple[str, str, Release]:
    """Paths or URLs of reviews and meta lines, and how they are written.

    Raises:
        InputError: the folder does not hold exactly one file of each kind.
    """
    reviews_file, meta_file = _only_file(raw, REVIEW_FILES), _only_file(raw, META_FILES)
    return reviews_file, meta_file, OF_2023 if reviews_file.removesuffix(".gz").endswith(".jsonl") else OF_2014_AND_2018


def _only_file(raw: Folder, patterns: Sequence[str]) -> str:
    """The one file of a kind."""
    meta = patterns[0].startswith("meta_")
    present = sorted(raw.sizes())
    zipped = [*patterns, *(f"{pattern}.gz" for pattern in patterns)]
    matches = [name for name in present if any(fnmatch(name, pattern) for pattern in zipped)]
    found = [name for name in matches if name.startswith("meta_") == meta]
    if len(found) == 1:
        return raw.where(found[0])
    held = ", ".join(present[:5]) or "no file"
    names = ", ".join(found) or f"none (the folder holds {held})"
    expected = f"{patterns[0]}.gz or {', '.join(patterns)}"
    remedy = "leave one of them there" if found else "put one there"
    raise InputError(raw.place, f"expected exactly one {expected}, found {names}", remedy)
