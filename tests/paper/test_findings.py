"""Figures 4 and 5 from planted results."""

import pytest

from gensr_dist.baselines.result import HEADLINE, BaselineResult, Cost
from gensr_dist.config.root import Config, load_config
from gensr_dist.evaluation.report import EvaluationProtocol
from gensr_dist.evaluation.significance import PairedTest
from gensr_dist.paper.findings import ablation_finding, performance, sweep_finding
from gensr_dist.paper.report import PaperResult, page_of
from gensr_dist.paper.trainings import TEMPERATURE, WHOLE, ablations, sweep
from gensr_dist.study.result import Spread, StudyResult, SystemResult


def system(label: str, value: float, *, lead: float | None = None, task: str = "rec") -> SystemResult:
    test = (
        None if lead is None else PairedTest(difference=lead, low=lead - 0.01, high=lead + 0.01, p_value=0.5, count=9)
    )
    return SystemResult(
        label=label,
        system="gensr",
        settings=(),
        trials=1,
        failed=(),
        sampled={task: {metric: Spread(mean=value, deviation=0.02, seeds=3) for metric in HEADLINE}},
        catalogue={},
        catalogue_rows=0,
        hard={},
        behind={} if test is None else {task: test},
        parameters=1,
        seconds=1.0,
        seconds_per_epoch=1.0,
        candidates_per_second=1.0,
        curve=(),
    )


def result(*systems: SystemResult) -> StudyResult:
    return StudyResult(name="p", split="days", negatives=99, rows={"rec": 9}, waiting=(), systems=systems)


@pytest.fixture
def config() -> Config:
    return load_config(None, ["data.query_negatives=1"])


def test_an_ablation_that_loses_helps_and_one_that_wins_does_not(config: Config) -> None:
    shown = result(
        system(WHOLE, 0.5),
        system("no CF view", 0.4, lead=0.1),
        system("no contrast", 0.6, lead=-0.1),
        system("no soft filter", 0.5, lead=0.0),
    )
    finding = ablation_finding(config, shown)
    assert {claim.statement.partition(" recommendation")[0]: claim.holds for claim in finding.claims} == {
        "The CF view helps": "yes",
        "The contrastive loss helps": "no",
        "Soft filtering helps": "undecided",
    }
    (chart,) = finding.charts
    assert chart.series[0].y == (0.5, 0.4, 0.6, 0.5)
    assert chart.series[0].low[0] == pytest.approx(0.48)
    assert finding.numbers["no CF view"]["rec"]["ndcg@10"]["mean"] == 0.4


def test_ablations_are_those_of_the_config(config: Config) -> None:
    labels = [each.label for each in ablations(config)]
    systems = [system(WHOLE, 0.5), *(system(label, 0.4, lead=0.1) for label in labels)]
    assert len(ablation_finding(config, result(*systems)).claims) == len(labels)


@pytest.mark.parametrize(
    ("values", "leads", "holds"),
    [
        ((0.3, 0.4, 0.5, 0.4, 0.3), (0.2, 0.1, None, 0.1, 0.2), "yes"),
        ((0.6, 0.5, 0.5, 0.4, 0.3), (-0.1, 0.0, None, 0.1, 0.2), "no"),
        ((0.5, 0.5, 0.5, 0.5, 0.5), (0.0, 0.0, None, 0.0, 0.0), "undecided"),
        ((0.3, 0.4, 0.5, 0.4, 0.3), (None, None, None, None, None), "undecided"),
    ],
)
def test_a_sweep_is_moderate_where_both_ends_lose(
    config: Config, values: tuple[float, ...], leads: tuple[float | None, ...], holds: str
) -> None:
    labels = sweep(config, TEMPERATURE).values()
    finding = sweep_finding(
        config, result(*(system(label, v, lead=lead) for label, v, lead in zip(labels, values, leads, strict=True)))
    )
    claims = {claim.statement: claim.holds for claim in finding.claims}
    assert claims["A moderate temperature is best for recommendation (figure 5)"] == holds
    assert next(chart for chart in finding.charts if "temperature" in chart.name).series[0].y == values


def test_the_page_says_claim_by_claim_what_holds(config: Config) -> None:
    finding = ablation_finding(config, result(system(WHOLE, 0.5), system("no CF view", 0.4, lead=0.1)))
    page = page_of(PaperResult(run="runs/x", seconds=1.0, findings=(finding,))).html()
    assert "<td>yes</td>" in page
    assert page.count("<svg ") == 1


def peer(value: float, *, lead: float) -> BaselineResult:
    return BaselineResult(
        baseline="unisar",
        title="UniSAR",
        settings={},
        protocol=EvaluationProtocol(
            split="test",
            split_method="days",
            cutoffs=(5, 10),
            negatives=99,
            negatives_seed=0,
            ties="pessimistic",
            seed=1,
            rows={"rec": 9},
            rows_available={"rec": 9},
            bootstrap=10,
            confidence=0.95,
            rows_digest="",
        ),
        tasks={"rec": dict.fromkeys(HEADLINE, value)},
        intervals={},
        catalogue={},
        behind={"rec": PairedTest(difference=lead, low=lead - 0.01, high=lead + 0.01, p_value=0.5, count=9)},
        validation=value,
        cost=Cost(
            parameters=1,
            steps=1,
            best_step=1,
            epochs=1.0,
            seconds=1.0,
            seconds_per_epoch=1.0,
            candidates_per_second=1.0,
        ),
    )


def test_performance_is_that_of_the_metrics_file() -> None:
    of = dict.fromkeys(HEADLINE, 0.25)
    test = {"difference": 0.1, "low": 0.05, "high": 0.15, "p_value": 0.01, "count": 9}
    metrics = {
        "rec": dict.fromkeys(HEADLINE, 0.5),
        "baselines": {"counting": {"rec": of}},
        "significance": {"gensr_vs_counting": {"rec": test}},
        "protocol": {"split_method": "days", "negatives": 99},
    }
    finding = performance(metrics, peer(0.4, lead=-0.2))
    assert finding.charts[0].series[0].y == (0.5, 0.25, 0.4)
    assert {claim.statement: claim.holds for claim in finding.claims} == {
        "GenSR is better than Counting in recommendation": "yes",
        "GenSR is better than UniSAR in recommendation": "no",
    }
