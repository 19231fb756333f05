"""One HTML page of text, tables and charts: one file, no network, light and dark."""

import html
from dataclasses import dataclass
from pathlib import Path

from gensr_dist.pages.charts import AnyChart
from gensr_dist.pages.colours import style_sheet
from gensr_dist.pages.drawing import svg_of
from gensr_dist.pages.table import Table
from gensr_dist.storage.durable import durable_file

_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { margin: 0 auto; max-width: 75rem; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
p, li { max-width: 60rem; }
a { color: var(--series0); }
p.note { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--soft); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th.long, td.long { white-space: normal; text-align: left; min-width: 16rem; }
td.best { font-weight: 700; }
td.second { text-decoration: underline; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; flex: 1 1 20rem; max-width: 36rem; }
figcaption { font-weight: 600; }
figure svg { width: 100%; height: auto; }
"""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    title: str
    text: tuple[str, ...] = ()  # paragraphs
    tables: tuple[Table, ...] = ()
    charts: tuple[AnyChart, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report."""

    title: str
    text: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()

    def html(self) -> str:
        """The whole file."""
        parts = [f"<h1>{html.escape(self.title)}</h1>", *map(_paragraph, self.text), *map(_section, self.sections)]
        return (
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width, initial-scale=1'>"
            "<link rel='icon' href='data:,'>"
            f"<title>{html.escape(self.title)}</title><style>{style_sheet()}{_STYLE}</style></head>\n"
            f"<body><main>{chr(10).join(parts)}</main></body></html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the file, whole."""
        with durable_file(path) as temporary:
            temporary.write_text(self.html(), encoding="utf-8")


def _section(section: Section) -> str:
    parts = [f"<section><h2>{html.escape(section.title)}</h2>", *map(_paragraph, section.text)]
    parts += [table.html() for table in section.tables]
    parts += [f"<div class='charts'>{''.join(map(_figure, section.charts))}</div>"] if section.charts else []
    return "\n".join([*parts, "</section>"])


def _figure(chart: AnyChart) -> str:
    alt = html.escape(chart.alt, quote=True)
    svg = svg_of(chart).replace("<svg ", f'<svg role="img" aria-label="{alt}" ', 1)
    return f"<figure><figcaption>{html.escape(chart.title)}</figcaption>{svg}</figure>"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"
