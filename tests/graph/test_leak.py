"""What the vectors give away of training rows, against a plain loop."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.data.folds import fold_of_users
from gensr_dist.data.item_vectors import WHOLE, ItemVectors
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.training_sample import draw_training_rows
from gensr_dist.graph import leak as leak_module
from gensr_dist.graph.leak import Leak, mean_cosines, measure_leak
from gensr_dist.storage.folder import Folder

SEED = 5
NEGATIVES = 9  # of the shards


@pytest.fixture(scope="module")
def vectors(small_store: TimelineStore) -> ItemVectors:
    whole_IE, *without_fold = np.random.default_rng(0).normal(size=(4, small_store.items, 8)).astype(np.float32)
    whole_IE[::7] = 0  # items without an edge
    return ItemVectors(whole_IE, tuple(without_fold), SEED)


def history_before(store: TimelineStore, user: int, end: int) -> list[int]:
    """The newest items, of a log of one window."""
    histories = store.window(0).histories
    return histories.item_M[histories.user_start_V[user] : end].tolist()[-20:]


def cosine(first_E: np.ndarray, second_E: np.ndarray) -> float:
    lengths = float(np.linalg.norm(first_E) * np.linalg.norm(second_E))
    return float(first_E @ second_E) / lengths if lengths else 0.0


def plain_ndcg(store: TimelineStore, rows: EvalRows, tables: list[np.ndarray]) -> float:
    """Each row with the table of the same place."""
    gains = []
    for row in range(len(rows)):
        history = history_before(store, int(rows.user_R[row]), int(rows.history_end_R[row]))
        table_IE = tables[row].astype(np.float64)
        score_C = [
            float(np.mean([cosine(table_IE[item], table_IE[candidate]) for item in history]))
            for candidate in rows.candidate_RC[row]
        ]
        rank = 1 + sum(score >= score_C[0] - 1e-9 for score in score_C[1:])
        gains.append(1 / math.log2(1 + rank) if rank <= 10 else 0.0)
    return float(np.mean(gains))


def test_it_equals_a_plain_loop(
    small_store: TimelineStore, vectors: ItemVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leak_module, "_ROWS_AT_ONCE", 7)
    monkeypatch.setattr(leak_module, "ROWS", 60)
    leak = measure_leak(small_store, vectors, SEED)
    task = Behaviour.RECOMMENDATION
    training = draw_training_rows(small_store, {task: 60}, SEED, NEGATIVES)[task]
    assert (leak.training_rows, leak.negatives, len(training)) == (60, NEGATIVES, 60)
    assert leak.training_whole == pytest.approx(plain_ndcg(small_store, training, [vectors.whole_IE] * 60))
    tables = [vectors.without_fold[fold] for fold in fold_of_users(training.user_R, 3, SEED)]
    assert leak.training_without == pytest.approx(plain_ndcg(small_store, training, tables))

    monkeypatch.setattr(leak_module, "ROWS", 10_000)
    valid = small_store.eval_rows(Split.VALID, task)
    with_history = [
        row
        for row in range(len(valid))
        if history_before(small_store, int(valid.user_R[row]), int(valid.history_end_R[row]))
    ]
    leak = measure_leak(small_store, vectors, SEED)
    assert leak.validation_rows == len(with_history)
    expected = plain_ndcg(small_store, valid.take(np.array(with_history)), [vectors.whole_IE] * len(with_history))
    assert leak.validation == pytest.approx(expected)


def test_it_is_a_function_of_the_seed_and_not_of_windows(small_shards: Path, vectors: ItemVectors) -> None:
    found = [
        measure_leak(TimelineStore.open(Folder.at(small_shards), shuffle_shards=shards), vectors, SEED)
        for shards in (1, 64)
    ]
    assert found[0] == found[1]


def test_vectors_that_know_the_training_rows_stand_out(small_store: TimelineStore) -> None:
    """Every user has a direction of its own, which the items of its training rows share."""
    timelines = small_store.window(0).timelines
    whole_IE = np.zeros((small_store.items, small_store.users), dtype=np.float32)
    kept_N = timelines.positive_N & (timelines.split_N == Split.TRAIN)
    whole_IE[timelines.item_N[kept_N], timelines.user_N[kept_N]] = 1
    rng = np.random.default_rng(0)
    others = tuple(rng.normal(size=whole_IE.shape).astype(np.float32) for _ in range(2))
    leak = measure_leak(small_store, ItemVectors(whole_IE, others, SEED), SEED)
    assert leak.training_whole is not None
    assert leak.training_without is not None
    assert leak.validation is not None
    assert leak.training_whole > leak.training_without + 0.15
    assert leak.training_whole > leak.validation + 0.15


def test_turning_and_lengths_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    table_IE = rng.normal(size=(30, 6)).astype(np.float32)
    turn_EE = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    lengths_I1 = rng.uniform(0.5, 2, size=(30, 1))
    other_IE = ((table_IE * lengths_I1) @ turn_EE).astype(np.float32)
    history_RL = np.array([[3, 4, -1], [7, 7, 9]])
    candidate_RC = rng.integers(0, 30, size=(2, 5))
    first, second = (
        mean_cosines(ItemVectors(table), WHOLE, history_RL, candidate_RC) for table in (table_IE, other_IE)
    )
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_what_cannot_be_measured_is_none(
    small_store: TimelineStore, vectors: ItemVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = small_store.eval_rows(Split.VALID, Behaviour.RECOMMENDATION).take(np.empty(0, dtype=np.int64))
    with monkeypatch.context() as patch:
        patch.setattr(TimelineStore, "eval_rows", lambda *_: none)
        leak = measure_leak(small_store, ItemVectors(vectors.whole_IE), SEED)
    assert (leak.validation, leak.validation_rows, leak.training_without) == (None, 0, None)
    assert leak.training_whole is not None
    assert leak.sentence().endswith("with the whole graph; validation rows unknown")


def test_the_sentence() -> None:
    leak = Leak(
        training_whole=0.6712,
        training_without=0.381,
        validation=0.3409,
        training_rows=9,
        validation_rows=8,
        negatives=99,
    )
    assert leak.sentence() == (
        "mean cosine N@10: training rows 0.671 with the whole graph, 0.381 without their users' folds; "
        "validation rows 0.341"
    )
    assert "folds" not in dataclasses.replace(leak, training_without=None).sentence()
