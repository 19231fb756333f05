"""Files of item ids that come with a request: a history, and lists of items to leave out or to choose from.

Dimensions: M known lines of a file, I items, X items that it names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gensr_dist.data.events import BOTH_BITS, Behaviour
from gensr_dist.errors import InputError

BEHAVIOURS = {  # as `Histories.behaviour_M`
    "recommendation": Behaviour.RECOMMENDATION.bit,
    "search": Behaviour.SEARCH.bit,
    "both": BOTH_BITS,
}
_ENCODING_REMEDY = "save it as UTF-8"


@dataclass(frozen=True, kw_only=True)
class GivenHistory:
    """What a user is said to have done."""

    item_M: NDArray[np.int64]  # oldest first
    behaviour_M: NDArray[np.int64]
    unknown: int  # lines whose item is not in the catalogue


@dataclass(frozen=True, kw_only=True)
class GivenItems:
    """A set of items."""

    item_M: NDArray[np.int64]  # distinct, ascending
    unknown: int  # lines whose item is not in the catalogue


def read_history(path: Path, item_ids: pl.Series) -> GivenHistory:
    """Read a history: one item id a line, oldest first; a tab and a behaviour may follow.

    The behaviour is `recommendation` (also where there is none), `search`, or `both`, where an item was found by a
    search and chosen from recommendations at the same time.

    Args:
        path: of the file, UTF-8; blank lines are skipped.
        item_ids: raw id of each item [I].

    Raises:
        InputError: the file cannot be read, has another behaviour, or no line.
    """
    ids, behaviours = [], []
    for number, line in _lines(path):
        item_id, _, behaviour = line.partition("\t")
        if behaviour and behaviour not in BEHAVIOURS:
            raise InputError(
                f"{path}, line {number}",
                f"behaviour {behaviour!r}, expected one of {', '.join(BEHAVIOURS)}",
                "write `item id`, or `item id<TAB>behaviour`",
            )
        ids.append(item_id)
        behaviours.append(BEHAVIOURS[behaviour or "recommendation"])
    return _history(ids, behaviours, item_ids)


def history_of(ids: Sequence[str], item_ids: pl.Series) -> GivenHistory:
    """A history of recommended items.

    Args:
        ids: oldest first.
        item_ids: raw id of each item [I].
    """
    return _history(ids, [BEHAVIOURS["recommendation"]] * len(ids), item_ids)


def _history(ids: Sequence[str], behaviours: Sequence[int], item_ids: pl.Series) -> GivenHistory:
    row_M = _rows(ids, item_ids)
    known_M = row_M >= 0
    return GivenHistory(
        item_M=row_M[known_M],
        behaviour_M=np.array(behaviours, dtype=np.int64)[known_M],
        unknown=int(np.count_nonzero(~known_M)),
    )


def read_items(path: Path, item_ids: pl.Series) -> GivenItems:
    """Read a set of items: one item id a line.

    Args:
        path: of the file, UTF-8; blank lines are skipped.
        item_ids: raw id of each item [I].

    Raises:
        InputError: the file cannot be read or has no line.
    """
    row_M = _rows([line for _, line in _lines(path)], item_ids)
    return GivenItems(item_M=np.unique(row_M[row_M >= 0]), unknown=int(np.count_nonzero(row_M < 0)))


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "give a file of item ids, one a line") from None
    except UnicodeDecodeError as error:
        raise InputError(path, f"byte {error.start} is not UTF-8", _ENCODING_REMEDY) from None
    lines = [(number, line.strip(" \r")) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    if not lines:
        raise InputError(path, "it has no line", "give item ids, one a line")
    return lines


def _rows(ids: Sequence[str], item_ids: pl.Series) -> NDArray[np.int64]:
    """Row of each id, -1 for one that is not in the catalogue."""
    wanted = pl.DataFrame({"item_id": pl.Series(values=list(ids), dtype=pl.String)})
    # A table of the whole catalogue takes a large one most of a second, and an answer much less.
    row_X = item_ids.is_in(wanted["item_id"].unique().implode()).arg_true()
    named = pl.DataFrame({"item_id": item_ids.gather(row_X), "row": row_X})
    found = wanted.join(named, on="item_id", how="left", maintain_order="left")["row"]
    return found.cast(pl.Int64).fill_null(-1).to_numpy()
