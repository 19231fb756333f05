"""Colours of reports, light and dark.

Charts of a page are drawn in stand-in colours that become CSS variables, so that one drawing serves both schemes; PNG
and PDF are drawn in the light ones. All have a contrast of 3 : 1 and more with their paper.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """What a chart is drawn with."""

    ink: str
    soft: str  # of grids and frames
    paper: str
    series: tuple[str, ...]

    def of(self, place: int) -> str:
        """Colour of the series at this place."""
        return self.series[place % len(self.series)]

    def named(self) -> Iterator[tuple[str, str]]:
        """Each colour and the name of its CSS variable."""
        for name in ("ink", "soft", "paper"):
            yield getattr(self, name), f"--{name}"
        for place, colour in enumerate(self.series):
            yield colour, f"--series{place}"


LIGHT = Palette(
    *("#1a1a1a", "#5b5b5b", "#ffffff"),
    ("#0b57d0", "#c2410c", "#15803d", "#9333ea", "#b45309", "#0e7490", "#be185d", "#4d5763"),
)
DARK = Palette(
    *("#eeeeee", "#a8a8a8", "#151515"),
    ("#8ab4f8", "#fb923c", "#4ade80", "#d8b4fe", "#fcd34d", "#67e8f9", "#f9a8d4", "#cbd5e1"),
)
STAND_INS = Palette(*("#00000a", "#00000b", "#00000c"), tuple(f"#0000a{place}" for place in range(len(LIGHT.series))))


def style_sheet() -> str:
    """CSS that defines the variables."""
    light, dark = (" ".join(f"{name}: {colour};" for colour, name in of.named()) for of in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}"
    )


def as_variables(svg: str) -> str:
    """A drawing in stand-ins whose colours follow the page's."""
    for colour, name in STAND_INS.named():
        svg = svg.replace(colour, f"var({name})")
    return svg
