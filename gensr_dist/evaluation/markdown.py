"""An evaluation as Markdown, `report.md`, and as the lines of a terminal."""

from gensr_dist.evaluation.fit import NDCG, fit_warnings
from gensr_dist.evaluation.metrics import TASK_NAMES, TASK_TITLES
from gensr_dist.evaluation.report import EvaluationResult, metrics_json
from gensr_dist.evaluation.tables import (
    candidates_table,
    catalogue_table,
    fit_table,
    protocol_lines,
    results_table,
    strata_table,
)
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.durable import durable_file
from gensr_dist.storage.records import write_json


def write_report(run: RunFolder, result: EvaluationResult) -> None:
    """Write `metrics.json` and `report.md` of a run, each atomically."""
    write_json(run.metrics, metrics_json(result))
    with durable_file(run.report) as temporary:
        temporary.write_text(report_markdown(result), encoding="utf-8")


def result_lines(result: EvaluationResult) -> tuple[str, ...]:
    """What counts most, then tables for a terminal. Warnings stand in the report; training has told them."""
    best = (f"{TASK_NAMES[task]} {metrics.named()[NDCG].value:.4f}" for task, metrics in result.gensr.items())
    lines = [f"{NDCG} of GenSR: {', '.join(best)}"]
    for task, title in TASK_TITLES.items():
        if task in result.gensr:
            count, negatives = result.gensr[task].count, result.protocol.negatives
            lines += [f"{title}, {count:,} rows, 1 positive and {negatives} negatives"]
            lines += [*results_table(result, task).aligned(), ""]
        else:
            lines += [f"{title}: no {result.protocol.split} row", ""]
    return tuple(lines)


def report_markdown(result: EvaluationResult) -> str:
    """The content of `report.md`."""
    lines = ["# Evaluation", ""]
    for task, title in TASK_TITLES.items():
        if task in result.gensr:
            lines += [f"## {title}: {result.gensr[task].count:,} {result.protocol.split} rows", ""]
            lines += [*results_table(result, task).lines(), ""]
        if strata := result.strata.get(task):
            lines += ["By users who chose the positive in training:", "", *strata_table(strata.popularity).lines(), ""]
            lines += ["By interactions before the row:", "", *strata_table(strata.history).lines(), ""]
    if result.catalogue:
        lines += ["## Whole catalogue", ""]
        for table in map(catalogue_table, result.catalogue):
            lines += [f"### {table.title}", "", *table.lines(), "", table.note, ""]
    if result.candidates:
        lines += ["## Candidates", "", "Share of rows whose positive is among the first candidates, unseen items only:"]
        lines += ["", *candidates_table(result.candidates).lines(), ""]
    if result.fit and result.fit.best:
        lines.append(fit_table(result.fit.best).markdown())
        for warning in fit_warnings(result.fit):
            lines += [f"Warning: {warning}.", ""]
    lines += ["## Protocol", "", *(f"- {line}" for line in protocol_lines(result.protocol))]
    return "\n".join([*lines, ""])
