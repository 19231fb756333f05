"""Accidents to how a valid table is written: quotes, encodings, line ends, headers, fields, texts."""

import base64
import gzip
import html
import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from random import Random

import polars as pl

from .nasty_logs import Table, cell_text, csv_text, parquet
from .nasty_values import NONE_WORDS, Accident, changed, some_rows


def of_bytes(change: Callable[[Random, bytes], bytes]) -> Accident:
    """An accident to the bytes of a file, before it is zipped."""
    return lambda rng, table: replace(table, content=change(rng, table.text().encode()))


def of_text(change: Callable[[Random, str], str]) -> Accident:
    """An accident to the text of a file."""
    return lambda rng, table: table.with_text(change(rng, table.text()))


def of_lines(change: Callable[[Random, list[str]], list[str]]) -> Accident:
    """An accident to the lines of a file, the first of which is a CSV file's header."""
    return of_text(lambda rng, text: "\n".join(change(rng, text.removesuffix("\n").split("\n"))) + "\n")


def of_cells(change: Callable[[Random, str], object]) -> Accident:
    """An accident to some texts or queries of one column."""

    def happen(rng: Random, table: Table) -> Table | None:
        if not table.texts:
            return None
        column = rng.choice(table.texts)
        return changed(table, column, some_rows(rng, len(table.rows)), lambda value: change(rng, cell_text(value)))

    return happen


def escaped_quotes(rng: Random, table: Table) -> Table:
    """Quotes within fields as Spark and MySQL write them."""
    text = csv_text(table.columns, table.rows).replace('""', '\\"')
    return table.with_text(text)


def undoubled_quotes(rng: Random, table: Table) -> Table:
    """Quotes within quoted fields written once."""
    return table.with_text(table.text().replace('""', '"'))


def bare_fields(rng: Random, table: Table) -> Table:
    """No field is quoted at all."""
    rows = [",".join(cell_text(row[name]) for name in table.columns) for row in table.rows]
    return table.with_text("\n".join([",".join(table.columns), *rows, ""]))


def all_quoted(rng: Random, table: Table) -> Table:
    """Every field is quoted, which is well formed."""
    return table.with_text(csv_text(table.columns, table.rows, quoting=1))


def apostrophes(rng: Random, table: Table) -> Table:
    """Fields are quoted by apostrophes."""
    return table.with_text(csv_text(table.columns, table.rows, quotechar="'"))


def one_quote(rng: Random, text: str) -> str:
    """One more quote, anywhere."""
    at = rng.randrange(len(text))
    return text[:at] + '"' + text[at:]


def two_quotes(rng: Random, text: str) -> str:
    """Two more quotes, anywhere but beside quotes: they would be one that is written twice."""
    places = [at for at in range(1, len(text)) if '"' not in text[at - 1 : at + 1]]
    first, last = sorted(rng.sample(places, 2))
    return text if last == first + 1 else text[:first] + '"' + text[first:last] + '"' + text[last:]


def swallowing_quotes(rng: Random, table: Table) -> Table | None:
    """A text begins with a quote and a later one ends with a quote, neither of which is written as CSV has it."""
    plain = [name for name in table.columns if name not in table.ids and name != table.time]
    lines = [csv_text(table.columns, [row]).split("\n", 1)[1] for row in table.rows]
    pairs = [
        (first, last)
        for first in range(len(lines))
        for last in range(first + 1, len(lines))
        if not any('"' in line for line in lines[first : last + 1])
    ]
    if not plain or not pairs:
        return None
    place = table.columns.index(rng.choice(plain))
    for number, mark in zip(rng.choice(pairs), ('"{}', '{}"'), strict=True):
        fields = lines[number].removesuffix("\n").split(",")
        fields[place] = mark.format(fields[place])
        lines[number] = ",".join(fields) + "\n"
    return table.with_text(",".join(table.columns) + "\n" + "".join(lines))


def commas_at_ends(rng: Random, table: Table) -> Table:
    """Every line ends with a comma, as if there were a column without a name."""
    return table.with_rows([{**row, "": None} for row in table.rows])


def cut_last_line(rng: Random, text: str) -> str:
    """The last line lost its end, at least the line break."""
    begin = text.rstrip("\n").rfind("\n") + 1
    return text[: rng.randrange(begin + 1, len(text))]


def other_header(rng: Random, table: Table, change: Callable[[str], str]) -> Table:
    """One name of a column is written otherwise."""
    column = rng.choice(table.columns)
    return _renamed(table, column, change(column))


