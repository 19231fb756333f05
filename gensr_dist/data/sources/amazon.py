"""Amazon reviews in McAuley's file format (2014), with queries made from category paths.

A query of an item is one of its category paths of two or more levels, general to specific, as lower-case terms without
punctuation, stop words and repeats (Ai et al. 2017, after Van Gysel et al. 2016).
"""

import time
from pathlib import Path

import numpy as np
import polars as pl

from gensr_dist.data.events import EVENT_SCHEMA, ITEM_SCHEMA, QUERY_SCHEMA, USER_SCHEMA, Behaviour, EventLog, Repair
from gensr_dist.data.sources.json_lines import read_blocks
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


def read(raw: Path) -> EventLog:
    """Read `reviews_*_5.json.gz` and `meta_*.json.gz` (or the same without `.gz`) from the folder `raw`.

    Each review is a positive recommendation event and, where its item has a query, a search event of the same time.
    Of an item's several queries, a hash of user and item chooses. Item text is category terms, title and brand, in
    lower case.

    Raises:
        InputError: the folder does not hold exactly one file of each kind, a file is damaged, or a line is malformed.
    """
    reviews_path = _only_file(raw, "reviews_*_5.json")
    meta_path = _only_file(raw, "meta_*.json")
    reviews, repairs = _read_reviews(reviews_path)
    users = _sorted_ids(reviews["reviewerID"])
    asins = _sorted_ids(reviews["asin"])
    meta, meta_repairs = _read_meta(meta_path, asins)

    item_queries = _item_queries(meta)
    queries = item_queries["query"].unique().sort()
    interactions = reviews.select(
        user=_row_of(pl.col("reviewerID"), users),
        item=_row_of(pl.col("asin"), asins),
        time=pl.col("unixReviewTime") * 1000,
    )
    without_query = asins.len() - item_queries["item"].n_unique()
    repairs += [*meta_repairs, Repair("items without a query (no category path of two levels)", without_query)]
    return EventLog(
        users=pl.DataFrame({"user_id": users}, schema=USER_SCHEMA),
        items=_item_texts(meta).cast(ITEM_SCHEMA),
        queries=pl.DataFrame({"text": queries}, schema=QUERY_SCHEMA),
        events=_events(interactions, item_queries, queries),
        repairs=tuple(repair for repair in repairs if repair.count),
    )


def _only_file(raw: Path, pattern: str) -> Path:
    if not raw.is_dir():
        raise InputError(raw, "is not a folder", "give the folder of the McAuley files as data.raw")
    found = sorted(path for name in (pattern, f"{pattern}.gz") for path in raw.glob(name) if path.is_file())
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(raw, f"expected exactly one {pattern}.gz or {pattern}, found {names}", "put one there")
    return found[0]


def _read_reviews(path: Path) -> tuple[pl.DataFrame, list[Repair]]:
    """Reviews in the order of the file, distinct, with usable times in seconds."""
    blocks = list(read_blocks(path, _REVIEW_SCHEMA, required=tuple(_REVIEW_SCHEMA)))
    if not any(block.rows.height for block in blocks):
        raise InputError(path, "holds no reviews", "give a file with one review a line")
    rows = pl.concat([block.rows for block in blocks])
    now = int(time.time()) + _DAY_S
    usable = rows.filter(
        pl.col("unixReviewTime").is_between(0, now) & (pl.col("reviewerID") != "") & (pl.col("asin") != "")
    )
    if usable.is_empty():
        raise InputError(
            path, "no review has both ids and a unixReviewTime between 1970 and today", "give unixReviewTime in seconds"
        )
    distinct = usable.unique(maintain_order=True)
    return distinct, [
        Repair("review lines that were Python literals, not JSON", sum(block.python_literals for block in blocks)),
        Repair("reviews dropped: negative or future time, or an empty id", rows.height - usable.height),
        Repair("reviews dropped: repeats of user, item and time", usable.height - distinct.height),
    ]


def _read_meta(path: Path, asins: pl.Series) -> tuple[pl.DataFrame, list[Repair]]:
    """One row per element of `asins`, in that order; null fields where the file has nothing."""
    wanted: list[pl.DataFrame] = []
    literals = 0
    for block in read_blocks(path, _META_SCHEMA, required=("asin",)):
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


def _events(interactions: pl.DataFrame, item_queries: pl.DataFrame, queries: pl.Series) -> pl.DataFrame:
    """Both events of each interaction, the recommendation first, in the order of the interactions."""
    query_row_K = item_queries.select(_row_of(pl.col("query"), queries))["query"].to_numpy()
    item_K = item_queries["item"].to_numpy()
    user_N, item_N = (interactions[name].to_numpy().astype(np.uint64) for name in ("user", "item"))
    first_N = np.searchsorted(item_K, item_N, side="left")
    count_N = np.searchsorted(item_K, item_N, side="right") - first_N
    has_query_N = count_N > 0
    choice_N = _mix(user_N << np.uint64(32) | item_N) % np.maximum(count_N, 1).astype(np.uint64)
    query_N = np.full(len(item_N), -1, dtype=np.int32)
    query_N[has_query_N] = query_row_K[(first_N + choice_N.astype(np.int64))[has_query_N]]

    ordered = interactions.with_row_index("order").with_columns(positive=pl.lit(True))
    both = pl.concat(
        [
            ordered.with_columns(behaviour=pl.lit(int(Behaviour.RECOMMENDATION)), query=pl.lit(-1)),
            ordered.with_columns(behaviour=pl.lit(int(Behaviour.SEARCH)), query=pl.Series(query_N)).filter(has_query_N),
        ],
        how="vertical_relaxed",
    )
    return both.sort("order", "behaviour").select(pl.col(name).cast(dtype) for name, dtype in EVENT_SCHEMA.items())


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
