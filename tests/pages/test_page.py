"""Pages: escaped, without a network, and as a browser shows them."""

import os
import re
from pathlib import Path

import pytest

from gensr_dist.pages.page import Page, Section
from gensr_dist.pages.table import Table
from tests.browser import BROWSER, look_at
from tests.pages.test_charts import CHARTS

TABLE = Table(
    title="A <table>",
    note="a & b",
    heads=("", *(f"column {place}" for place in range(12))),
    rows=(("one", *["0.1234 ± 0.0001"] * 12), ("two", *["0.2"] * 12)),
    marks=(("", "best", *[""] * 11), ("", "second", *[""] * 11)),
)
PAGE = Page(
    title="A <page>", text=("Text & more.",), sections=(Section(title="S", tables=(TABLE, TABLE), charts=CHARTS),)
)
AXE = Path(os.environ.get("GENSR_AXE", "axe.min.js"))  # of axe-core, https://www.npmjs.com/package/axe-core


def test_a_page_is_escaped_and_asks_no_network() -> None:
    page = PAGE.html()
    assert "A &lt;page&gt;" in page
    assert "<page>" not in page
    assert page.count("<svg ") == len(CHARTS)
    loaded = re.findall(r"(?:src|href)=['\"]([^'\"#][^'\"]*)", page)
    assert all(value.startswith("data:") for value in loaded)
    assert "<script" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_table_in_markdown_marks_its_cells() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "## A <table>"
    assert "| one | **0.1234 ± 0.0001** |" in lines[-2]
    assert "| two | <u>0.2</u> |" in lines[-1]


def test_a_table_becomes_columns_of_a_terminal() -> None:
    rows = (("GenSR", "0.5", ""), ("Popularity", "0.25", "+0.2"))
    table = Table(title="T", heads=("", "R@1", "lead"), rows=rows)
    assert table.aligned() == ["            R@1   lead", "GenSR       0.5", "Popularity  0.25  +0.2"]


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1_400])
def test_a_browser_shows_a_page_whole(tmp_path: Path, width: int, dark: bool) -> None:
    PAGE.write(tmp_path / "page.html")
    look = look_at(tmp_path / "page.html", tmp_path / "browser", width=width, dark=dark)
    assert look.complaints == []
    assert look.requests == []
    assert look.measured["width"] == width
    assert look.measured["content"] <= width  # tables scroll by themselves
    assert look.measured["drawn"] == look.measured["charts"] == len(CHARTS)
    assert look.measured["background"] == ("rgb(21, 21, 21)" if dark else "rgb(255, 255, 255)")


@pytest.mark.skipif(
    BROWSER is None or not AXE.exists(), reason="needs Chromium, and axe.min.js of axe-core (GENSR_AXE)"
)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1_400])
def test_axe_finds_nothing(tmp_path: Path, width: int, dark: bool) -> None:
    PAGE.write(tmp_path / "page.html")
    axe = AXE.read_text(encoding="utf-8")
    assert look_at(tmp_path / "page.html", tmp_path / "browser", width=width, dark=dark, axe=axe).violations == []
