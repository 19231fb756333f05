"""Tables of reports, as HTML and as Markdown."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

_BAR = r"\|"  # within a cell of Markdown
_LONG = 40  # characters, beyond which a cell has several lines


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first column names the rows."""

    title: str
    note: str = ""
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[tuple[str, ...], ...] = ()  # of each cell "best", "second" or ""; none at all marks nothing

    def markdown(self) -> str:
        """With its title as a heading."""
        lines = [f"## {self.title}", ""]
        lines += [self.note, ""] if self.note else []
        return "\n".join([*lines, *self.lines(), ""])

    def lines(self) -> list[str]:
        """Of Markdown, without title and note; on the right is what does not name a row."""
        rows = [_row([_marked(*cell) for cell in cells]) for cells in self._marked_rows()]
        return [_row(self.heads), _row(["---", *["---:"] * (len(self.heads) - 1)]), *rows]

    def aligned(self) -> list[str]:
        """Heads and rows in columns, for a terminal."""
        rows = (self.heads, *self.rows)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]

    def html(self) -> str:
        """With its title as a heading below that of a section; scrolls by itself where it is wider than the page."""
        head = "".join(f"<th scope='col'>{html.escape(cell)}</th>" if cell else "<td></td>" for cell in self.heads)
        body = "\n".join(f"<tr>{''.join(map(_cell, cells, range(len(cells))))}</tr>" for cells in self._marked_rows())
        note = f"<p class='note'>{html.escape(self.note)}</p>" if self.note else ""
        return (
            f"<h3>{html.escape(self.title)}</h3>{note}"
            f"<div class='scroll' tabindex='0' role='group' aria-label='{html.escape(self.title)}'>"
            f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
        )

    def _marked_rows(self) -> list[list[tuple[str, str]]]:
        marks = self.marks or (("",) * len(self.heads),) * len(self.rows)
        return [list(zip(row, of_row, strict=True)) for row, of_row in zip(self.rows, marks, strict=True)]


def _cell(cell: tuple[str, str], place: int) -> str:
    text, mark = cell
    classes = " ".join(name for name in (mark, "long" if len(text) > _LONG else "") if name)
    kind, scope = ("th", " scope='row'") if place == 0 else ("td", "")
    return f"<{kind}{scope}{f' class={classes!r}' if classes else ''}>{html.escape(text)}</{kind}>"


def _marked(text: str, mark: str) -> str:
    if not text:
        return text
    return f"**{text}**" if mark == "best" else f"<u>{text}</u>" if mark == "second" else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"
