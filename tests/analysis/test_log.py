"""`gensr analyse data` on logs whose every number is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.analysis.log.analysis import LogAnalysis, agreement, gini
from gensr_dist.analysis.log.brief import LogBrief, head_share, some_searches
from gensr_dist.analysis.log.counts import LogCounts, count_log
from gensr_dist.analysis.log.queries import QueryProbe
from gensr_dist.analysis.subject import Subject
from gensr_dist.config.root import Config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.folder import Folder
from tests.analysis.logs import REC, SEARCH, Event, log_of, prepared

TEXTS = [f"item word{n} thing{n}" for n in range(12)]


def counted(shards: Folder, shuffle_shards: int = 64) -> LogCounts:
    store = TimelineStore.open(shards, shuffle_shards=shuffle_shards)
    return count_log(store.windows(), ItemStore.open(shards).popularity_I)


def plain(users: int, length: int = 5, task: int = REC) -> list[Event]:
    """Each user's own items in turn, an hour apart; the last is tested, the one before validated."""
    return [(user, (user + n) % 12, task, 3_600_000 * n, -1) for user in range(users) for n in range(length)]


def test_lengths_and_cold_items(tmp_path: Path) -> None:
    events = [*plain(2), (2, 8, REC, 0, -1), (2, 9, REC, 1, -1), (2, 10, REC, 2, -1)]
    counts = counted(prepared(tmp_path, log_of(events, TEXTS)))
    assert sorted(counts.lengths.tolist()) == [3, 5, 5]
    assert (counts.users, counts.events, counts.interactions) == (3, 13, 13)
    assert (counts.repeats, counts.tied, counts.twins, counts.both_users) == (0, 0, 0, 0)
    rec = counts.tasks[Behaviour.RECOMMENDATION]
    # tested are items 4, 5 and 10; trained are 0 to 2, 1 to 3 and 8
    assert (rec.test, rec.cold, rec.rare, rec.empty) == (3, 3, 0, 0)
    assert rec.training_I.tolist() == [1, 2, 2, 1, 0, 0, 1, 0, 0]
    assert np.concatenate(rec.history_R).tolist() == [4, 4, 2]
    assert counts.tasks[Behaviour.SEARCH].positives == 0


def test_rare_items_are_not_cold(tmp_path: Path) -> None:
    events = [*plain(1), *[(1, item, REC, item, -1) for item in (4, 6, 7)]]  # item 4 is tested of user 0, trained of 1
    rec = counted(prepared(tmp_path, log_of(events, TEXTS))).tasks[Behaviour.RECOMMENDATION]
    assert (rec.test, rec.cold, rec.rare) == (2, 1, 1)


def test_repeats_and_targets_in_their_own_history(tmp_path: Path) -> None:
    events = [*plain(2), (2, 8, REC, 0, -1), (2, 9, REC, 1, -1), (2, 10, REC, 2, -1), (2, 8, REC, 3, -1)]
    events += [(3, 8, REC, 0, -1), (3, 8, REC, 1, -1), (3, 1, REC, 2, -1), (3, 2, REC, 3, -1)]
    counts = counted(prepared(tmp_path, log_of(events, TEXTS)))
    rec = counts.tasks[Behaviour.RECOMMENDATION]
    assert counts.repeats == 2
    assert (rec.test, rec.met) == (4, 1)  # of user 2
    assert (rec.trained, rec.trained_met) == (3 + 3 + 2 + 2, 1)  # of user 3


def test_a_twin_is_no_history_of_its_other(tmp_path: Path) -> None:
    both = [event for one in plain(3) for event in (one, (*one[:2], SEARCH, one[3], 0))]
    counts = counted(prepared(tmp_path, log_of(both, TEXTS, ["find"])))
    assert (counts.interactions, counts.twins, counts.events) == (15, 15, 30)
    assert (counts.repeats, counts.tied, counts.both_users) == (0, 0, 3)
    for found in counts.tasks.values():
        assert (found.test, found.met, found.tied, found.trained_met) == (3, 0, 0, 0)
    assert agreement(counts)["items_of_both"] == 1
    assert agreement(counts)["popularity_correlation"] == pytest.approx(1)


def test_ties_are_of_one_user_and_moment(tmp_path: Path) -> None:
    events = [*plain(2), (2, 6, REC, 0, -1), (2, 7, REC, 0, -1), (2, 8, REC, 5, -1), (2, 9, REC, 9, -1)]
    events += [(2, 10, REC, 9, -1)]
    counts = counted(prepared(tmp_path, log_of(events, TEXTS)))
    assert counts.tied == 4
    assert counts.tasks[Behaviour.RECOMMENDATION].tied >= 1


def test_both_tasks_of_other_items(tmp_path: Path) -> None:
    events = [*plain(1, 4), *[(1, 6 + n, SEARCH, n, 0) for n in range(4)]]
    counts = counted(prepared(tmp_path, log_of(events, TEXTS, ["find"])))
    found = agreement(counts)
    assert (found["items_of_both"], found["search_choices_of_recommended_items"]) == (0, 0)
    assert found["popularity_correlation"] is None
    assert counts.both_users == 0


