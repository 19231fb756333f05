"""Amazon reviews in McAuley's file format (2014), with queries made from category paths.

A query of an item is one of its category paths of two or more levels, general to specific, as lower-case terms without
punctuation, stop words and repeats (Ai et al. 2017, after Van Gysel et al. 2016).
"""

import time
from fnmatch import fnmatch
from functools import partial

import numpy as np
import polars as pl

from gensr_dist.data.events import Behaviour, Repair
from gensr_dist.data.sources.chunks import Advance, Each
from gensr_dist.data.sources.json_lines import read_blocks
from gensr_dist.data.sources.parts import Part, SourceParts
from gensr_dist.data.sources.reading import Rows
from gensr_dist.data.storage.folder import Folder
from gensr_dist.errors import InputError

_REVIEW_SCHEMA: dict[str, pl.DataType] = {
    "reviewerID": pl.String(),
    "asin": pl.String(),
    "unixReviewTime": pl.Int64(),
}
_META_SCHEMA: dict[str, pl.DataType] = {
    "asin": pl.String(),
    "title": pl.String(),
    "brand": pl.String(),
    "categories": pl.List(pl.List(pl.String())),
}
_STOP_WORDS = frozenset(
    """
    a about above after all an and any are as at be been before below between but by can could did do does down
    for from had has have he her here his how if in into is it its more most no nor not of off on once only or
    other our out over own per same she so some such than that the their them then there these they this those
    through to too under until up very was we were what when where which while who whom why will with you your
    """.split()  # noqa: SIM905  one word a line would fill two pages
)
_ENTITIES = {"&amp;": "&", "&quot;": '"', "&#39;": "'", "&#34;": '"', "&lt;": "<", "&gt;": ">", "&nbsp;": " "}
_DAY_S = 86_400


def parts(raw: Folder, each: Each = map) -> SourceParts:
    """Read `reviews_*_5.json.gz` and `meta_*.json.gz` (or the same without `.gz`) from the folder `raw`.

    Each review is a positive recommendation event and, where its item has a query, a search event of the same time.
    Of an item's several queries, a hash of user and item chooses. Item text is category terms, title and brand, in
    lower case.

    Queries need both files, so the log is read here and its parts, one a table, carry the rows.

    Raises:
        InputError: the folder does not hold exactly one file of each kind, a file is damaged, or a line is malformed.
    """
    reviews_file = _only_file(raw, "reviews_*_5.json")
    reviews, repairs, lines = _read_reviews(reviews_file)
    asins = _sorted_ids(reviews["asin"])
    meta, meta_repairs = _read_meta(_only_file(raw, "meta_*.json"), asins)
    item_queries = _item_queries(meta)
    without_query = asins.len() - item_queries["item"].n_unique()
    repairs += [*meta_repairs, Repair("items without a query (no category path of two levels)", without_query)]
    events, texts = _interactions(reviews, asins, item_queries), _item_texts(meta)
    return SourceParts(
        interactions=(_carried(reviews_file, events, lines + events.height - reviews.height, tuple(repairs)),),
        items=(_carried(reviews_file, texts, texts.height),),
        users=(),
    )


def _carried(file: str, frame: pl.DataFrame, read: int, repairs: tuple[Repair, ...] = ()) -> Part:
    return Part(file=file, size=0, load=partial(_load, Rows(frame, repairs, read)))


def _load(rows: Rows, advance: Advance) -> Rows:
    return rows


def _only_file(raw: Folder, pattern: str) -> str:
    found = sorted(name for name in raw.sizes() if fnmatch(name, pattern) or fnmatch(name, f"{pattern}.gz"))
    if len(found) != 1:
        names = ", ".join(found) or "none"
        raise InputError(raw.place, f"expected exactly one {pattern}.gz or {pattern}, found {names}", "put one there")
    return raw.where(found[0])


def _read_reviews(file: str) -> tuple[pl.DataFrame, list[Repair], int]:
    """Reviews in the order of the file, distinct, with usable times in seconds; and how many lines there were."""
    blocks = list(read_blocks(file, _REVIEW_SCHEMA, required=tuple(_REVIEW_SCHEMA)))
    if not any(block.rows.height for block in blocks):
        raise InputError(file, "holds no reviews", "give a file with one review a line")
    rows = pl.concat([block.rows for block in blocks])
    now = int(time.time()) + _DAY_S
    usable = rows.filter(
        pl.col("unixReviewTime").is_between(0, now) & (pl.col("reviewerID") != "") & (pl.col("asin") != "")
    )
    if usable.is_empty():
        raise InputError(
            file, "no review has both ids and a unixReviewTime between 1970 and today", "give unixReviewTime in seconds"
        )
    distinct = usable.unique(maintain_order=True)
    repairs = [
        Repair("review lines that were Python literals, not JSON", sum(block.python_literals for block in blocks)),
        Repair("reviews dropped: negative or future time, or an empty id", rows.height - usable.height, drops=True),
        Repair("reviews dropped: repeats of user, item and time", usable.height - distinct.height, drops=True),
    ]
    return distinct, repairs, rows.height


