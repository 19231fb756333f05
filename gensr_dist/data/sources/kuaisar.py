"""KuaiSAR's raw CSVs (Sun et al., CIKM 2023), the plain and the small release: https://kuaisar.github.io

Item text is the English category names, general to specific, then the anonymised words of the caption: `Food Cake w12
w7`. A query is its anonymised words: `w12 w7`. Only columns that are used are required, so releases with fewer pass.
"""

from functools import partial

import polars as pl

from gensr_dist.data.events import Behaviour, Repair
from gensr_dist.data.sources.chunks import Advance, Chunk, Each
from gensr_dist.data.sources.columns import Column, parse_integer, parse_milliseconds, time_column
from gensr_dist.data.sources.ids import EXACT, MISSING
from gensr_dist.data.sources.listing import RawFile, cut_files, table_file
from gensr_dist.data.sources.parts import Sample, SourceParts
from gensr_dist.data.sources.raw_files import shown
from gensr_dist.data.sources.reading import Rows, read_chunk
from gensr_dist.data.sources.texts import clean, parse_text
from gensr_dist.data.sources.times import EXPECTED, require_exact
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

FILES = ("rec_inter.csv", "src_inter.csv", "item_features.csv", "user_features.csv")
CATEGORIES = tuple(f"{level}_level_category_name_en" for level in ("first", "second", "third", "fourth"))
NO_CATEGORY = ("", "empty", "空", "unknown", "none")  # lower case; what the releases write
_STRANGE = tuple(word for word in MISSING if word.lower() not in NO_CATEGORY)
_NO_ITEM = -1  # of a search that showed none; so are 0 and an empty field
WORD_LIST = r"^\[(?:[0-9]+(?:, ?[0-9]+)*)?\]$"
ID = "an integer of 0 or more"
WORDS = "a list of word ids such as [1, 22]"


def parse_flag(text: pl.Expr) -> pl.Expr:
    """0 or 1, to Boolean."""
    value = parse_integer(text)
    return pl.when(value <= 1).then(value == 1)


def parse_count_above_zero(text: pl.Expr) -> pl.Expr:
    """A count, to whether it is above 0."""
    return parse_integer(text) > 0


def parse_signed_integer(text: pl.Expr) -> pl.Expr:
    """Integer of either sign; `12.0` counts as 12 where floats are exact."""
    value = text.str.strip_suffix(".0").cast(pl.Int64, strict=False)
    return pl.when((value.abs() <= EXACT) | ~text.str.ends_with(".0")).then(value)


def parse_words(text: pl.Expr) -> pl.Expr:
    """`[1, 22]` to `w1 w22`, `[]` to the empty text."""
    inner = text.str.strip_chars("[]").str.replace_all(" ", "", literal=True)
    words = pl.when(inner == "").then(pl.lit("")).otherwise("w" + inner.str.replace_all(",", " w", literal=True))
    return pl.when(text.str.contains(WORD_LIST)).then(words)


def item_text() -> pl.Expr:
    """Category names without none and repeats, then the caption's words, joined by spaces."""
    none = [pl.col(name).str.to_lowercase().is_in(NO_CATEGORY) | pl.col(name).is_in(_STRANGE) for name in CATEGORIES]
    levels = [pl.when(~is_none).then(pl.col(name)) for is_none, name in zip(none, CATEGORIES, strict=True)]
    parts = []
    for depth, level in enumerate(levels):
        repeated = pl.any_horizontal(pl.lit(False), *(level == above for above in levels[:depth]))
        parts.append(pl.when(~repeated.fill_null(False)).then(level))
    caption = pl.when(pl.col("caption") != "").then(pl.col("caption"))
    return pl.concat_str(*parts, caption, separator=" ", ignore_nulls=True).fill_null("").alias("text")


def strange_categories() -> pl.Expr:
    """How many categories of an item are words for none that the releases do not write."""
    return pl.sum_horizontal(pl.col(name).is_in(_STRANGE) for name in CATEGORIES).alias("strange")


def _id_column(name: str, role: str) -> Column:
    return Column(name=name, role=role, expected=ID, parse=parse_integer, exact=True, strict=True)


