"""The report of a study as one HTML page that needs no network."""

import html
from typing import TYPE_CHECKING

from gensr_dist.study.figures import curves_svg, quality_svg
from gensr_dist.study.result import StudyResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gensr_dist.study.report import Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #5b5b5b; --paper: #fff; --line: #d8d8d8; --mark: #0b57d0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --soft: #a8a8a8; --paper: #151515; --line: #3a3a3a; --mark: #8ab4f8; }
}
body { margin: 0 auto; max-width: 75rem; padding: 1rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
p.note { color: var(--soft); max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
td.best { font-weight: 700; }
td.second { text-decoration: underline; }
figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; background: #fff; border-radius: .25rem; }
"""


def html_page(result: StudyResult, tables: "Sequence[Table]") -> str:
    """The whole page."""
    parts = [f"<h1>Study {html.escape(result.name)}</h1>"]
    if result.waiting:
        parts.append(f"<p>Not done yet: {html.escape(', '.join(result.waiting))}.</p>")
    parts += [_table(table) for table in tables]
    for title, svg in (
        ("Validation N@10 during training", curves_svg(result)),
        ("Quality against cost", quality_svg(result)),
    ):
        if svg:
            parts.append(f"<h2>{title}</h2><figure role='img' aria-label='{title}'>{svg}</figure>")
    failed = [system for system in result.systems if system.failed]
    if failed:
        lines = "".join(
            f"<li>{html.escape(system.label)}: {html.escape('; '.join(system.failed))}</li>" for system in failed
        )
        parts.append(f"<h2>Failed</h2><ul>{lines}</ul>")
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        "<link rel='icon' href='data:,'>"
        f"<title>Study {html.escape(result.name)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{chr(10).join(parts)}</main></body></html>\n"
    )


def _table(table: "Table") -> str:
    head = "".join(f"<th scope='col'>{html.escape(cell)}</th>" for cell in table.heads)
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<th scope='row'>{html.escape(cell)}</th>"
            if place == 0
            else f"<td{f' class={mark!r}' if mark else ''}>{html.escape(cell)}</td>"
            for place, (cell, mark) in enumerate(zip(row, marks, strict=True))
        )
        + "</tr>"
        for row, marks in zip(table.rows, table.marks, strict=True)
    )
    return (
        f"<h2>{html.escape(table.title)}</h2><p class='note'>{html.escape(table.note)}</p>"
        f"<div class='scroll' tabindex='0' role='region' aria-label='{html.escape(table.title)}'>"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )
