"""What an analysis found: numbers, tables, charts, and what they say of the paper's claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gensr_dist.analysis.intervals import Verdict
from gensr_dist.pages.charts import AnyChart
from gensr_dist.pages.drawing import save_files
from gensr_dist.pages.page import Page, Section
from gensr_dist.pages.table import Table
from gensr_dist.storage.records import read_record, write_json

FINDING, REPORT = "finding.json", "report.html"
_REMEDY = "delete it and run the same command again"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the paper beside what was measured."""

    statement: str
    holds: Verdict
    measured: str  # with its interval


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`finding.json` of an analysis. Everything that its charts show stands in it."""

    name: str
    title: str
    protocol: tuple[str, ...]  # paragraphs: what was measured, on what, how
    numbers: Mapping[str, Any] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    charts: tuple[AnyChart, ...] = ()
    claims: tuple[Claim, ...] = ()
    problems: tuple[str, ...] = ()  # parts that could not be made, and why
    summary: tuple[str, ...] = ()  # lines for a terminal

    def lines(self) -> tuple[str, ...]:
        """For people."""
        claims = [f"{claim.holds}: {claim.statement} ({claim.measured})" for claim in self.claims]
        return (*self.summary, *claims, *(f"failed: {problem}" for problem in self.problems))

    def section(self) -> Section:
        """As a part of a page."""
        claims = claims_table(self.claims, "What the paper claims")
        failed = tuple(f"Failed: {problem}" for problem in self.problems)
        return Section(
            title=self.title,
            text=(*self.protocol, *failed),
            tables=(*((claims,) if self.claims else ()), *self.tables),
            charts=self.charts,
        )

    def write(self, folder: Path) -> None:
        """Write `finding.json`, `report.html`, and a PNG and a PDF of each chart into an existing folder."""
        for chart in self.charts:
            save_files(chart, folder)
        Page(title=self.title, sections=(self.section(),)).write(folder / REPORT)
        write_json(folder / FINDING, self)


def claims_table(claims: Sequence[Claim], title: str, note: str = "") -> Table:
    """A row a claim."""
    rows = tuple((claim.statement, claim.holds, claim.measured) for claim in claims)
    return Table(title=title, note=note, heads=("claim", "holds here", "measured"), rows=rows)


def read_finding(folder: Path) -> Finding:
    """What `write` left.

    Raises:
        InputError: it cannot be read.
    """
    return read_record(folder / FINDING, Finding, "an analysis", missing=_REMEDY, wrong=_REMEDY)
