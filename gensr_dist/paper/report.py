"""RUN/paper: `report.html`, `paper.json`, a PNG and a PDF of each figure, and the figures in TensorBoard."""

from dataclasses import dataclass

from torch.utils.tensorboard import SummaryWriter

from gensr_dist.analysis.finding import Claim, Finding, claims_table
from gensr_dist.pages.drawing import pixels_of, save_files
from gensr_dist.pages.page import Page, Section
from gensr_dist.runs.event_files import forget_events
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.records import write_json

NUMBERS, REPORT, FIGURES = "paper.json", "report.html", "figures"


@dataclass(frozen=True, kw_only=True)
class PaperResult:
    """`paper.json`: all that the figures show, and what holds of the paper's claims."""

    run: str
    seconds: float  # of the command that wrote it; less where much was done before
    findings: tuple[Finding, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Of all findings."""
        return tuple(claim for finding in self.findings for claim in finding.claims)

    def lines(self) -> tuple[str, ...]:
        """For people: claim by claim."""
        problems = [f"failed: {problem}" for finding in self.findings for problem in finding.problems]
        return (*(f"{claim.holds:<10} {claim.statement}: {claim.measured}" for claim in self.claims), *problems)


def write_paper(run: RunFolder, paper: PaperResult) -> None:
    """Write everything; the report last."""
    figures = run.paper / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    charts = [chart for finding in paper.findings for chart in finding.charts]
    board = run.tensorboard / "paper"
    forget_events(board)
    with SummaryWriter(str(board)) as writer:
        for chart in charts:
            save_files(chart, figures)
            writer.add_image(f"paper/{chart.name}", pixels_of(chart, figures), dataformats="HWC")
    write_json(run.paper / NUMBERS, paper)
    page_of(paper).write(run.paper / REPORT)


def page_of(paper: PaperResult) -> Page:
    """What holds first, then each finding."""
    claims = claims_table(
        paper.claims,
        "Claim by claim",
        "Undecided: the 95% interval holds both. Of twenty claims that do not hold, one will seem to by chance. A "
        "claim that does not hold is a result.",
    )
    return Page(
        title="The paper's tables and figures, measured here",
        text=(f"Run {paper.run}. Every number stands in {NUMBERS}, every figure as PNG and PDF in {FIGURES}/.",),
        sections=(
            Section(title="What holds", tables=(claims,)),
            *(finding.section() for finding in paper.findings),
        ),
    )
