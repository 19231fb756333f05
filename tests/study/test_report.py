"""Tables and page of a study's result."""

import dataclasses
import re

from gensr_dist.baselines.result import HEADLINE
from gensr_dist.evaluation.significance import PairedTest
from gensr_dist.study.report import page_of, tables_of
from gensr_dist.study.result import Spread, StudyResult, SystemResult


def system(label: str, value: float, *, seeds: int = 1, trained: bool = True, task: str = "rec") -> SystemResult:
    metrics = {metric: Spread(mean=value, deviation=0.01, seeds=seeds) for metric in HEADLINE}
    return SystemResult(
        label=label,
        system="sasrec",
        settings=(),
        trials=1,
        failed=(),
        sampled={task: metrics},
        catalogue={},
        catalogue_rows=9,
        hard={},
        behind={task: PairedTest(difference=0.5, low=0.4, high=0.6, p_value=0.01, count=9)} if label != "best" else {},
        parameters=1_000 if trained else 0,
        seconds=90.0 if trained else 0.0,
        seconds_per_epoch=3.0,
        candidates_per_second=1e4,
        curve=((30.0, value / 2), (60.0, value)) if trained else (),
    )


def result(*systems: SystemResult) -> StudyResult:
    return StudyResult(name="s & t", split="days", negatives=99, rows={"rec": 9}, waiting=(), systems=systems)


def test_best_and_second_are_marked_and_equal_ones_alike() -> None:
    table = tables_of(result(system("best", 0.5), system("a", 0.3), system("b", 0.3), system("c", 0.1)))[0]
    assert [marks[1] for marks in table.marks] == ["best", "second", "second", ""]
    assert [row[1] for row in table.rows] == ["0.5000", "0.3000", "0.3000", "0.1000"]
    assert table.rows[1][-1] == "+0.5000* [+0.4000, +0.6000], p = 0.01"


def test_fewer_rows_of_the_catalogue_are_not_the_best_there() -> None:
    first, second, slow = (
        dataclasses.replace(
            system(label, value),
            catalogue={"rec": {"recall@10": Spread.of([value]), "ndcg@10": Spread.of([value])}},
            catalogue_rows=rows,
        )
        for label, value, rows in (("a", 0.2, 9), ("b", 0.1, 9), ("slow", 0.4, 3))
    )
    table = tables_of(result(first, second, slow))[0]
    assert [head for head in table.heads if head.startswith("catalogue")] == ["catalogue R@10", "catalogue N@10"]
    assert [marks[1] for marks in table.marks] == ["second", "", "best"]
    for column in (table.heads.index("catalogue R@10"), table.heads.index("catalogue N@10")):
        assert [marks[column] for marks in table.marks] == ["best", "second", ""]
        assert [row[column] for row in table.rows] == ["0.2000", "0.1000", "0.4000"]


def test_seeds_have_a_deviation() -> None:
    table = tables_of(result(system("best", 0.5, seeds=3)))[0]
    assert table.rows[0][1] == "0.5000 ± 0.0100"
    assert table.marks[0][1] == ""  # alone it is not the best


def test_a_spread_is_that_of_a_sample() -> None:
    spread = Spread.of([1.0, 2.0, 3.0])
    assert (spread.mean, spread.deviation, spread.seeds) == (2.0, 1.0, 3)
    assert Spread.of([4.0]).deviation == 0


def test_the_page_asks_no_network_and_shows_figures() -> None:
    shown = result(system("<best>", 0.5), system("a", 0.3), system("counted", 0.2, trained=False))
    page = page_of(shown, tables_of(shown)).html()
    assert "s &amp; t" in page
    assert "&lt;best&gt;" in page
    assert page.count("<svg ") == 2
    loaded = re.findall(r"(?:src|href)=['\"]([^'\"#][^'\"]*)", page)
    assert all(value.startswith("data:") for value in loaded)
    assert "<script" not in page
    for label in ("a", "counted"):
        assert f"<th scope='row'>{label}</th>" in page


def test_figures_do_not_change_with_the_time() -> None:
    shown = result(system("best", 0.5), system("a", 0.3))
    assert page_of(shown, tables_of(shown)).html() == page_of(shown, tables_of(shown)).html()
