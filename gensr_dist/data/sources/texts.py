"""Texts as people's programs write them: HTML entities and tags, and words too long to be words."""

import html
from dataclasses import replace

import polars as pl

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.ids import DECOMPOSED, MISSING

LONGEST_WORD = 500  # characters: more than a sentence of Chinese; a tokenizer's time grows with the square
_BREAKS = r"\x0b\x0c\x85\u2028\u2029"  # white space that no keyboard has
_CONTROL = rf"[\x00-\x08{_BREAKS}\x0e-\x1f\x7f\ufeff]"
_UNSEEN = r"[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069]"  # without width
_ODD = rf"{_CONTROL}|{_UNSEEN}|{DECOMPOSED}|&"
MARKUP = r"(?i)</?(?:a|b|br|div|em|font|h[1-6]|i|img|li|p|span|strong|table|td|tr|u|ul)(?:\s[^<>]*)?/?>"
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"


def parse_text(text: pl.Expr) -> pl.Expr:
    """Text on one line, without surrounding space; `replace_controls` counts its strange breaks."""
    return text.str.replace_all(rf"[\s--[{_BREAKS}]]+", " ").str.strip_chars()


def clean(texts: pl.Series, what: str) -> tuple[pl.Series, tuple[Repair, ...]]:
    """Replace control characters, decode entities once, drop what cannot be seen, compose letters and cut long words;
    count all, and words for none.

    Args:
        texts: as `parse_text` gives them; null for none.
        what: they are, for the counts.
    """
    repairs: tuple[Repair, ...] = ()
    if texts.str.contains(_ODD).any():  # one look for all of them: most logs have none
        texts, controls = replace_controls(texts, what)
        texts, others = decode_and_compose(texts, what)
        repairs = controls, *others
    shortened, cut = shorten(texts, what)
    return shortened, (*repairs, cut, count_none_words(texts, what))


def decode_and_compose(texts: pl.Series, what: str) -> tuple[pl.Series, tuple[Repair, ...]]:
    """Decode entities once, drop what cannot be seen, and compose letters; count all three."""
    decoded, changed = decode(texts)
    seen, unseen = drop_unseen(decoded, what)
    whole, composed = compose(seen, what)
    return whole, (Repair(f"{what} with HTML entities decoded", changed), unseen, composed)


def replace_controls(texts: pl.Series, what: str) -> tuple[pl.Series, Repair]:
    """Put blanks in place of zero bytes, control characters and byte order marks, and count the texts."""
    found = texts.str.contains(_CONTROL).fill_null(False)
    repair = Repair(f"{what} with control characters, which became blanks", int(found.sum()))
    return parse_text_of(texts.str.replace_all(_CONTROL, " ")) if repair.count else texts, repair


def drop_unseen(texts: pl.Series, what: str) -> tuple[pl.Series, Repair]:
    """Drop characters without width but the joiners that emoji and Persian need, and count the texts.

    What looks like one query would else be two.
    """
    found = texts.str.contains(_UNSEEN).fill_null(False)
    repair = Repair(f"{what} with characters that cannot be seen, which were dropped", int(found.sum()))
    return parse_text_of(texts.str.replace_all(_UNSEEN, "")) if repair.count else texts, repair


def compose(texts: pl.Series, what: str) -> tuple[pl.Series, Repair]:
    """Put one character in place of a letter and its marks (Unicode's NFC), as most programs write it; count the texts.

    Two ways to write a query would else be two queries.
    """
    found = texts.str.contains(DECOMPOSED).any()
    composed = texts.str.normalize("NFC") if found else texts
    return composed, Repair(f"{what} with letters and marks apart, which were composed", int((composed != texts).sum()))


def count_none_words(texts: pl.Series, what: str) -> Repair:
    """Count the texts that are no more than a program's word for no value; people search for `null` too."""
    return Repair(f"{what} that are NULL, nan or the like kept", int(texts.is_in(MISSING).sum()))


def decode(texts: pl.Series) -> tuple[pl.Series, int]:
    """Decode the HTML entities of texts; also gives how many texts had some."""
    characters = entities(texts)
    if not characters:
        return texts, 0
    decoded = parse_text_of(texts.str.replace_many(characters, leftmost=True))
    return decoded, int((decoded != texts).sum())


def without_markup(texts: pl.Series) -> tuple[pl.Series, int]:
    """Put blanks in place of the HTML tags of texts; also gives how many texts had some."""
    count = int(texts.str.contains(MARKUP).sum())
    return (parse_text_of(texts.str.replace_all(MARKUP, " ")), count) if count else (texts, 0)


def parse_text_of(texts: pl.Series) -> pl.Series:
    """`parse_text` of a series."""
    return texts.to_frame("text").select(parse_text(pl.col("text")).alias(texts.name)).to_series()


def entities(texts: pl.Series) -> dict[str, str]:
    """The distinct entities in texts and the characters that they stand for."""
    suspects = texts.filter(texts.str.contains("&", literal=True).fill_null(False))
    if suspects.is_empty():
        return {}
    found = suspects.str.extract_all(_ENTITY).explode().drop_nulls().unique().sort()
    return {entity: character for entity in found if (character := html.unescape(entity)) != entity}


def shorten(texts: pl.Series, what: str) -> tuple[pl.Series, Repair]:
    """Cut the words that are longer than LONGEST_WORD, and count them."""
    repair = Repair(f"words of {what} over {LONGEST_WORD} characters cut", 0)
    row = (texts.str.len_chars() > LONGEST_WORD).arg_true()
    if row.is_empty():
        return texts, repair
    words = pl.DataFrame({"row": row, "word": texts.gather(row).str.split(" ")}).explode("word")
    longer = words["word"].str.len_chars() > LONGEST_WORD
    if not longer.any():
        return texts, repair
    cut = words.with_columns(pl.col("word").str.slice(0, LONGEST_WORD)).group_by("row", maintain_order=True)
    shortened = cut.agg(pl.col("word").str.join(" "))
    return texts.scatter(shortened["row"], shortened["word"]), replace(repair, count=int(longer.sum()))