def test_windows_add_up(small_shards: Path) -> None:
    shards = Folder.at(small_shards)
    whole, parts = counted(shards), counted(shards, shuffle_shards=1)
    assert replace_arrays(whole) == replace_arrays(parts)


def replace_arrays(counts: LogCounts) -> object:
    tasks = {
        task: replace(found, training_I=found.training_I.tolist(), history_R=np.concatenate(found.history_R).tolist())  # type: ignore[arg-type]
        for task, found in counts.tasks.items()
    }
    return replace(counts, tasks=tasks, length_V=counts.lengths.tolist())  # type: ignore[arg-type]


def asked(tmp_path: Path, texts: list[str], query: str) -> QueryProbe:
    events = [(user, (user + n) % 12, SEARCH, n, 0) for user in range(6) for n in range(4)]
    shards = prepared(tmp_path, log_of(events, texts, [query]))
    found = QueryProbe.of(some_searches(TimelineStore.open(shards), 100), ItemStore.open(shards))
    assert found is not None
    assert (found.rows, found.candidates) == (6, 3)
    return found


def test_a_query_that_names_its_item(tmp_path: Path) -> None:
    found = asked(tmp_path, ["red lamp"] * 12, "Lamp, red cheap")
    assert (found.names, found.fits, found.alone, found.negatives_fit) == (1, 0, 0, 0)


def test_a_query_that_fits_everything_or_nothing(tmp_path: Path) -> None:
    found = asked(tmp_path / "all", ["red lamp wide"] * 12, "red lamp")
    assert (found.names, found.fits, found.alone, found.negatives_fit) == (0, 1, 0, 1)
    found = asked(tmp_path / "none", TEXTS, "green")
    assert (found.names, found.fits, found.alone, found.negatives_fit) == (0, 0, 0, 0)


def test_a_query_that_fits_its_item_alone(tmp_path: Path) -> None:
    events = [(user, n, SEARCH, n, n) for user in range(5) for n in range(3)]
    events += [(user, 3 + user, SEARCH, 9, 3 + user) for user in range(5)]
    shards = prepared(tmp_path, log_of(events, TEXTS, [f"thing{n}" for n in range(12)]))
    store, items = TimelineStore.open(shards), ItemStore.open(shards)
    found = QueryProbe.of(some_searches(store, 100), items)
    assert found is not None
    assert (found.fits, found.alone, found.negatives_fit, found.names) == (1, 1, 0, 0)
    warnings = LogBrief.of_shards(shards).warnings
    expected = "100% of searched items have all words of their query, 0.0% of their negatives do"
    assert any(warning.startswith(expected) for warning in warnings)
    assert any(warning.startswith("no positive event is of rec") for warning in warnings)


def test_warnings_name_what_spoils_results(tmp_path: Path) -> None:
    repeats = [(user, 2 * user + n % 2, REC, 7 * n, -1) for user in range(4) for n in range(8)]
    clean = LogBrief.of_shards(prepared(tmp_path / "a", log_of([*plain(12, 9), (0, 0, SEARCH, 9**9, 0)], TEXTS, ["a"])))
    assert not [warning for warning in clean.warnings if "of rec" in warning]
    assert len(clean.lines) == 3
    found = LogBrief.of_shards(prepared(tmp_path / "b", log_of(repeats, TEXTS)))
    assert any(
        warning.startswith("100.0% of test items of rec stand in their own history") for warning in found.warnings
    )
    tied = [(user, (user + n) % 12, REC, n // 4, -1) for user in range(8) for n in range(8)]
    found = LogBrief.of_shards(prepared(tmp_path / "c", log_of(tied, TEXTS)))
    assert any("test rows of rec lie at a moment" in warning for warning in found.warnings)
    assert all(text.startswith("warning: ") for text in found.text()[3:])


def test_popularity_is_measured() -> None:
    assert gini(np.array([5, 5, 5, 5])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.zeros(3, dtype=np.int64)) is None
    assert head_share(np.array([1, 7, 1, 1])) == 0.7
    assert head_share(np.array([1, 7, 1, 1]), 0.5) == 0.8


def test_the_analysis_needs_shards_alone(tmp_path: Path) -> None:
    prepared(tmp_path, log_of([*plain(12, 9), *plain(12, 9, SEARCH)], TEXTS, ["a"]))
    run = RunFolder(tmp_path)
    finding = LogAnalysis().find(Subject(run=run, config=Config()))
    assert not finding.problems
    assert [table.title for table in finding.tables][-1] == "What counting alone answers"
    counting = finding.numbers["ndcg@10"]["counting"]["rec"]
    assert 0 <= counting.interval[0] <= counting.value <= counting.interval[1] <= 1
    finding.write(tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert html.count("<svg ") == 2
    assert "NaN" not in (tmp_path / "finding.json").read_text()
    assert json.loads((tmp_path / "finding.json").read_text())["numbers"]["tasks"]["rec"]["in_history"] == 0
    assert len(finding.summary) >= 4