def column_twice(rng: Random, table: Table) -> Table:
    """A column is there again at the end, with other values."""
    column = rng.choice(table.columns)
    values = [row[column] for row in table.rows]
    rng.shuffle(values)
    if table.kind == "csv":
        lines = [
            [*map(cell_text, row.values()), cell_text(value)] for row, value in zip(table.rows, values, strict=True)
        ]
        names = [*table.columns, column]
        numbered = [dict(enumerate(line)) for line in (names, *lines)]
        return table.with_text(csv_text(list(range(len(names))), numbered).split("\n", 1)[1])
    lines = [
        json.dumps(row, ensure_ascii=False)[:-1] + f", {json.dumps(column)}: {json.dumps(value)}" + "}"
        for row, value in zip(table.rows, values, strict=True)
    ]
    return table.with_text("\n".join([*lines, ""]))


def column_missing(rng: Random, table: Table) -> Table | None:
    """A column that has to be there is not, or a field is not in some lines."""
    needed = [name for name in table.columns if name not in table.optional]
    if len(table.columns) == 1:
        return None
    column = rng.choice(needed)
    chosen = set(range(len(table.rows))) if table.kind == "csv" else some_rows(rng, len(table.rows))
    return table.with_rows(
        [
            {name: value for name, value in row.items() if name != column or number not in chosen}
            for number, row in enumerate(table.rows)
        ]
    )


def fields_of_a_row(rng: Random, lines: list[str], more: bool) -> list[str]:
    """A row has a field less or more."""
    at = rng.choice([number for number in range(1, len(lines)) if lines[number].count('"') % 2 == 0])  # a whole row
    fields = lines[at].split(",")
    fields = [*fields, "7"] if more else fields[:-1]
    return [*lines[:at], ",".join(fields), *lines[at + 1 :]]


def extra_line(line: str) -> Callable[[Random, list[str]], list[str]]:
    """A line more below the first."""

    def insert(rng: Random, lines: list[str]) -> list[str]:
        at = rng.randint(1, len(lines))
        return [*lines[:at], line, *lines[at:]]

    return insert


def header_again(rng: Random, lines: list[str]) -> list[str]:
    """The header stands between rows, as in files that were put one behind the other."""
    return extra_line(lines[0])(rng, lines)


def part_with_bom(rng: Random, lines: list[str]) -> list[str]:
    """A byte order mark stands before a later line."""
    at = rng.randrange(1, len(lines))
    return [*lines[:at], "\ufeff" + lines[at], *lines[at + 1 :]]


def line_again(rng: Random, lines: list[str]) -> list[str]:
    """A line is there twice."""
    return extra_line(rng.choice(lines[1:]))(rng, lines)


def encoding(rng: Random, content: bytes) -> bytes:
    """Another encoding than UTF-8."""
    text = content.decode()
    name = rng.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "gbk", "utf-8-sig"])
    try:
        return text.encode(name)
    except UnicodeEncodeError:
        return text.encode("utf-16")


def line_ends(rng: Random, content: bytes) -> bytes:
    """CR, CR LF or several of them."""
    ends = rng.choice([[b"\r"], [b"\r\n"], [b"\n", b"\r\n"], [b"\n", b"\r"], [b"\n\r"]])
    return b"".join(line + rng.choice(ends) for line in content.removesuffix(b"\n").split(b"\n"))


def bytes_between(rng: Random, content: bytes) -> bytes:
    """Zero bytes, a control character or bytes of another encoding somewhere."""
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice([b"\0", b"\0" * 512, b"\x1a", b"\xff", b"\xe9", b"\x0c"]) + content[at:]


def half_a_zip(rng: Random, table: Table) -> Table:
    """A zipped file lost its end, or only its name or its first bytes say that it is one."""
    text = table.text().encode()
    if table.file.endswith(".gz"):
        return replace(table, content=b"\x1f\x8b" + text)
    whole = gzip.compress(text)
    return replace(table, content=whole[: rng.randint(3, len(whole))])


def python_literals(rng: Random, table: Table) -> Table:
    """Some lines are Python's."""
    chosen = some_rows(rng, len(table.rows))
    lines = [repr(row) if n in chosen else json.dumps(row) for n, row in enumerate(table.rows)]
    return table.with_text("\n".join([*lines, ""]))


def one_array(rng: Random, table: Table) -> Table:
    """All objects are in one array, over several lines or in one."""
    indent = rng.choice([None, 1])
    return table.with_text(json.dumps(table.rows, indent=indent) + "\n")


def objects_on_one_line(rng: Random, lines: list[str]) -> list[str]:
    """Two objects share a line."""
    at = rng.randrange(len(lines) - 1)
    return [*lines[:at], lines[at] + rng.choice(["", " ", ","]) + lines[at + 1], *lines[at + 2 :]]


def comma_after_object(rng: Random, lines: list[str]) -> list[str]:
    """Lines end with commas."""
    return [f"{line}," for line in lines]


def keys_of_other_case(rng: Random, table: Table) -> Table:
    """A field's name is written otherwise in all lines."""
    return other_header(rng, table, rng.choice([str.upper, lambda name: f" {name}", lambda name: f"{name} "]))


