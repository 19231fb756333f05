"""Charts of reports: their numbers, as they stand in a report's JSON, and how matplotlib draws them.

Dimensions: G groups, P points, X and Y places of a grid.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field

from gensr_dist.pages.colours import Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRID = 80  # points a side, at which a density is computed
_LEVELS = (0.25, 0.5, 0.75)  # of a density's mass, that its contours hold


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points in order, with an interval around each y where `low` and `high` are there."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What all charts have."""

    name: str
    """Of its files."""
    title: str
    alt: str
    """What it shows, for those who do not see it."""
    x: str = ""
    """Label of the axis."""
    y: str = ""
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True)
class LineChart(Chart):
    """Lines with bands."""

    kind: Literal["lines"] = "lines"
    log_x: bool = False
    level: float | None = None
    """A horizontal line to compare with."""

    def draw(self, axes: "Axes", palette: Palette) -> None:
        """Onto axes."""
        for place, line in enumerate(self.series):
            colour = palette.of(place)
            axes.plot(line.x, line.y, label=line.label, color=colour, marker="o", markersize=3, linewidth=1.5)
            if line.low:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        if self.log_x:
            axes.set_xscale("log")
        if self.level is not None:
            axes.axhline(self.level, color=palette.soft, linewidth=1, linestyle="--")


@dataclass(frozen=True, kw_only=True)
class BarChart(Chart):
    """Bars in groups, a bar of each series a group; the x of a series is not read."""

    kind: Literal["bars"] = "bars"
    groups: tuple[str, ...]

    def draw(self, axes: "Axes", palette: Palette) -> None:
        """Onto axes; many groups, or groups with long names, lie down."""
        lies = len(self.groups) > 6 or max(map(len, self.groups), default=0) > 14
        place_G = np.arange(len(self.groups), dtype=float)
        width = 0.8 / max(1, len(self.series))
        draw = axes.barh if lies else axes.bar
        for number, bars in enumerate(self.series):
            at_G = place_G + (number - (len(self.series) - 1) / 2) * width
            draw(at_G, bars.y, width, label=bars.label, color=palette.of(number))
            if bars.low:
                ends = np.abs(np.array([bars.low, bars.high]) - np.array(bars.y))
                x, y = (bars.y, at_G) if lies else (at_G, bars.y)
                x_ends, y_ends = (ends, None) if lies else (None, ends)
                axes.errorbar(x, y, xerr=x_ends, yerr=y_ends, fmt="none", color=palette.ink, elinewidth=1, capsize=2)
        if lies:
            axes.set_yticks(place_G, self.groups)
            axes.invert_yaxis()
            axes.axvline(0, color=palette.soft, linewidth=0.8)
        else:
            axes.set_xticks(place_G, self.groups)
            axes.axhline(0, color=palette.soft, linewidth=0.8)


@dataclass(frozen=True, kw_only=True)
class PointChart(Chart):
    """Clouds of points, with contours of their densities or a name at each point."""

    kind: Literal["points"] = "points"
    contours: bool = False
    """Of a Gaussian kernel density of each cloud, around a quarter, half and three quarters of its mass."""
    names: tuple[tuple[str, ...], ...] = ()
    """Of the points of each series."""
    log_x: bool = False

    def draw(self, axes: "Axes", palette: Palette) -> None:
        """Onto axes."""
        for place, cloud in enumerate(self.series):
            shape = ("o", "s", "^", "D")[place % 4]
            size = 5 if self.contours else 20
            axes.scatter(cloud.x, cloud.y, s=size, marker=shape, color=palette.of(place), alpha=0.6, label=cloud.label)
            if self.contours and len(cloud.x) > 3:
                _draw_density(axes, np.array([cloud.x, cloud.y]), palette.of(place))
        for cloud, names in zip(self.series, self.names, strict=False):
            for x, y, name in zip(cloud.x, cloud.y, names, strict=True):
                axes.annotate(
                    name, (x, y), xytext=(4, 3), textcoords="offset points", fontsize="x-small", color=palette.ink
                )
        if self.log_x:
            axes.set_xscale("log")


AnyChart: TypeAlias = Annotated[LineChart | BarChart | PointChart, Field(discriminator="kind")]


def _draw_density(axes: "Axes", point_2P: np.ndarray, colour: str) -> None:
    from scipy.stats import gaussian_kde

    density = gaussian_kde(point_2P)
    low_2, high_2 = point_2P.min(1), point_2P.max(1)
    margin_2 = 0.15 * (high_2 - low_2)
    x_X, y_Y = (np.linspace(low - m, high + m, _GRID) for low, high, m in zip(low_2, high_2, margin_2, strict=True))
    grid_XY = density(np.stack([axis.ravel() for axis in np.meshgrid(x_X, y_Y)])).reshape(_GRID, _GRID)
    at_point_P = np.sort(density(point_2P))
    levels = sorted({float(np.quantile(at_point_P, 1 - mass)) for mass in _LEVELS})
    axes.contour(x_X, y_Y, grid_XY, levels=levels, colors=[colour], linewidths=1)
