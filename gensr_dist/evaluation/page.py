"""`report.html`: an evaluation as a page of tables and charts, the same numbers as in `metrics.json`."""

from collections.abc import Mapping, Sequence

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.calibration import AS_RANKED, AS_TRAINED, RESAMPLES, Calibration
from gensr_dist.evaluation.catalogue_metrics import ORDERS, CatalogueMetrics
from gensr_dist.evaluation.fit import NDCG, FitRecord, StepFit, fit_warnings
from gensr_dist.evaluation.metrics import (
    CANDIDATE_CUTOFFS,
    CUTOFF,
    TASK_NAMES,
    TASK_TITLES,
    CandidateMetrics,
    Estimate,
    short_name,
)
from gensr_dist.evaluation.report import TITLES, EvaluationResult
from gensr_dist.evaluation.strata import Stratum
from gensr_dist.evaluation.tables import catalogue_table, fit_table, protocol_lines, results_table, with_interval
from gensr_dist.pages.charts import AnyChart, BarChart, LineChart, Series
from gensr_dist.pages.page import Page, Section
from gensr_dist.pages.table import Table

_WIDTH = 1.96  # standard errors of a 95% interval
_FEWEST = 5  # answers of a bin that a curve shows
_BARS = (f"recall@{CUTOFF}", NDCG)


def evaluation_page(result: EvaluationResult) -> Page:
    """All that was found out; parts that an evaluation does not have are left out."""
    protocol = result.protocol
    best = ", ".join(f"{TASK_NAMES[task]} {metrics.named()[NDCG].value:.4f}" for task, metrics in result.gensr.items())
    sections = [
        *(_task(result, task) for task in result.gensr),
        *([_catalogue(result.catalogue)] if result.catalogue else []),
        *([_candidates(result.candidates)] if result.candidates else []),
        *([_calibration(result)] if result.calibration else []),
        *([_strata(result)] if result.strata else []),
        *([_fit(result.fit, result.fit.best)] if result.fit and result.fit.best else []),
        Section(title="Protocol", text=tuple(protocol_lines(protocol))),
    ]
    text = f"{NDCG} of GenSR: {best}; {protocol.split} rows, 1 positive and {protocol.negatives} negatives each."
    return Page(title="Evaluation", text=(text,), sections=tuple(sections))


def _task(result: EvaluationResult, task: Behaviour) -> Section:
    named = {TITLES[scorer.scorer]: scorer.tasks[task].named() for scorer in result.scorers if task in scorer.tasks}
    name, title = TASK_NAMES[task], TASK_TITLES[task]
    charts: list[AnyChart] = [
        _bars(f"{name}-{metric.replace('@', '-at-')}", f"{title}: {short_name(metric)}", metric, named)
        for metric in _BARS
    ]
    if reach := result.reach.get(task):
        charts.append(_ranks(f"{name}-ranks", f"{title}: ranks of the positives", reach))
    count = result.gensr[task].count
    return Section(title=f"{title}: {count:,} rows", tables=(results_table(result, task),), charts=tuple(charts))


def _bars(name: str, title: str, metric: str, named: dict[str, dict[str, Estimate]]) -> BarChart:
    estimates = [metrics[metric] for metrics in named.values()]
    return BarChart(
        name=name,
        title=title,
        alt=f"{title} of {', '.join(named)}, with intervals where users were resampled.",
        groups=tuple(named),
        series=(_series("", range(len(named)), estimates),),
    )


def _series(label: str, x: Sequence[float], estimates: Sequence[Estimate]) -> Series:
    """Points with intervals, where all have one."""
    intervals = [estimate.interval for estimate in estimates if estimate.interval]
    whole = len(intervals) == len(estimates)
    return Series(
        label=label,
        x=tuple(map(float, x)),
        y=tuple(estimate.value for estimate in estimates),
        low=tuple(low for low, _ in intervals) if whole else (),
        high=tuple(high for _, high in intervals) if whole else (),
    )


def _ranks(name: str, title: str, reach: Mapping[str, tuple[float, ...]]) -> LineChart:
    return LineChart(
        name=name,
        title=title,
        alt=f"{title}: share of rows whose positive is among the first so many candidates, a line a scorer.",
        x="first candidates",
        y="share of rows",
        log_x=True,
        series=tuple(
            Series(label=TITLES[scorer], x=tuple(float(rank + 1) for rank in range(len(share_K))), y=share_K)
            for scorer, share_K in reach.items()
        ),
    )


def _catalogue(catalogue: Sequence[CatalogueMetrics]) -> Section:
    charts = []
    for metrics in catalogue:
        named = {ORDERS[name]: order.named() for name, order in metrics.orders.items()}
        title = f"{TASK_TITLES[metrics.task]}: {short_name(NDCG)}"
        charts.append(_bars(f"{TASK_NAMES[metrics.task]}-catalogue", title, NDCG, named))
    return Section(title="Whole catalogue", tables=tuple(map(catalogue_table, catalogue)), charts=tuple(charts))