def parquet_bytes(rng: Random, table: Table) -> Table:
    """A Parquet file lost its end, is empty, or is CSV."""
    content = parquet(table.frame())
    return replace(
        table,
        content=rng.choice([content[: rng.randrange(len(content))], b"", csv_text(table.columns, table.rows).encode()]),
    )


def parquet_column(rng: Random, table: Table) -> Table | None:
    """A column of a Parquet file is missing, named otherwise, or of a type that holds no text or number."""
    frame = table.frame()
    column = rng.choice([name for name in table.columns if name not in table.optional])
    value = pl.col(column)
    changes = [
        pl.concat_list(value).alias(column),
        pl.struct(value).alias(column),
        value.cast(pl.String).cast(pl.Binary).alias(column),
        value.alias(f" {column}"),
        value.alias(column.upper()),
        pl.lit(None).alias(column),
    ]
    changed_frame = frame.with_columns(rng.choice(changes))
    if changed_frame.columns != frame.columns or (rng.random() < 0.2 and frame.width > 1):
        changed_frame = changed_frame.drop(column)
    return replace(table, content=parquet(changed_frame))


def _renamed(table: Table, column: str, name: str) -> Table:
    return table.with_rows(
        [{name if key == column else key: value for key, value in row.items()} for row in table.rows]
    )


TEXTS = {
    "HTML entities": of_cells(lambda rng, text: html.escape(text)),
    "numbered entities": of_cells(lambda rng, text: "".join(f"&#{ord(c)};" if c in "&<>\"'é" else c for c in text)),
    "a word of megabytes": of_cells(lambda rng, text: text + " " + "x" * (1 << 20)),
    "a picture in base64": of_cells(lambda rng, text: text + " " + base64.b64encode(rng.randbytes(4000)).decode()),
    "a word for none as text": of_cells(lambda rng, text: rng.choice([w for w in NONE_WORDS if w and w != "None"])),
    "characters without width": of_cells(lambda rng, text: f"\u200e{text[:2]}\u200b{text[2:]}\u00ad"),
    "letters and marks apart": of_cells(lambda rng, text: unicodedata.normalize("NFD", text + " é")),
    "blanks around texts": of_cells(lambda rng, text: f" {text}\t "),
}
CSV: dict[str, Accident] = {
    "escaped quotes": escaped_quotes,
    "undoubled quotes": undoubled_quotes,
    "bare fields": bare_fields,
    "all fields quoted": all_quoted,
    "apostrophes as quotes": apostrophes,
    "an odd quote": of_text(one_quote),
    "two odd quotes": of_text(two_quotes),
    "quotes that swallow rows": swallowing_quotes,
    "another delimiter": lambda rng, table: table.with_text(
        csv_text(table.columns, table.rows, delimiter=rng.choice(";\t|"))
    ),
    "blank in the header": lambda rng, table: other_header(
        rng, table, rng.choice([lambda name: f" {name}", lambda name: f"{name} ", lambda name: f"{name}\u00a0"])
    ),
    "header in upper case": lambda rng, table: other_header(rng, table, str.upper),
    "no header": of_lines(lambda rng, lines: lines[1:]),
    "header again": of_lines(header_again),
    "row with a field less": of_lines(lambda rng, lines: fields_of_a_row(rng, lines, more=False)),
    "row with a field more": of_lines(lambda rng, lines: fields_of_a_row(rng, lines, more=True)),
    "commas at all ends": commas_at_ends,
    "row of commas": of_lines(lambda rng, lines: extra_line("," * (lines[0].count(",")))(rng, lines)),
    "row of blanks": of_lines(extra_line("   ")),
    "line breaks within a row": of_text(lambda rng, text: text.replace(",", ",\n", rng.randint(1, 9))),
}
JSON: dict[str, Accident] = {
    "Python literals": python_literals,
    "unescaped quotes": of_text(lambda rng, text: text.replace('\\"', '"')),
    "one array": one_array,
    "two objects on a line": of_lines(objects_on_one_line),
    "commas between objects": of_lines(comma_after_object),
    "other names of fields": keys_of_other_case,
    "an array as a line": of_lines(extra_line("[]")),
    "a number as a line": of_lines(extra_line("7")),
    "null as a line": of_lines(extra_line("null")),
}
WRITTEN: dict[str, Accident] = {
    "cut last line": of_text(cut_last_line),
    "encoding": of_bytes(encoding),
    "line ends": of_bytes(line_ends),
    "odd bytes": of_bytes(bytes_between),
    "blank lines": of_lines(extra_line("")),
    "line again": of_lines(line_again),
    "byte order mark between lines": of_lines(part_with_bom),
    "column twice": column_twice,
    "column missing": column_missing,
    "half a zip": half_a_zip,
    "empty file": of_bytes(lambda rng, content: b""),
}
PARQUET: dict[str, Accident] = {"bytes of Parquet": parquet_bytes, "column of Parquet": parquet_column}
