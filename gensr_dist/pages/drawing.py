"""Charts as SVG for pages, and as PNG and PDF files."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gensr_dist.pages.charts import AnyChart, BarChart
from gensr_dist.pages.colours import LIGHT, STAND_INS, Palette, as_variables
from gensr_dist.storage.durable import durable_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 5.0, 3.4  # inches: at 360 pixels its letters are still those of small print
_A_BAR = 0.3  # inches, of bars that lie down
_DPI = 160
_ID = re.compile(r"""(id="|href="#|url\(#)([^")]+)""")


def svg_of(chart: AnyChart) -> str:
    """As an element of a page, in the page's colours; its ids do not meet those of other charts."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "gensr", "svg.fonttype": "path"}):
        _drawn(chart, STAND_INS).savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    svg = re.sub(r"^.*?(?=<svg )", "", text.getvalue(), flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return _ID.sub(rf"\g<1>{chart.name}-\g<2>", as_variables(svg))


def save_files(chart: AnyChart, folder: Path) -> None:
    """Write `NAME.png` and `NAME.pdf`, each whole."""
    figure = _drawn(chart, LIGHT)
    for kind, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
        with durable_file(folder / f"{chart.name}.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=_DPI, metadata=metadata)


def pixels_of(chart: AnyChart, folder: Path) -> NDArray[np.uint8]:
    """Red, green and blue [height, width, 3] of the PNG that `save_files` wrote."""
    from matplotlib.image import imread

    share_HWC = imread(folder / f"{chart.name}.png")
    return (255 * share_HWC[..., :3]).round().astype(np.uint8)


def _drawn(chart: AnyChart, palette: Palette) -> "Figure":
    from matplotlib.figure import Figure

    height = _HEIGHT
    if isinstance(chart, BarChart):
        height = max(height, 1 + _A_BAR * len(chart.groups) * max(1, len(chart.series)) / 1.5)
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor=palette.paper)
    axes = figure.subplots()
    axes.set_facecolor("none")
    chart.draw(axes, palette)
    axes.set_xlabel(chart.x, color=palette.ink)
    axes.set_ylabel(chart.y, color=palette.ink)
    axes.tick_params(colors=palette.ink, which="both")
    axes.grid(alpha=0.3, color=palette.soft)
    for side in axes.spines.values():
        side.set_color(palette.soft)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        figure.legend(loc="outside lower center", ncols=2, fontsize="small", labelcolor=palette.ink, frameon=False)
    return figure
