"""`study.json`, `report.md` and `report.html` of a study: the paper's tables 2 and 3 in its form, costs and curves."""

from collections.abc import Sequence

from gensr_dist.baselines.result import HEADLINE
from gensr_dist.evaluation.metrics import short_name
from gensr_dist.pages.page import Page, Section
from gensr_dist.pages.table import Table
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import write_json
from gensr_dist.study.figures import curves, quality
from gensr_dist.study.hard_negatives import BM25_TOP, SAME_QUERY
from gensr_dist.study.plan import Study
from gensr_dist.study.result import Spread, StudyResult, SystemResult

_TITLES = {"rec": "Recommendation (table 2)", "search": "Search (table 3)"}
_CATALOGUE = ("recall@10", "ndcg@10")
_HARD = (BM25_TOP, SAME_QUERY)
_SIGNIFICANT = 0.05


def write_reports(study: Study, result: StudyResult) -> None:
    """Write all three, each whole."""
    write_json(study.folder / "study.json", result)
    tables = tables_of(result)
    with durable_file(study.folder / "report.md") as temporary:
        temporary.write_text(_markdown(result, tables), encoding="utf-8")
    page_of(result, tables).write(study.folder / "report.html")


def tables_of(result: StudyResult) -> tuple[Table, ...]:
    """Both tasks' metrics, then what it cost."""
    tables = [_task_table(result, task) for task in _TITLES if any(task in system.sampled for system in result.systems)]
    return (*tables, _cost_table(result))


def _task_table(result: StudyResult, task: str) -> Table:
    systems = [system for system in result.systems if task in system.sampled]
    cells = [_cells(system, task) for system in systems]
    compared = any(task in system.behind for system in systems)
    last = ["GenSR is ahead by"] if compared else []
    note = (
        f"{result.rows.get(task, 0):,} test rows, split {result.split}, {result.negatives} sampled negatives, ties "
        "against the positive; mean ± deviation over seeds where there are several, best bold, second underlined. "
        "Catalogue: among all items that the user had not met, GenSR among the candidates that it retrieves, where a "
        "positive that is not retrieved is a miss; systems on fewer rows than others (see Costs) have no marks there."
    )
    if task == "search":
        note += (
            " Harder negatives: the items that BM25 puts first; others that fit the same query, which are of the same "
            "category where queries are categories."
        )
    if compared:
        note += (
            " Last column: GenSR minus this system in N@10, its 95% interval over users, and p of a sign-flip test of "
            "them."
        )
    return Table(
        title=_TITLES[task],
        note=note,
        heads=("", *_heads(task), *last),
        rows=tuple(
            (
                system.label,
                *("" if cell is None else cell.shown() for cell in row),
                *([_behind(system, task)] if compared else []),
            )
            for system, row in zip(systems, cells, strict=True)
        ),
        marks=tuple(("", *row, *([""] if compared else [])) for row in _marks(_comparable(systems, cells))),
    )


def _heads(task: str) -> list[str]:
    """Names of the columns that `_cells` fills."""
    catalogue = [f"catalogue {short_name(metric)}" for metric in _CATALOGUE]
    return [*map(short_name, HEADLINE), *catalogue, *([f"N@10, {kind}" for kind in _HARD] if task == "search" else [])]


def _cells(system: SystemResult, task: str) -> list[Spread | None]:
    of_catalogue = system.catalogue.get(task, {})
    cells = [*map(system.sampled[task].get, HEADLINE), *map(of_catalogue.get, _CATALOGUE)]
    hard = [system.hard.get(kind, {}).get("ndcg@10") for kind in _HARD]
    return [*cells, *hard] if task == "search" else cells


def _cost_table(result: StudyResult) -> Table:
    rows = tuple(
        (
            system.label,
            f"{system.parameters:,}" if system.parameters else "none",
            f"{system.seconds_per_epoch:.1f}" if system.seconds_per_epoch else "",
            f"{system.seconds / 60:.1f}" if system.seconds else "",
            f"{system.candidates_per_second:,.0f}",
            f"{system.catalogue_rows:,}" if system.catalogue_rows else "",
            str(max((spread.seeds for of in system.sampled.values() for spread in of.values()), default=0)),
            str(system.trials),
            "; ".join(system.settings),
        )
        for system in result.systems
        if system.sampled
    )
    return Table(
        title="Costs",
        note="On the machine that did the trials. Settings: what differs from the published ones.",
        heads=(
            *("", "weights", "seconds an epoch", "minutes a training", "candidates/s"),
            *("catalogue rows", "seeds", "trials", "settings"),
        ),
        rows=rows,
    )


def _comparable(systems: Sequence[SystemResult], cells: Sequence[Sequence[Spread | None]]) -> list[list[Spread | None]]:
    """The cells, without those over the catalogue of systems that were measured there on fewer rows than others."""
    most = max((system.catalogue_rows for system in systems), default=0)
    first, last = len(HEADLINE), len(HEADLINE) + len(_CATALOGUE)
    return [
        [cell if system.catalogue_rows == most or not first <= place < last else None for place, cell in enumerate(row)]
        for system, row in zip(systems, cells, strict=True)
    ]


def _marks(cells: Sequence[Sequence[Spread | None]]) -> list[list[str]]:
    """Best and second of every column; equal values share a mark."""
    marks = [[""] * len(row) for row in cells]
    if len(cells) < 2:
        return marks
    for column in range(len(cells[0])):
        values = sorted({cell.mean for row in cells if (cell := row[column]) is not None}, reverse=True)
        for mark, value in zip(("best", "second"), values, strict=False):
            for place, row in enumerate(cells):
                cell = row[column]
                if cell is not None and cell.mean == value:
                    marks[place][column] = mark
    return marks


def _behind(system: SystemResult, task: str) -> str:
    test = system.behind.get(task)
    if test is None:
        return ""
    star = "*" if test.p_value < _SIGNIFICANT else ""
    return f"{test.difference:+.4f}{star} [{test.low:+.4f}, {test.high:+.4f}], p = {test.p_value:.2g}"


def page_of(result: StudyResult, tables: Sequence[Table]) -> Page:
    """The report for a browser."""
    charts = tuple(chart for chart in (curves(result), quality(result)) if chart is not None)
    failed = _failures(result)
    return Page(
        title=f"Study {result.name}",
        text=_waiting(result),
        sections=(
            Section(title="Tables", tables=tuple(tables)),
            *((Section(title="Figures", charts=charts),) if charts else ()),
            *((Section(title="Failed", text=failed),) if failed else ()),
        ),
    )


def _markdown(result: StudyResult, tables: Sequence[Table]) -> str:
    lines = [f"# Study {result.name}", "", *(line for text in _waiting(result) for line in (text, ""))]
    lines += [table.markdown() for table in tables]
    if failed := _failures(result):
        lines += ["## Failed", "", *(f"- {line}" for line in failed), ""]
    return "\n".join(lines)


def _waiting(result: StudyResult) -> tuple[str, ...]:
    return (f"Not done yet: {', '.join(result.waiting)}.",) if result.waiting else ()


def _failures(result: StudyResult) -> tuple[str, ...]:
    """What went wrong, a line a system; also of systems of which other trials went well."""
    return tuple(f"{system.label}: {'; '.join(system.failed)}" for system in result.systems if system.failed)