def _read_meta(file: str, asins: pl.Series) -> tuple[pl.DataFrame, list[Repair]]:
    """One row per element of `asins`, in that order; null fields where the file has nothing."""
    wanted: list[pl.DataFrame] = []
    literals = 0
    for block in read_blocks(file, _META_SCHEMA, required=("asin",)):
        wanted.append(block.rows.filter(pl.col("asin").is_in(asins.implode())))
        literals += block.python_literals
    rows = pl.concat([pl.DataFrame(schema=_META_SCHEMA), *wanted])
    distinct = rows.unique("asin", keep="first", maintain_order=True)
    meta = asins.alias("asin").to_frame().join(distinct, on="asin", how="left", maintain_order="left")
    untitled = meta["title"].fill_null("").str.strip_chars().eq("").sum()
    return meta, [
        Repair("meta lines that were Python literals, not JSON", literals),
        Repair("meta lines dropped: repeats of an item", rows.height - distinct.height),
        Repair("reviewed items without a meta line", asins.len() - distinct.height),
        Repair("items without a title", int(untitled)),
    ]


def _terms(path: pl.Expr) -> pl.Expr:
    """Lower-case terms of a category path, a list of levels: no punctuation, stop words or repeats."""
    words = path.list.join(" ").str.to_lowercase().str.replace_all("['’]", "").str.extract_all(r"[\p{L}\p{N}]+")
    kept = ~pl.element().is_in(sorted(_STOP_WORDS))
    return words.list.eval(pl.element().filter(kept)).list.unique(maintain_order=True)


def _item_queries(meta: pl.DataFrame) -> pl.DataFrame:
    """(item row, query text) in the order of `meta` and of the item's paths, distinct."""
    paths = meta.with_row_index("item").select("item", path="categories").explode("path")
    long = paths.filter(pl.col("path").list.len() >= 2)
    queries = long.select("item", query=_terms(pl.col("path")).list.join(" ")).filter(pl.col("query") != "")
    return queries.unique(maintain_order=True)


def _item_texts(meta: pl.DataFrame) -> pl.DataFrame:
    flat = pl.col("categories").list.eval(pl.element().list.join(" "))
    terms = _terms(flat).list.join(" ")
    name = pl.concat_str([pl.col("title").fill_null(""), pl.col("brand").fill_null("")], separator=" ")
    name = name.str.replace_many(_ENTITIES).str.to_lowercase()
    text = pl.concat_str([terms.fill_null(""), name], separator=" ").str.replace_all(r"\s+", " ").str.strip_chars()
    return meta.select(item_id="asin", text=text)


def _interactions(reviews: pl.DataFrame, asins: pl.Series, item_queries: pl.DataFrame) -> pl.DataFrame:
    """Both events of each review, the recommendation first, in the order of the reviews."""
    item_K = item_queries["item"].to_numpy()
    user_N = reviews.select(_row_of(pl.col("reviewerID"), _sorted_ids(reviews["reviewerID"]))).to_series()
    item_N = reviews.select(_row_of(pl.col("asin"), asins)).to_series().to_numpy().astype(np.uint64)
    first_N = np.searchsorted(item_K, item_N, side="left")
    count_N = np.searchsorted(item_K, item_N, side="right") - first_N
    pair_N = user_N.to_numpy().astype(np.uint64) << np.uint64(32) | item_N
    choice_N = _mix(pair_N) % np.maximum(count_N, 1).astype(np.uint64)
    has_query_N = count_N > 0

    ordered = reviews.with_row_index("order").select(
        "order", user_id="reviewerID", item_id="asin", time=pl.col("unixReviewTime") * 1000, positive=pl.lit(True)
    )
    chosen = item_queries["query"].gather((first_N + choice_N.astype(np.int64))[has_query_N])
    both = pl.concat(
        [
            ordered.with_columns(behaviour=_code(Behaviour.RECOMMENDATION), query=pl.lit(None, pl.String)),
            ordered.filter(has_query_N).with_columns(behaviour=_code(Behaviour.SEARCH), query=chosen),
        ]
    )
    return both.sort("order", "behaviour").select("user_id", "item_id", "behaviour", "time", "query", "positive")


def _code(behaviour: Behaviour) -> pl.Expr:
    return pl.lit(int(behaviour), pl.UInt8)


def _mix(value_N: np.ndarray) -> np.ndarray:
    """Finalizer of splitmix64: a well-spread uint64 of each uint64."""
    value_N = (value_N ^ (value_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value_N = (value_N ^ (value_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value_N ^ (value_N >> np.uint64(31))


def _sorted_ids(ids: pl.Series) -> pl.Series:
    """Distinct ids, in numeric order where all are whole numbers."""
    distinct = ids.unique().sort()
    numbers = distinct.cast(pl.Int64, strict=False)
    return distinct if numbers.null_count() else distinct.gather(numbers.to_numpy().argsort(kind="stable"))


def _row_of(ids: pl.Expr, table: pl.Series) -> pl.Expr:
    return ids.replace_strict(table, pl.int_range(table.len(), dtype=pl.UInt32, eager=True), return_dtype=pl.UInt32)
