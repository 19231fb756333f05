"""Amazon reviews in McAuley's file formats (2014, 2018, 2023): what was bought, and searches by category paths.

Dimensions: N reviews, K pairs of an item and a query.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from gensr_dist.data.events import Behaviour, Repair
from gensr_dist.data.hashing import mix
from gensr_dist.data.sources.amazon_items import item_queries, item_texts, read_meta
from gensr_dist.data.sources.amazon_releases import META_FILES, PATHS, REVIEW_FILES, Release, find_files
from gensr_dist.data.sources.chunks import Advance, Each
from gensr_dist.data.sources.ids import FIXED, explain_id, id_order, is_decimal, parse_id, revealed
from gensr_dist.data.sources.json_lines import JsonBlock, read_blocks
from gensr_dist.data.sources.listing import RawFile, Use, json_file
from gensr_dist.data.sources.parts import Part, Sample, SourceParts
from gensr_dist.data.sources.raw_files import abridged
from gensr_dist.data.sources.reading import Rows
from gensr_dist.data.sources.texts import replace_controls, shorten
from gensr_dist.data.sources.times import EARLIEST_MS, explain_time, latest_time
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

FILES = tuple(f"{name}{packed}" for name in (*REVIEW_FILES, *META_FILES) for packed in ("", ".gz"))
_MS = {"seconds": 1000, "milliseconds": 1}


def files(raw: Folder) -> tuple[RawFile, ...]:
    """The files that `parts` reads.

    Raises:
        InputError: the folder does not hold exactly one file of each kind.
    """
    reviews_file, meta_file, release = find_files(raw)
    review_uses = (
        Use(release.user, "user"),
        Use(release.item, "item"),
        Use(release.time, f"time in {release.unit} since 1970"),
    )
    meta_uses = (
        Use(release.meta_item, "item"),
        Use("title", "text", required=False),
        Use(release.brand, "text", required=False),
        *(Use(name, "text and queries", required=False) for name in release.paths),
    )
    alone = partial(_recommendations, reviews_file, release)
    return json_file(reviews_file, "events", review_uses, alone), json_file(meta_file, "items", meta_uses)


def parts(raw: Folder, each: Each, sample: Sample) -> SourceParts:
    """Read one file of reviews and one of meta lines from the folder `raw`, each with or without `.gz`.

    2014: `reviews_*_5.json` and `meta_*.json`; 2018: `*_5.json` and `meta_*.json`; 2023: `*.jsonl` and `meta_*.jsonl`.

    Each review is a positive recommendation event and, where its item has a query, a search event of the same time.
    Of an item's several queries, a hash of user and item chooses. Item text is category terms, title and brand, in
    lower case.

    Queries need both files, so the log is read here and its parts, one a table, carry the rows. A sample is the
    beginning of the reviews, with all meta lines.

    Raises:
        InputError: the folder does not hold exactly one file of each kind, a file is damaged, or a line is malformed.
    """
    reviews_file, meta_file, release = find_files(raw)
    reviews, repairs, lines = _read_reviews(reviews_file, release, sample.bytes_of(reviews_file))
    asins = _sorted_ids(reviews["asin"])
    meta, meta_repairs, unlisted = read_meta(meta_file, release, asins)
    queries = item_queries(meta)
    without_query = asins.len() - queries["item"].n_unique()
    repairs += [*meta_repairs, Repair("items without a query (no category path of two levels)", without_query)]
    events, texts = _interactions(reviews, asins, queries), item_texts(meta)
    visible, controls = replace_controls(texts["text"], "texts of items")
    shortened, cut = shorten(visible, "texts of items")
    texts = texts.with_columns(shortened)
    repairs += [controls, cut]
    part = _carried(reviews_file, events, lines + events.height - reviews.height, tuple(repairs))
    return SourceParts(
        interactions=(replace(part, sampled=sample.share(reviews_file) < 1),),
        items=(_carried(meta_file, texts, texts.height),),
        users=(),
        unlisted=unlisted,
    )


def _recommendations(file: str, release: Release, most: int) -> Rows:
    """The recommendation events of the reviews, which need no meta lines."""
    reviews, repairs, lines = _read_reviews(file, release, most)
    none = item_queries(pl.DataFrame(schema={"categories": PATHS}))
    events = _interactions(reviews, _sorted_ids(reviews["asin"]), none)
    return Rows(events, tuple(repairs), lines)


def _carried(file: str, frame: pl.DataFrame, read: int, repairs: tuple[Repair, ...] = ()) -> Part:
    return Part(file=file, size=0, load=partial(_load, Rows(frame, repairs, read)))


def _load(rows: Rows, advance: Advance) -> Rows:
    return rows


def _read_reviews(file: str, release: Release, most: int) -> tuple[pl.DataFrame, list[Repair], int]:
    """Reviews (reviewerID, asin, time in ms) in the order of the file, distinct; and how many lines there were."""
    schema: dict[str, pl.DataType] = {release.user: pl.String(), release.item: pl.String(), release.time: pl.Int64()}
    rows: list[pl.DataFrame] = []
    literals = 0
    for block in read_blocks(file, schema, required=tuple(schema), most=most):
        _require_unit(file, block, release)
        rows.append(block.rows)
        literals += block.python_literals
    if not sum(frame.height for frame in rows):
        raise InputError(file, "holds no reviews", "give a file with one review a line")
    lines = pl.concat(rows)
    user, item = parse_id(pl.col(release.user)), parse_id(pl.col(release.item))
    in_unit = pl.col(release.time).is_between(EARLIEST_MS // _MS[release.unit], latest_time() // _MS[release.unit])
    usable = lines.filter(in_unit & user.is_not_null() & item.is_not_null()).select(
        reviewerID=user, asin=item, time=pl.col(release.time) * _MS[release.unit]
    )
    if usable.is_empty():
        raise _no_review(file, release, lines, {release.time: in_unit, release.user: user, release.item: item})
    distinct = usable.unique(maintain_order=True)
    unusable, repeats = lines.height - usable.height, usable.height - distinct.height
    repairs = [
        Repair("review lines that were Python literals, not JSON", literals),
        *(_decimals(lines[name]) for name in (release.user, release.item)),
        Repair("reviews dropped: negative or future time, or what is no id", unusable, drops=True),
        Repair("reviews dropped: repeats of user, item and time", repeats, drops=True),
    ]
    return distinct, repairs, lines.height


def _no_review(file: str, release: Release, lines: pl.DataFrame, values: Mapping[str, pl.Expr]) -> InputError:
    """What is wrong with reviews of which none is usable; `values` of its fields are null or false where unusable."""
    good = lines.select((value.is_not_null() if name != release.time else value) for name, value in values.items())
    wanted = {
        release.time: f"a time ({release.time}) between 1990 and today",
        release.user: f"a user ({release.user}) that is an id",
        release.item: f"an item ({release.item}) that is an id",
    }
    lacking = [name for name in values if not good[name].any()]
    if not lacking:
        counts = ", ".join(f"{int(good[name].sum()):,} have {wanted[name]}" for name in values)
        return InputError(
            file, f"no review has time, user and item: of {lines.height:,}, {counts}", "correct the others"
        )
    found = lines[lacking[0]][0]
    if lacking[0] == release.time:
        shown, remedy = str(found), f"give {release.time} in {release.unit}"
    else:
        shown, remedy = f"{revealed(abridged(found))}{explain_id(found)}", f"correct {lacking[0]} of all reviews"
    problem = f"no review has {' or '.join(wanted[name] for name in lacking)}, the first is {shown}"
    return InputError(file, problem, remedy)


def _decimals(ids: pl.Series) -> Repair:
    count = ids.to_frame().select(is_decimal(pl.col(ids.name))).to_series().sum()
    return Repair(f"{ids.name} of reviews {FIXED}", int(count))


def _require_unit(file: str, block: JsonBlock, release: Release) -> None:
    """Refuse times that are plausible in another unit than the release's."""
    times = block.rows[release.time]
    low, high = (limit // _MS[release.unit] for limit in (EARLIEST_MS, latest_time()))
    for value in times.filter(~times.is_between(low, high)).unique(maintain_order=True):
        if why := explain_time(str(value), release.unit):
            problem = f"{release.time} is {value}{why}, expected {release.unit} since 1970"
            where = f"{file}:{block.line((times == value).arg_true()[0])}"
            raise InputError(where, problem, f"write all times in {release.unit}")


def _interactions(reviews: pl.DataFrame, asins: pl.Series, queries: pl.DataFrame) -> pl.DataFrame:
    """Both events of each review, the recommendation first, in the order of the reviews."""
    item_K = queries["item"].to_numpy()
    user_N = reviews.select(_row_of(pl.col("reviewerID"), _sorted_ids(reviews["reviewerID"]))).to_series()
    item_N = reviews.select(_row_of(pl.col("asin"), asins)).to_series().to_numpy().astype(np.uint64)
    first_N = np.searchsorted(item_K, item_N, side="left")
    count_N = np.searchsorted(item_K, item_N, side="right") - first_N
    pair_N = user_N.to_numpy().astype(np.uint64) << np.uint64(32) | item_N
    choice_N = mix(pair_N) % np.maximum(count_N, 1).astype(np.uint64)
    has_query_N = count_N > 0

    ordered = reviews.with_row_index("order").select(
        "order", user_id="reviewerID", item_id="asin", time="time", positive=pl.lit(True)
    )
    chosen = queries["query"].gather((first_N + choice_N.astype(np.int64))[has_query_N])
    both = pl.concat(
        [
            ordered.with_columns(behaviour=_code(Behaviour.RECOMMENDATION), query=pl.lit(None, pl.String)),
            ordered.filter(has_query_N).with_columns(behaviour=_code(Behaviour.SEARCH), query=chosen),
        ]
    )
    return both.sort("order", "behaviour").select("user_id", "item_id", "behaviour", "time", "query", "positive")


def _code(behaviour: Behaviour) -> pl.Expr:
    return pl.lit(int(behaviour), pl.UInt8)


def _sorted_ids(ids: pl.Series) -> pl.Series:
    """Distinct ids, in numeric order where all are whole numbers."""
    distinct = ids.unique()
    return distinct.to_frame().sort(id_order(distinct)).to_series()


def _row_of(ids: pl.Expr, table: pl.Series) -> pl.Expr:
    return ids.replace_strict(table, pl.int_range(table.len(), dtype=pl.UInt32, eager=True), return_dtype=pl.UInt32)
