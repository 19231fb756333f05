"""Figures 4 and 5 and the tables of the paper from what a run and its trainings left."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gensr_dist.analysis.finding import Claim, Finding
from gensr_dist.analysis.intervals import Verdict, verdict
from gensr_dist.baselines.result import HEADLINE, BaselineResult
from gensr_dist.config.root import Config
from gensr_dist.evaluation.metrics import Estimate, short_name
from gensr_dist.evaluation.report import TITLES
from gensr_dist.evaluation.significance import PairedTest
from gensr_dist.pages.charts import BarChart, LineChart, Series
from gensr_dist.pages.table import Table
from gensr_dist.paper.trainings import SWEPT, WHOLE, ablations, sweep
from gensr_dist.study.figures import TASKS
from gensr_dist.study.result import Spread, StudyResult, SystemResult


def performance(metrics: Mapping[str, Any], peer: BaselineResult) -> Finding:
    """Tables 2 and 3 for this run: GenSR, what needs no training, and the peer.

    Args:
        metrics: content of the run's metrics.json.
        peer: its evaluation, on the same rows.
    """
    tables, charts, claims = [], [], []
    for task, name in TASKS.items():
        if task not in metrics:
            continue
        scored = {WHOLE: metrics[task]}
        scored |= {TITLES[scorer]: of[task] for scorer, of in metrics["baselines"].items() if task in of}
        if task in peer.tasks:
            scored[peer.title] = peer.tasks[task]
        rows = tuple((label, *(f"{of[metric]:.4f}" for metric in HEADLINE)) for label, of in scored.items())
        tables.append(Table(title=name.capitalize(), heads=("", *map(short_name, HEADLINE)), rows=rows))
        spreads = {label: Spread.of([of["ndcg@10"]]) for label, of in scored.items()}
        charts.append(_bars(f"performance-{task}", name, spreads))
        tests = {key.removeprefix("gensr_vs_"): of[task] for key, of in metrics["significance"].items() if task in of}
        found = {TITLES[scorer]: PairedTest(**test) for scorer, test in tests.items()}
        if task in peer.behind:
            found[peer.title] = peer.behind[task]
        claims += [
            Claim(statement=f"GenSR is better than {label} in {name}", holds=_holds(test), measured=str(test))
            for label, test in found.items()
        ]
    protocol = metrics["protocol"]
    text = (
        f"Test rows of split {protocol['split_method']}, a positive among {protocol['negatives']} sampled negatives, "
        "ties against the positive. Of the discriminative systems of the paper the peer alone is trained here; "
        "`gensr study` compares all of them."
    )
    return Finding(
        name="performance",
        title="Performance (tables 2 and 3)",
        protocol=(text,),
        numbers={"metrics": {task: metrics[task] for task in TASKS if task in metrics}},
        tables=tuple(tables),
        charts=tuple(charts),
        claims=tuple(claims),
    )


def ablation_finding(config: Config, result: StudyResult) -> Finding:
    """Figure 4: GenSR without each of its parts."""
    parts = ablations(config)
    labels = [WHOLE, *(each.label for each in parts)]
    systems = {system.label: system for system in result.systems if system.label in labels}
    charts, claims = [], []
    for task, name in TASKS.items():
        drawn = {label: system.sampled[task]["ndcg@10"] for label, system in systems.items() if task in system.sampled}
        if drawn:
            charts.append(_bars(f"ablations-{task}", name, drawn))
        for each in parts:
            if each.label not in systems or (test := systems[each.label].behind.get(task)) is None:
                continue
            source = "figure 4" if each.of_paper else "our own question"
            claims.append(Claim(statement=f"{each.claim} {name} ({source})", holds=_holds(test), measured=str(test)))
    return Finding(
        name="ablations",
        title="Ablations (figure 4)",
        protocol=(_protocol(config, result),),
        numbers={label: _numbers(system) for label, system in systems.items()},
        tables=tuple(_table(name, task, list(systems.values())) for task, name in TASKS.items()),
        charts=tuple(charts),
        claims=tuple(claims),
        problems=_problems(systems, labels),
    )


def sweep_finding(config: Config, result: StudyResult) -> Finding:
    """Figure 5: temperature and weight of the contrastive loss."""
    systems = {system.label: system for system in result.systems}
    charts: list[LineChart] = []
    claims: list[Claim] = []
    problems: list[str] = []
    numbers = {}
    for key, name in SWEPT.items():
        points = {value: systems[label] for value, label in sweep(config, key).items() if label in systems}
        problems += _problems(systems, list(sweep(config, key).values()))
        numbers[key] = {f"{value:g}": _numbers(system) for value, system in points.items()}
        for task, of_task in TASKS.items():
            served = {value: system for value, system in points.items() if task in system.sampled}
            drawn = {value: system.sampled[task]["ndcg@10"] for value, system in served.items()}
            if len(drawn) > 1:
                stem, title = f"sweep-{name.replace(' ', '-')}-{task}", f"{of_task.capitalize()}: {name}"
                charts.append(_curve(stem, title, name, drawn))
                claims.append(
                    _moderate(name, of_task, drawn, {value: points[value].behind.get(task) for value in drawn})
                )
    return Finding(
        name="sweeps",
        title="Sweeps (figure 5)",
        protocol=(_protocol(config, result),),
        numbers=numbers,
        charts=tuple(charts),
        claims=tuple(claims),
        problems=tuple(dict.fromkeys(problems)),
    )


def _moderate(name: str, task: str, drawn: Mapping[float, Spread], behind: Mapping[float, PairedTest | None]) -> Claim:
    """The paper's reading of figure 5: neither end of a sweep is best."""
    values = list(drawn)
    best = max(values, key=lambda value: drawn[value].mean)
    tests = [test for value in (values[0], values[-1]) if (test := behind[value]) is not None]
    inside = best not in (values[0], values[-1])
    clear = inside and bool(tests) and all(test.low > 0 for test in tests)
    beyond = any(test.high < 0 for test in tests)
    holds: Verdict = "yes" if clear else "no" if beyond else "undecided"
    ends = "; ".join(f"GenSR over an end {test}" for test in tests)
    return Claim(
        statement=f"A moderate {name} is best for {task} (figure 5)",
        holds=holds,
        measured=f"best {best:g} with N@10 {drawn[best].mean:.4f}; {ends}",
    )


