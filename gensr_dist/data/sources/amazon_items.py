"""Items of Amazon's meta files: their texts, and queries made from their category paths.

A query of an item is one of its category paths of two or more levels, general to specific, as lower-case terms without
punctuation, stop words and repeats (Ai et al. 2017, after Van Gysel et al. 2016).
"""

import polars as pl

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.amazon_releases import PATH, Release
from gensr_dist.data.sources.ids import parse_id, require_known
from gensr_dist.data.sources.json_lines import read_blocks
from gensr_dist.data.sources.texts import (
    MARKUP,
    count_none_words,
    decode_and_compose,
    parse_text,
    replace_controls,
    without_markup,
)
from gensr_dist.errors import InputError

_WRITTEN = "titles, brands and levels of categories"
_SCRIPT = "(new Date()).getTime()"  # in titles of 2018, which were taken from pages
_STOP_WORDS = frozenset(
    """
    a about above after all an and any are as at be been before below between but by can could did do does down
    for from had has have he her here his how if in into is it its more most no nor not of off on once only or
    other our out over own per same she so some such than that the their them then there these they this those
    through to too under until up very was we were what when where which while who whom why will with you your
    """.split()  # noqa: SIM905  one word a line would fill two pages
)


def read_meta(file: str, release: Release, asins: pl.Series) -> tuple[pl.DataFrame, list[Repair], frozenset[str]]:
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
    repairs = [
        Repair("meta lines that were Python literals, not JSON", literals),
        Repair("meta lines dropped: repeats of an item", rows.height - distinct.height),
        Repair("reviewed items without a meta line", len(unknown)),
    ]
    cleaned, more = _cleaned(meta)
    return cleaned, repairs + more, frozenset(unknown)


def _cleaned(meta: pl.DataFrame) -> tuple[pl.DataFrame, list[Repair]]:
    """Without what web pages are written in, which the releases took with titles and categories."""
    levels = meta["categories"].explode().explode()
    visible, controls = replace_controls(levels, "levels of categories")
    (titles, repairs), (brands, more), (plain, most) = (
        decode_and_compose(texts, _WRITTEN) for texts in (meta["title"], meta["brand"], visible)
    )
    scripts = titles.str.contains(_SCRIPT, literal=True).fill_null(False)
    (titles, marked), (brands, others) = without_markup(titles.set(scripts, "")), without_markup(brands)
    marked += others + int(plain.str.contains(MARKUP).sum())
    changed = plain != levels
    level = pl.element().replace(dict(zip(levels.filter(changed), plain.filter(changed), strict=True)))
    level = level.str.replace_all(MARKUP, " ")
    path = pl.element().list.eval(level.filter(level.str.contains(r"\S")))
    meta = meta.with_columns(titles, brands, pl.col("categories").list.eval(path))
    untitled, unbranded = (int(each.fill_null("").str.strip_chars().eq("").sum()) for each in (titles, brands))
    return meta, [
        controls,
        *repairs,
        *more,
        *most,
        Repair(f"{_WRITTEN} with HTML tags removed", marked),
        Repair("titles left out that are the script of a page", int(scripts.sum())),
        Repair("items without a title", untitled),
        Repair("items without a brand or store", unbranded),
        count_none_words(pl.concat([titles, brands]), "titles and brands"),
    ]


def _paths(rows: pl.DataFrame, release: Release) -> pl.Series:
    """The category paths of each meta line; null where it has none of the fields."""
    found = []
    for name, dtype in release.paths.items():
        paths = rows[name]
        if dtype == PATH:
            of_one = pl.DataFrame({"path": paths}).with_row_index().group_by("index", maintain_order=True).agg("path")
            paths = of_one.select(pl.when(paths.is_not_null()).then("path").alias(name))[name]
        found.append(paths)
    return pl.select(pl.coalesce(found).alias("categories"))["categories"]


def _terms(path: pl.Expr) -> pl.Expr:
    """Lower-case terms of a category path, a list of levels: no punctuation, stop words or repeats."""
    words = path.list.join(" ").str.to_lowercase().str.replace_all("['’]", "").str.extract_all(r"[\p{L}\p{N}]+")
    kept = ~pl.element().is_in(sorted(_STOP_WORDS))
    return words.list.eval(pl.element().filter(kept)).list.unique(maintain_order=True)


def item_queries(meta: pl.DataFrame) -> pl.DataFrame:
    """(item row, query text) in the order of `meta` and of the item's paths, distinct."""
    paths = meta.with_row_index("item").select("item", path="categories").explode("path")
    long = paths.filter(pl.col("path").list.len() >= 2)
    queries = long.select("item", query=_terms(pl.col("path")).list.join(" ")).filter(pl.col("query") != "")
    return queries.unique(maintain_order=True)


def item_texts(meta: pl.DataFrame) -> pl.DataFrame:
    """(item_id, text) in the order of `meta`: terms of all categories, title, brand; in lower case."""
    flat = pl.col("categories").list.eval(pl.element().list.join(" "))
    terms = _terms(flat).list.join(" ")
    name = pl.concat_str([pl.col("title").fill_null(""), pl.col("brand").fill_null("")], separator=" ")
    name = name.str.to_lowercase()
    return meta.select(item_id="asin", text=parse_text(pl.concat_str([terms.fill_null(""), name], separator=" ")))