_TIME = partial(time_column, role="time in milliseconds since 1970", expected=EXPECTED, parse=parse_milliseconds)
REC_COLUMNS = (
    _id_column("user_id", "user"),
    _id_column("item_id", "item"),
    _TIME("timestamp"),
    Column(name="click", role="positive", expected="0 or 1", parse=parse_flag),
)
SRC_COLUMNS = (
    _id_column("user_id", "user"),
    Column(name="item_id", role="item", expected="an integer", parse=parse_signed_integer, empty=True, exact=True),
    _TIME("search_session_timestamp"),
    Column(name="keyword", role="query", expected=WORDS, parse=parse_words, empty=True),
    Column(
        name="click_cnt",
        role="positive, if above 0",
        expected="an integer of 0 or more",
        parse=parse_count_above_zero,
        empty=True,
    ),
)
ITEM_COLUMNS = (
    _id_column("item_id", "item"),
    Column(name="caption", role="text", expected=WORDS, parse=parse_words, empty=True),
    *(Column(name=name, role="text", expected="text", parse=parse_text, empty=True) for name in CATEGORIES),
)
USER_COLUMNS = (_id_column("user_id", "user"),)


def files(raw: Folder) -> tuple[RawFile, ...]:
    """The files of the log: every shown item is an event, positive if clicked; searches that showed none are dropped.

    Raises:
        InputError: one is missing.
    """
    found = raw.sizes()
    missing = [name for name in FILES if name not in found]
    if missing:
        held = shown(", ".join(sorted(found))) or "no file"
        problem = f"the folder lacks {', '.join(missing)}, expected {', '.join(FILES)} (it holds {held})"
        raise InputError(raw.place, problem, "give the folder of a KuaiSAR release as data.raw, its files as CSV")
    recommendations, searches, items, users = (raw.where(name) for name in FILES)
    unshown = "no search showed an item, expected item_id above 0 in some rows"
    return (
        table_file(recommendations, "events", REC_COLUMNS, _recommendations),
        table_file(searches, "events", SRC_COLUMNS, _searches, unshown),
        table_file(items, "items", ITEM_COLUMNS, _items),
        table_file(users, "users", USER_COLUMNS, _users),
    )


def parts(raw: Folder, each: Each, sample: Sample) -> SourceParts:
    """See `listing.cut_files`."""
    return cut_files(files(raw), each, sample)


def _recommendations(chunk: Chunk, advance: Advance) -> Rows:
    keep = (
        pl.col("user_id"),
        pl.col("item_id"),
        pl.lit(int(Behaviour.RECOMMENDATION), dtype=pl.UInt8).alias("behaviour"),
        pl.col("timestamp").alias("time"),
        pl.lit(None, dtype=pl.String).alias("query"),
        pl.col("click").alias("positive"),
    )
    rows = read_chunk(chunk, REC_COLUMNS, keep, advance)
    require_exact(chunk.file, rows.frame["time"])
    return rows


def _searches(chunk: Chunk, advance: Advance) -> Rows:
    keep = (
        pl.col("user_id"),
        pl.when(pl.col("item_id") > 0).then(pl.col("item_id")).alias("item_id"),
        pl.lit(int(Behaviour.SEARCH), dtype=pl.UInt8).alias("behaviour"),
        pl.col("search_session_timestamp").alias("time"),
        pl.col("keyword").fill_null("").alias("query"),
        pl.col("click_cnt").fill_null(False).alias("positive"),
        pl.col("click_cnt").is_null().alias("unclear"),
        (pl.col("item_id") < _NO_ITEM).fill_null(False).alias("strange"),
    )
    rows = read_chunk(chunk, SRC_COLUMNS, keep, advance)
    require_exact(chunk.file, rows.frame["time"])
    searches = rows.frame.filter(pl.col("item_id").is_not_null())
    strange = int(rows.frame["strange"].sum())
    unshown = rows.frame.height - searches.height - strange
    dropped = Repair("searches that showed no item dropped", unshown, drops=True)
    odd = Repair(f"searches with an item_id below {_NO_ITEM} dropped", strange, drops=True)
    empty = Repair("searches with an empty query kept", int((searches["query"] == "").sum()))
    unclear = Repair("searches with an empty click_cnt read as not clicked", int(searches["unclear"].sum()))
    return Rows(searches.drop("unclear", "strange"), (*rows.repairs, dropped, odd, empty, unclear), rows.read)


def _items(chunk: Chunk, advance: Advance) -> Rows:
    rows = read_chunk(chunk, ITEM_COLUMNS, (pl.col("item_id"), item_text(), strange_categories()), advance)
    texts, repairs = clean(rows.frame["text"], "texts of items")
    strange = Repair("categories that are NULL, nan or the like left out", int(rows.frame["strange"].sum()))
    return Rows(rows.frame.drop("strange").with_columns(texts), (*rows.repairs, *repairs, strange), rows.read)


def _users(chunk: Chunk, advance: Advance) -> Rows:
    return read_chunk(chunk, USER_COLUMNS, advance=advance)
