"""metrics.json and report.md of whole-catalogue results and of candidates."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, CANDIDATES, COUNTING, LOG_ODDS, CatalogueMetrics
from gensr_dist.evaluation.markdown import report_markdown
from gensr_dist.evaluation.metrics import CONFIDENCE, CUTOFFS, MISSED, CandidateMetrics, TaskMetrics
from gensr_dist.evaluation.report import EvaluationProtocol, EvaluationResult, ScorerResult, metrics_json

ROWS = 40


def catalogue_of(task: Behaviour, seed: int, *, resamples: int = 50, counted: bool = True) -> CatalogueMetrics:
    rng = np.random.default_rng(seed)
    names = (ANSWERS, CANDIDATES, LOG_ODDS, *((COUNTING,) if counted else ()))
    ranks = {name: np.where(rng.random(ROWS) < 0.3, MISSED, rng.integers(1, 30, ROWS)) for name in names}
    proposed = {"near": rng.random(ROWS) < 0.5, "words": rng.random(ROWS) < 0.5, "silent": np.zeros(ROWS, dtype=bool)}
    return CatalogueMetrics.from_ranks(
        task, ranks, proposed, np.arange(ROWS), candidates=1_200, resamples=resamples, seed=0
    )


def candidates_of(task: Behaviour) -> CandidateMetrics:
    ranks = {
        "fusion": np.array([1, 51, 200, 500]),
        "near": np.array([400, 1, MISSED, MISSED]),
        "words": np.array([60, 2, 100, MISSED]),
    }
    return CandidateMetrics.from_ranks(task, ranks, fusion="fusion")


def result_of(
    catalogue: Sequence[CatalogueMetrics] = (), candidates: Sequence[CandidateMetrics] = (), resamples: int = 50
) -> EvaluationResult:
    metrics = TaskMetrics.from_ranks(np.arange(1, 41), np.arange(40), resamples=resamples, seed=0)
    tasks = dict.fromkeys(Behaviour, metrics)
    return EvaluationResult(
        scorers=[ScorerResult(scorer=name, tasks=tasks, behind={}) for name in ("gensr", "counting", "popularity")],
        protocol=EvaluationProtocol(
            split="test",
            split_method="time",
            cutoffs=CUTOFFS,
            negatives=9,
            negatives_seed=0,
            ties="ranked pessimistically",
            seed=0,
            rows={"rec": 40, "search": 40},
            rows_available={"rec": 50, "search": 50},
            bootstrap=resamples,
            confidence=CONFIDENCE,
            rows_digest="0",
        ),
        catalogue=catalogue,
        candidates=candidates,
    )


def at(tree: Any, path: str) -> Any:
    for key in path.split("."):
        tree = tree[key]
    return tree


def test_json_names_the_published_numbers() -> None:
    catalogue = [catalogue_of(task, seed) for seed, task in enumerate(Behaviour)]
    found = metrics_json(result_of(catalogue, [candidates_of(task) for task in Behaviour]))
    for metrics, name in zip(catalogue, ("rec", "search"), strict=True):
        answers = metrics.orders[ANSWERS]
        assert at(found, f"catalogue.{name}.ndcg@10") == answers.ndcg[10].value
        assert at(found, f"catalogue.{name}.recall@10") == answers.recall[10].value
        assert at(found, f"catalogue.{name}.intervals.ndcg@10") == list(answers.ndcg[10].interval or ())
        assert at(found, f"catalogue.{name}.count") == ROWS
        assert at(found, f"catalogue.{name}.candidates") == 1_200
        assert at(found, f"catalogue.{name}.candidate_recall") == metrics.candidate_recall
        assert at(found, f"catalogue.{name}.orders").keys() == {CANDIDATES, LOG_ODDS, COUNTING}
        assert at(found, f"catalogue.{name}.orders.gensr.mrr") == metrics.orders[LOG_ODDS].mrr.value
        assert at(found, f"catalogue.{name}.leads.candidates.difference") == metrics.leads[CANDIDATES].difference
        assert at(found, f"catalogue.{name}.hits.near.alone") == metrics.hits["near"].alone
        counting = metrics.orders[COUNTING]
        assert at(found, f"baselines.counting.catalogue.{name}.ndcg@10") == counting.ndcg[10].value
        assert at(found, f"candidates.{name}.recall@200") == 0.75
        assert at(found, f"candidates.{name}.union.recall@200") == 0.75
        assert at(found, f"candidates.{name}.union.recall@50") == 0.25
        assert at(found, f"candidates.{name}.channels.near.recall@500") == 0.5
        assert at(found, f"candidates.{name}.count") == 4
    assert "catalogue" not in found["baselines"]["popularity"]


def test_json_of_one_task_without_counting() -> None:
    found = metrics_json(result_of([catalogue_of(Behaviour.SEARCH, 0, counted=False)]))
    assert found["catalogue"].keys() == {"search"}
    assert found["candidates"] == {}
    assert all("catalogue" not in baseline for baseline in found["baselines"].values())


def test_json_without_catalogue_rows() -> None:
    found = metrics_json(result_of())
    assert found["catalogue"] == found["candidates"] == {}


def test_the_union_is_what_some_channel_finds() -> None:
    metrics = candidates_of(Behaviour.SEARCH)
    assert metrics.recall == {50: 0.25, 100: 0.5, 200: 0.75, 500: 1.0}
    assert metrics.union == {50: 0.25, 100: 0.75, 200: 0.75, 500: 0.75}
    assert metrics.channels["words"] == {50: 0.25, 100: 0.75, 200: 0.75, 500: 0.75}
    assert metrics.channels["near"] == {50: 0.25, 100: 0.25, 200: 0.25, 500: 0.5}


@pytest.mark.parametrize("resamples", [0, 50])
def test_the_report_tells_of_orders_hits_and_candidates(resamples: int) -> None:
    catalogue = catalogue_of(Behaviour.SEARCH, 1, resamples=resamples)
    report = report_markdown(result_of([catalogue], [candidates_of(Behaviour.SEARCH)], resamples))
    section = report[report.index("## Whole catalogue") : report.index("## Candidates")]
    assert "### Search: 40 rows" in section
    assert "### Recommendation" not in section
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {10}
    titles = [line.split("|")[1].strip() for line in lines[2:]]
    assert titles == [
        "Answers: channels and GenSR",
        "Candidates as generated, without GenSR",
        "Candidates by GenSR alone",
        "Counting over every item",
    ]
    for line, order in zip(lines[2:], catalogue.orders.values(), strict=True):
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        assert cells[:4] == [f"{order.recall[k].value:.4f}" for k in CUTOFFS]
        assert [cell.split(" ")[0] for cell in cells[4:7]] == [f"{order.ndcg[k].value:.4f}" for k in CUTOFFS[1:]]
        assert ("[" in cells[5]) == bool(resamples)
    leads = [line.split("|")[-2].strip() for line in lines[2:]]
    assert leads[0] == ""
    for lead, test in zip(leads[1:], catalogue.leads.values(), strict=False):
        assert lead.startswith(f"{test.difference:+.4f} [")
    assert any(leads) == bool(resamples)
    assert f"1,200 candidates a row hold {catalogue.candidate_recall:.1%} of the positives." in section
    near = catalogue.hits["near"]
    assert f"near {near.proposed:.0%} (alone {near.alone:.0%})" in section
    assert "silent" not in section  # it proposed no hit

    assert "| Search | fusion | 0.2500 | 0.5000 | 0.7500 | 1.0000 | 4 |" in report
    assert "| Search | union | 0.2500 | 0.7500 | 0.7500 | 0.7500 | 4 |" in report
    assert re.search(r"\| Search \| union .*\n\| Search \| near .*\n\| Search \| words ", report)


def test_the_report_says_where_no_channel_proposed_a_hit() -> None:
    nothing = np.full(3, MISSED)
    catalogue = CatalogueMetrics.from_ranks(
        Behaviour.SEARCH,
        {ANSWERS: nothing},
        {"near": np.zeros(3, dtype=bool)},
        np.arange(3),
        candidates=5,
        resamples=0,
        seed=0,
    )
    assert "these channels proposed: none." in report_markdown(result_of([catalogue]))


def test_without_rows_of_the_catalogue_the_report_has_no_such_section() -> None:
    report = report_markdown(result_of())
    assert "## Whole catalogue" not in report
    assert "## Candidates" not in report