def _candidates(candidates: Sequence[CandidateMetrics]) -> Section:
    charts = []
    for metrics in candidates:
        title = TASK_TITLES[metrics.task]
        lines = {"fusion": metrics.recall, "union": metrics.union, **metrics.channels}
        charts.append(
            LineChart(
                name=f"{TASK_NAMES[metrics.task]}-candidates",
                title=f"{title}: recall of the candidates",
                alt=f"Share of {metrics.count:,} rows whose positive is among the first candidates of each channel.",
                x="first candidates",
                y="share of rows",
                series=tuple(
                    Series(label=name, x=CANDIDATE_CUTOFFS, y=tuple(recall[k] for k in CANDIDATE_CUTOFFS))
                    for name, recall in lines.items()
                ),
            )
        )
    text = (
        "Share of rows whose positive is among the first candidates, unseen items only. Fusion: the candidates that "
        "GenSR orders. Union: some channel has it so early."
    )
    return Section(title="Candidates", text=(text,), charts=tuple(charts))


def _calibration(result: EvaluationResult) -> Section:
    first = next(iter(result.calibration.values()))
    text = (
        f"P(Yes) against the share of positives. A row has 1 positive among {1 + first.negatives} candidates, a "
        f"training group 1 among {1 + first.training_negatives}, and a model can only learn the share that it is shown."
        f" Calibration therefore means: where negatives are weighed so that a row has {first.training_negatives} "
        f"({AS_TRAINED}), P(Yes) is the share of positives. Where each counts as one ({AS_RANKED}), P(Yes) is too high "
        "by about the ratio of the two odds: read it as an order there, not as a probability.",
        "Training negatives that are likelier than uniform draws to fit (data.query_negatives, data.hard_negatives, "
        "data.negatives popularity) make P(Yes) too low for these rows, whose negatives are uniform.",
        "Expected calibration error: mean distance of P(Yes) from the share of positives over the answers, bin by bin. "
        "Of few rows it is above zero even for a perfect model. Its intervals are from at most "
        f"{RESAMPLES} resamples of users.",
    )
    rows, charts = [], []
    for task, calibration in result.calibration.items():
        title = TASK_TITLES[task]
        for name, curve in calibration.curves.items():
            cells = (f"{curve.base_rate:.3f}", f"{curve.predicted:.3f}", with_interval(curve.error))
            rows.append((f"{title}, {name}", *cells, f"{calibration.count:,}"))
        charts.append(_reliability(TASK_NAMES[task], title, calibration))
    heads = ("", "Share of positives", "Mean P(Yes)", "Expected calibration error", "Rows")
    table = Table(title="Calibration error", heads=heads, rows=tuple(rows))
    return Section(title="Calibration", text=text, tables=(table,), charts=tuple(charts))


def _reliability(name: str, title: str, calibration: Calibration) -> LineChart:
    lines = [
        _series(
            label,
            [found.predicted for found in bins],
            [Estimate(value=found.positives, interval=found.interval) for found in bins],
        )
        for label in (AS_TRAINED, AS_RANKED)
        if (bins := [found for found in calibration.curves[label].bins if found.answers >= _FEWEST])
    ]
    return LineChart(
        name=f"{name}-calibration",
        title=f"{title}: reliability",
        alt=f"{title}: share of positives over mean P(Yes) of answers of about the same P(Yes), beside the diagonal.",
        x="mean P(Yes)",
        y="share of positives",
        series=(*lines, Series(label="calibrated", x=(0.0, 1.0), y=(0.0, 1.0))),
    )


def _strata(result: EvaluationResult) -> Section:
    charts = []
    for task, strata in result.strata.items():
        name, title = TASK_NAMES[task], TASK_TITLES[task]
        by_activity = f"{title}, by interactions of the user before the row"
        by_popularity = f"{title}, by users who chose the positive in training"
        charts.append(_divided(f"{name}-activity", by_activity, strata.history))
        charts.append(_divided(f"{name}-popularity", by_popularity, strata.popularity))
    text = (
        f"N@{CUTOFF} of each scorer; in brackets, the rows. Whiskers: 1.96 standard errors, which of few rows say too "
        "little."
    )
    return Section(title="By activity of the user and popularity of the item", text=(text,), charts=tuple(charts))


def _divided(name: str, title: str, strata: Sequence[Stratum]) -> BarChart:
    return BarChart(
        name=name,
        title=title,
        alt=f"N@{CUTOFF} of each scorer. {title}.",
        groups=tuple(f"{stratum.label} ({stratum.count:,})" for stratum in strata),
        series=tuple(
            Series(
                label=TITLES[scorer],
                x=tuple(map(float, range(len(strata)))),
                y=tuple(stratum.ndcg[scorer] for stratum in strata),
                low=tuple(stratum.ndcg[scorer] - _WIDTH * stratum.ndcg_error[scorer] for stratum in strata),
                high=tuple(stratum.ndcg[scorer] + _WIDTH * stratum.ndcg_error[scorer] for stratum in strata),
            )
            for scorer in strata[0].ndcg
        ),
    )


def _fit(fit: FitRecord, best: StepFit) -> Section:
    table = fit_table(best)
    return Section(
        title=table.title, text=tuple(f"Warning: {warning}." for warning in fit_warnings(fit)), tables=(table,)
    )
