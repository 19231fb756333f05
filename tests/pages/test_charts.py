"""Charts are drawn: there is ink, in every scheme, and the numbers read back from JSON."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from gensr_dist.pages.charts import AnyChart, BarChart, LineChart, PointChart, Series
from gensr_dist.pages.colours import DARK, LIGHT, STAND_INS
from gensr_dist.pages.drawing import pixels_of, save_files, svg_of

LINES = Series(label="a", x=(1.0, 2.0, 3.0), y=(0.1, 0.4, 0.2), low=(0.0, 0.3, 0.1), high=(0.2, 0.5, 0.3))
OTHER = Series(label="b & c", x=(1.0, 2.0, 3.0), y=(0.3, 0.1, 0.0))
COMMON = {"title": "T", "alt": "What it shows.", "x": "steps", "y": "share"}
_rng = np.random.default_rng(0)
CLOUD = Series(label="cloud", x=tuple(_rng.normal(size=40).tolist()), y=tuple(_rng.normal(size=40).tolist()))
CHARTS: tuple[AnyChart, ...] = (
    LineChart(name="lines", series=(LINES, OTHER), log_x=True, level=0.2, **COMMON),
    BarChart(name="bars", groups=("rec", "search", "all"), series=(LINES, OTHER), **COMMON),
    BarChart(name="lying", groups=("a name that is long", "search", "all"), series=(LINES,), **COMMON),
    PointChart(name="points", series=(CLOUD, OTHER), contours=True, **COMMON),
    PointChart(name="named", series=(OTHER,), names=(("one", "two", "three"),), **COMMON),
)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_has_ink(chart: AnyChart, tmp_path: Path) -> None:
    save_files(chart, tmp_path)
    pixel_HWC = pixels_of(chart, tmp_path)
    ink = (pixel_HWC.min(axis=2) < 200).mean()
    assert 0.003 < ink < 0.5
    assert {path.name for path in tmp_path.iterdir()} == {f"{chart.name}.png", f"{chart.name}.pdf"}


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_drawing_follows_the_page(chart: AnyChart) -> None:
    svg = svg_of(chart)
    assert svg == svg_of(chart)
    assert "var(--ink)" in svg
    assert "var(--series0)" in svg
    colours = set(re.findall(r"#[0-9a-f]{6}", svg))
    assert colours.isdisjoint(colour for colour, _ in STAND_INS.named())
    assert colours == set()  # no colour of its own that could vanish on one of the papers
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert all(name.startswith(f"{chart.name}-") for name in ids)
    assert set(re.findall(r'href="#([^"]+)"', svg)) <= set(ids)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_numbers_read_back(chart: AnyChart) -> None:
    assert TypeAdapter(AnyChart).validate_json(json.dumps(asdict(chart))) == chart


def test_colours_can_be_told_from_their_paper() -> None:
    for palette in (LIGHT, DARK):
        for colour, name in palette.named():
            if name != "--paper":
                assert contrast(colour, palette.paper) >= (4.5 if name in ("--ink", "--soft") else 3), name


def contrast(one: str, other: str) -> float:
    """Of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)
