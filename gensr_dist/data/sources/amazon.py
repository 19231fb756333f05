"""Amazon reviews in McAuley's file formats (2014, 2018, 2023), with queries made from category paths.

A query of an item is one of its category paths of two or more levels, general to specific, as lower-case terms without
punctuation, stop words and repeats (Ai et al. 2017, after Van Gysel et al. 2016).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from gensr_dist.data.events import Behaviour, Repair
from gensr_dist.data.hashing import mix
from gensr_dist.data.sources.chunks import Advance
from gensr_dist.data.sources.ids import FIXED, id_order, is_decimal, parse_id, require_known
from gensr_dist.data.sources.json_lines import read_blocks
from gensr_dist.data.sources.listing import RawFile, Use, json_file
from gensr_dist.data.sources.parts import WHOLE, Part, Sample, SourceParts
from gensr_dist.data.sources.reading import Rows
from gensr_dist.data.sources.texts import count_none_words, decode, entities, replace_controls, shorten
from gensr_dist.data.sources.times import EARLIEST_MS, explain_time, latest_time
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

_PATH, _PATHS = pl.List(pl.String()), pl.List(pl.List(pl.String()))


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
    paths={"categories": _PATHS, "category": _PATH},
)
OF_2023 = Release(
    user="user_id",
    item="parent_asin",
    time="timestamp",
    unit="milliseconds",
    meta_item="parent_asin",
    brand="store",
    paths={"categories": _PATH},
)
REVIEW_FILES = ("reviews_*_5.json", "*_5.json", "*.jsonl")
META_FILES = ("meta_*.json", "meta_*.jsonl")
_MS = {"seconds": 1000, "milliseconds": 1}
_STOP_WORDS = frozenset(
    """
    a about above after all an and any are as at be been before below between but by can could did do does down
    for from had has have he her here his how if in into is it its more most no nor not of off on once only or
    other our out over own per same she so some such than that the their them then there these they this those
    through to too under until up very was we were what when where which while who whom why will with you your
    """.split()  # noqa: SIM905  one word a line would fill two pages
)


def files(raw: Folder) -> tuple[RawFile, ...]:
    """The files that `parts` reads.

    Raises:
        InputError: the folder does not hold exactly one file of each kind.
    """
    reviews_file, meta_file, release = _files(raw)
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


def parts(raw: Folder, sample: Sample = WHOLE) -> SourceParts:
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
    reviews_file, meta_file, release = _files(raw)
    reviews, repairs, lines = _read_reviews(reviews_file, release, sample.bytes_of(reviews_file))
    asins = _sorted_ids(reviews["asin"])
    meta, meta_repairs, unlisted = _read_meta(meta_file, release, asins)
    item_queries = _item_queries(meta)
    without_query = asins.len() - item_queries["item"].n_unique()
    repairs += [*meta_repairs, Repair("items without a query (no category path of two levels)", without_query)]
    events, texts = _interactions(reviews, asins, item_queries), _item_texts(meta)
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


def _files(raw: Folder) -> tuple[str, str, Release]:
    """Paths or URLs of reviews and meta lines, and how they are written."""
    reviews_file, meta_file = _only_file(raw, REVIEW_FILES), _only_file(raw, META_FILES)
    return reviews_file, meta_file, OF_2023 if reviews_file.removesuffix(".gz").endswith(".jsonl") else OF_2014_AND_2018


def _recommendations(file: str, release: Release, most: int) -> Rows:
    """The recommendation events of the reviews, which need no meta lines."""
    reviews, repairs, lines = _read_reviews(file, release, most)
    none = _item_queries(pl.DataFrame(schema={"categories": _PATHS}))
    events = _interactions(reviews, _sorted_ids(reviews["asin"]), none)
    return Rows(events, tuple(repairs), lines)


def _carried(file: str, frame: pl.DataFrame, read: int, repairs: tuple[Repair, ...] = ()) -> Part:
    return Part(file=file, size=0, load=partial(_load, Rows(frame, repairs, read)))


def _load(rows: Rows, advance: Advance) -> Rows:
    return rows


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
    raise InputError(raw.place, f"expected exactly one {expected}, found {names}", "put one there")


def _read_reviews(file: str, release: Release, most: int) -> tuple[pl.DataFrame, list[Repair], int]:
    """Reviews (reviewerID, asin, time in ms) in the order of the file, distinct; and how many lines there were."""
    schema: dict[str, pl.DataType] = {release.user: pl.String(), release.item: pl.String(), release.time: pl.Int64()}
    rows: list[pl.DataFrame] = []
    literals = 0
    for block in read_blocks(file, schema, required=tuple(schema), most=most):
        _require_unit(file, block.rows[release.time], release)
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
        problem = f"no review has both ids and a {release.time} between 1990 and today"
        raise InputError(file, problem, f"give {release.time} in {release.unit}")
    distinct = usable.unique(maintain_order=True)
    unusable, repeats = lines.height - usable.height, usable.height - distinct.height
    repairs = [
        Repair("review lines that were Python literals, not JSON", literals),
        *(_decimals(lines[name]) for name in (release.user, release.item)),
        Repair("reviews dropped: negative or future time, or what is no id", unusable, drops=True),
        Repair("reviews dropped: repeats of user, item and time", repeats, drops=True),
    ]
    return distinct, repairs, lines.height


def _decimals(ids: pl.Series) -> Repair:
    count = ids.to_frame().select(is_decimal(pl.col(ids.name))).to_series().sum()
    return Repair(f"{ids.name} of reviews {FIXED}", int(count))


def _require_unit(file: str, times: pl.Series, release: Release) -> None:
    """Refuse times that are plausible in another unit than the release's."""
    low, high = (limit // _MS[release.unit] for limit in (EARLIEST_MS, latest_time()))
    for value in times.filter(~times.is_between(low, high)).unique().sort():
        if why := explain_time(str(value), release.unit):
            problem = f"{release.time} is {value}{why}, expected {release.unit} since 1970"
            raise InputError(file, problem, f"write all times in {release.unit}")


def _read_meta(file: str, release: Release, asins: pl.Series) -> tuple[pl.DataFrame, list[Repair], frozenset[str]]:
    """(asin, title, brand, categories: a list of paths), a row per element of `asins`; null where nothing is known.

    Also what was fixed, and the ids that no line has.
    """
    schema: dict[str, pl.DataType] = {
        release.meta_item: pl.String(),
        "title": pl.String(),
        release.brand: pl.String(),
        **release.paths,
    }
    wanted = [pl.DataFrame(schema=schema)]
    literals = 0
    listed = [pl.Series(dtype=pl.String)]
    for block in read_blocks(file, schema, required=(release.meta_item,)):
        lines = block.rows.with_columns(parse_id(pl.col(release.meta_item)))
        items = lines[release.meta_item]
        listed.append(items.drop_nulls().unique())
        wanted.append(lines.filter(items.is_in(asins.implode())))
        literals += block.python_literals
    rows = pl.concat(wanted)
    rows = rows.select(
        _paths(rows, release), asin=pl.col(release.meta_item), title=pl.col("title"), brand=pl.col(release.brand)
    )
    distinct = rows.unique("asin", keep="first", maintain_order=True)
    unknown = asins.filter(~asins.is_in(distinct["asin"].implode()))
    if not sum(map(len, listed)):
        raise InputError(file, "holds no items", "give a file with one item a line")
    require_known(asins, pl.concat(listed).unique(), unknown, "items")
    if distinct["categories"].null_count() == distinct.height:
        problem = f"no line of a reviewed item has {' or '.join(release.paths)}"
        raise InputError(file, problem, "give the meta file of the release of 2014, 2018 or 2023")
    meta = asins.alias("asin").to_frame().join(distinct, on="asin", how="left", maintain_order="left")
    (titles, decoded), (brands, more) = decode(meta["title"]), decode(meta["brand"])
    meta = meta.with_columns(titles, brands)
    if characters := entities(meta["categories"].explode().explode()):
        level = pl.element().str.replace_many(characters, leftmost=True)
        meta = meta.with_columns(pl.col("categories").list.eval(pl.element().list.eval(level)))
    untitled, unbranded = (int(meta[name].fill_null("").str.strip_chars().eq("").sum()) for name in ("title", "brand"))
    names = pl.concat([meta["title"], meta["brand"]])
    repairs = [
        Repair("meta lines that were Python literals, not JSON", literals),
        Repair("meta lines dropped: repeats of an item", rows.height - distinct.height),
        Repair("reviewed items without a meta line", len(unknown)),
        Repair("titles and brands with HTML entities decoded", decoded + more),
        Repair("items without a title", untitled),
        Repair("items without a brand or store", unbranded),
        count_none_words(names, "titles and brands"),
    ]
    return meta, repairs, frozenset(unknown)


def _paths(rows: pl.DataFrame, release: Release) -> pl.Series:
    """The category paths of each meta line; null where it has none of the fields."""
    found = []
    for name, dtype in release.paths.items():
        paths = rows[name]
        if dtype == _PATH:
            of_one = pl.DataFrame({"path": paths}).with_row_index().group_by("index", maintain_order=True).agg("path")
            paths = of_one.select(pl.when(paths.is_not_null()).then("path").alias(name))[name]
        found.append(paths)
    return pl.select(pl.coalesce(found).alias("categories"))["categories"]


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
    name = name.str.to_lowercase()
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
    choice_N = mix(pair_N) % np.maximum(count_N, 1).astype(np.uint64)
    has_query_N = count_N > 0

    ordered = reviews.with_row_index("order").select(
        "order", user_id="reviewerID", item_id="asin", time="time", positive=pl.lit(True)
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


def _sorted_ids(ids: pl.Series) -> pl.Series:
    """Distinct ids, in numeric order where all are whole numbers."""
    distinct = ids.unique()
    return distinct.to_frame().sort(id_order(distinct)).to_series()


def _row_of(ids: pl.Expr, table: pl.Series) -> pl.Expr:
    return ids.replace_strict(table, pl.int_range(table.len(), dtype=pl.UInt32, eager=True), return_dtype=pl.UInt32)
