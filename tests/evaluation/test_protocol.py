from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.errors import InputError
from gensr_dist.evaluation.protocol import draw_rows, rank_positives


def some_rows(count: int, candidates: int = 6) -> EvalRows:
    """Rows whose event numbers tell them apart."""
    index = np.arange(count)
    return EvalRows(
        event_R=index,
        user_R=index % 3,
        task_R=np.zeros(count, dtype=np.int64),
        query_R=np.full(count, -1),
        history_end_R=index,
        candidate_RC=np.random.default_rng(count).integers(0, 4, size=(count, candidates)),
    )


class ByItem:
    """Scores by item number, so that equal items tie; NaN for the rows in `broken`."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.broken = broken
        self.calls: list[int] = []

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        self.calls.append(len(rows))
        score_RC = rows.candidate_RC.astype(np.float32)
        score_RC[np.isin(rows.event_R, self.broken), -1] = np.nan
        return score_RC


def brute_force(rows: EvalRows) -> list[int]:
    """Sort each row's candidates; of equal scores the positive comes last."""
    ranks = []
    for candidates in rows.candidate_RC.tolist():
        ranked = sorted(enumerate(candidates), key=lambda place_item: (-place_item[1], place_item[0] == 0))
        ranks.append(1 + [place for place, _ in ranked].index(0))
    return ranks


@settings(max_examples=50)
@given(count=st.integers(1, 40), candidates=st.integers(2, 12), batch=st.integers(1, 50))
def test_ranks_are_those_of_a_sorted_list_with_pessimistic_ties(count: int, candidates: int, batch: int) -> None:
    rows = some_rows(count, candidates)
    assert rank_positives(ByItem(), rows, batch).tolist() == brute_force(rows)


def test_a_constant_scorer_is_last() -> None:
    class Constant:
        def score(self, rows: EvalRows) -> NDArray[np.floating]:
            return np.zeros(rows.candidate_RC.shape)

    assert (rank_positives(Constant(), some_rows(5), 2) == 6).all()


def test_no_rows_have_no_ranks() -> None:
    assert rank_positives(ByItem(), some_rows(0), 4).shape == (0,)


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(InputError, match=r"evaluation row 5: a score of user 2 is not a number \(2 of 9 rows"):
        rank_positives(ByItem(broken=(5, 7)), some_rows(9), 4)


def test_drawn_rows_are_distinct_and_seeded() -> None:
    rows = some_rows(50)
    first, again, other = (draw_rows(rows, 20, seed).event_R for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first)) == 20
    assert (np.diff(first) > 0).all()
    assert draw_rows(rows, 0, 1) is draw_rows(rows, 99, 1) is rows


def _ranked_by(rank: int, world: int, folder: str, count: int) -> None:
    store = f"file://{folder}/rendezvous{count}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    scorer = ByItem()
    np.save(f"{folder}/{count}-{rank}.npy", rank_positives(scorer, some_rows(count), 3))
    np.save(f"{folder}/calls-{count}-{rank}.npy", np.array(scorer.calls))
    try:
        rank_positives(ByItem(broken=(0,)), some_rows(count), 3)
    except InputError as error:
        Path(f"{folder}/error-{count}-{rank}").write_text(str(error))
    dist.destroy_process_group()


@pytest.mark.parametrize("count", [2, 10])
def test_any_number_of_ranks_gives_the_same_ranks(tmp_path: Path, count: int) -> None:
    """Also: every rank scores equally many batches (ZeRO-3 needs it), and a NaN of one stops all of them."""
    mp.start_processes(_ranked_by, args=(3, str(tmp_path), count), nprocs=3, start_method="fork")
    expected = brute_force(some_rows(count))
    calls = [np.load(tmp_path / f"calls-{count}-{rank}.npy").tolist() for rank in range(3)]
    assert calls[0] == calls[1] == calls[2]
    for rank in range(3):
        assert np.load(tmp_path / f"{count}-{rank}.npy").tolist() == expected
        assert "evaluation row 0" in (tmp_path / f"error-{count}-{rank}").read_text()