def _bars(name: str, task: str, drawn: Mapping[str, Spread]) -> BarChart:
    return BarChart(
        name=name,
        title=f"{task.capitalize()}: N@10",
        alt="; ".join(f"{label} {spread.mean:.3f}" for label, spread in drawn.items()),
        x="N@10",
        groups=tuple(drawn),
        series=(_series((), list(drawn.values())),),
    )


def _curve(name: str, title: str, swept: str, drawn: Mapping[float, Spread]) -> LineChart:
    return LineChart(
        name=name,
        title=title,
        alt="; ".join(f"{swept} {value:g}: N@10 {spread.mean:.3f}" for value, spread in drawn.items()),
        x=swept,
        y="N@10",
        log_x=min(drawn) > 0,
        series=(_series(tuple(drawn), list(drawn.values())),),
    )


def _series(x: tuple[float, ...], spreads: Sequence[Spread]) -> Series:
    """N@10, with one deviation on both sides where there are several seeds."""
    several = any(spread.seeds > 1 for spread in spreads)
    return Series(
        label="N@10",
        x=x,
        y=tuple(spread.mean for spread in spreads),
        low=tuple(spread.mean - spread.deviation for spread in spreads) if several else (),
        high=tuple(spread.mean + spread.deviation for spread in spreads) if several else (),
    )


def _table(name: str, task: str, systems: Sequence[SystemResult]) -> Table:
    return Table(
        title=name.capitalize(),
        note="GenSR minus the ablation in N@10 of the same rows, its 95% interval over users, p of a sign-flip test.",
        heads=("", *map(short_name, HEADLINE), "seeds", "GenSR is ahead by"),
        rows=tuple(
            (
                system.label,
                *(system.sampled[task][metric].shown() for metric in HEADLINE),
                str(system.sampled[task]["ndcg@10"].seeds),
                str(system.behind.get(task, "")),
            )
            for system in systems
            if task in system.sampled
        ),
    )


def _protocol(config: Config, result: StudyResult) -> str:
    steps = config.paper.steps or config.train.steps
    rows = " and ".join(f"{count:,} of {TASKS[task]}" for task, count in result.rows.items())
    return (
        f"Every system is GenSR trained for {steps:,} steps with {config.paper.seeds} seeds on the same shards; test "
        f"rows ({rows}) among {result.negatives} sampled negatives. Of one task alone: half the batch, so that a "
        "training sees as many rows of that task in as many steps. Bands and whiskers are one deviation over seeds; "
        "tests pair rows, whose gains are averaged over seeds."
    )


def _problems(systems: Mapping[str, SystemResult], labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{label}: {problem}" for label in labels if label in systems for problem in systems[label].failed)


def _numbers(system: SystemResult) -> dict[str, Any]:
    return {
        task: {metric: dataclasses.asdict(of[metric]) for metric in HEADLINE} for task, of in system.sampled.items()
    }


def _holds(test: PairedTest) -> Verdict:
    """Whether GenSR is ahead."""
    return verdict(Estimate(value=test.difference, interval=(test.low, test.high)), 0)
