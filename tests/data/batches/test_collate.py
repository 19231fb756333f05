import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from gensr_dist.data.batches.batch import HISTORY_FEATURES, IGNORED, QUERY_FEATURES, Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.evidence import Evidence
from gensr_dist.data.events import Behaviour
from gensr_dist.data.folds import fold_of_users
from gensr_dist.data.history_evidence import HistoryEvidence
from gensr_dist.data.item_vectors import WHOLE, ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.query_evidence import OwnSearches, QueryEvidence
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.sparse_vectors import present
from gensr_dist.data.timelines.rows import training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.retrieval.channels.earlier_visits import earlier_visits, users_of_items
from gensr_dist.retrieval.channels.item_neighbours import covisitation, text_neighbours
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.storage.folder import Folder
from tests.data.negatives.offers import offers_of

HISTORY = 7
FOUR = TrainingNegatives(count=4, hard=0, popularity=None)


@dataclasses.dataclass(frozen=True)
class World:
    """A collator and, apart from it, the whole log that its windows were cut from."""

    collator: Collator
    log: Timelines
    training_event_R: np.ndarray


def joined(store: TimelineStore) -> Timelines:
    """The timelines of all windows as one."""
    windows = [window.timelines for window in store.windows()]
    count_V = np.concatenate([np.diff(timelines.user_start_V) for timelines in windows])
    columns = {
        field.name: np.concatenate([getattr(timelines, field.name) for timelines in windows])
        for field in dataclasses.fields(Timelines)
        if field.name != "user_start_V"
    }
    return Timelines(user_start_V=np.concatenate([[0], np.cumsum(count_V)]), **columns)


def random_vectors(items: int, folds: int) -> ItemVectors:
    whole_IE, *without_fold = np.random.default_rng(1).normal(size=(1 + folds, items, 8)).astype(np.float32)
    return ItemVectors(whole_IE, tuple(without_fold), seed=3)


@pytest.fixture(scope="module", params=["one window", "a window a shard", "three folds", "a window a shard, folds"])
def world(request: pytest.FixtureRequest, small_shards: Path, prepared: Path) -> World:
    """One window of a log with twin events, and a log of several windows."""
    one = "a window a shard" not in request.param
    shards = Folder.at(small_shards if one else prepared)
    store = TimelineStore.open(shards, shuffle_shards=64 if one else 1)
    assert (len(store.window_rows) == 1) == one
    vectors = random_vectors(store.items, 3 if "folds" in request.param else 0)
    log = joined(store)
    return World(Collator(store, ItemStore.open(shards), vectors, HISTORY), log, training_rows(log))


@pytest.fixture(scope="module")
def collator(world: World) -> Collator:
    return world.collator


def training(
    collator: Collator, rows: np.ndarray, epoch: int = 0, seed: int = 3, negatives: TrainingNegatives = FOUR
) -> Batch:
    return collator.training(rows, epoch=epoch, seed=seed, negatives=negatives, step_groups=len(rows))


def mixed_rows(world: World, count: int) -> np.ndarray:
    """Rows of all windows in disorder."""
    return np.random.default_rng(0).permutation(len(world.training_event_R))[:count]


def catalogue_rows(batch: Batch, slots: torch.Tensor) -> np.ndarray:
    return batch.item_U[slots].numpy()


def check_item_table(collator: Collator, batch: Batch, *, training: bool = False) -> None:
    """Each slot is one item in the vectors of one fold; slots are numbered fold by fold."""
    item_U = batch.item_U.numpy()
    assert item_U[0] == -1
    vectors = collator.vectors
    fold_U = np.full(len(item_U), WHOLE)
    if training and vectors.folds:
        for group, user in enumerate(batch.user_G.tolist()):
            fold = int(fold_of_users(np.array([user]), vectors.folds, vectors.seed)[0])
            for slot in (*batch.history_GL[group].tolist(), *batch.candidate_GC[group].tolist()):
                assert slot == 0 or fold_U[slot] in (WHOLE, fold)
                fold_U[slot] = fold
        assert (fold_U[1:] != WHOLE).all()
    assert (np.diff(fold_U[1:]) >= 0).all()
    assert len(set(zip(fold_U, item_U, strict=True))) == len(item_U)
    for slot in range(1, len(item_U)):
        table_IE = vectors.whole_IE if fold_U[slot] == WHOLE else vectors.without_fold[fold_U[slot]]
        assert np.array_equal(batch.cf_UE[slot].numpy(), table_IE[item_U[slot]])
    assert not batch.cf_UE[0].any()
    assert not batch.title_UT[0].any()
    assert np.array_equal(batch.title_UT[1:].numpy(), collator.items.title_IT[item_U[1:]])
    used = torch.cat([batch.history_GL.ravel(), batch.candidate_GC.ravel(), torch.zeros(1, dtype=torch.int64)])
    assert torch.equal(used.unique(), torch.arange(len(item_U)))
    dtypes = {f.name: getattr(batch, f.name).dtype for f in dataclasses.fields(batch) if f.name != "step_groups"}
    for name in ("cf_UE", "log_chance_GC", "query_evidence_GCF", "history_evidence_GCF"):
        assert dtypes.pop(name) == torch.float32
    assert not batch.log_chance_GC.any(), "draws are uniform"
    assert set(dtypes.values()) == {torch.int64}


def expected_history(timelines: Timelines, user: int, time: int) -> tuple[list[int], list[int]]:
    """The definition, event by event: strictly earlier positives, both events of one interaction merged."""
    merged: dict[tuple[int, int], int] = {}
    for event in range(timelines.user_start_V[user], timelines.user_start_V[user + 1]):
        if timelines.positive_N[event] and timelines.time_N[event] < time:
            key = (int(timelines.time_N[event]), int(timelines.item_N[event]))
            merged[key] = merged.get(key, 0) | (1 << int(timelines.behaviour_N[event]))
    newest = list(merged.items())[-HISTORY:]
    padding = [-1] * (HISTORY - len(newest))
    return [key[1] for key, _ in newest] + padding, [code for _, code in newest] + [0] * len(padding)


def seen_in_training(log: Timelines) -> set[tuple[int, int]]:
    training_N = log.split_N == Split.TRAIN
    return set(zip(log.user_N[training_N].tolist(), log.item_N[training_N].tolist(), strict=True))


def test_a_training_batch_holds_what_the_log_says(world: World) -> None:
    collator, log = world.collator, world.log
    seen = seen_in_training(log)
    rows_G = mixed_rows(world, 80)
    batch = training(collator, rows_G)
    check_item_table(collator, batch, training=True)
    candidate_GC = catalogue_rows(batch, batch.candidate_GC)
    for group, row in enumerate(rows_G):
        event = world.training_event_R[row]
        user = int(log.user_N[event])
        assert log.positive_N[event]
        assert log.split_N[event] == Split.TRAIN
        assert int(batch.user_G[group]) == user
        assert int(batch.task_G[group]) == log.behaviour_N[event]
        query = log.query_N[event]
        tokens = collator.items.query_QT[query] if query >= 0 else np.zeros(4)
        assert np.array_equal(batch.query_GQ[group].numpy(), tokens)
        items, codes = expected_history(log, user, int(log.time_N[event]))
        assert catalogue_rows(batch, batch.history_GL[group]).tolist() == items
        assert batch.behaviour_GL[group].tolist() == codes
        assert candidate_GC[group, 0] == log.item_N[event]
        assert len(set(candidate_GC[group])) == 5
        assert not {(user, int(item)) for item in candidate_GC[group, 1:]} & seen
    assert batch.label_GC.tolist() == [[1, 0, 0, 0, 0]] * len(rows_G)
    assert np.array_equal(batch.row_G.numpy(), rows_G)
    assert batch.step_groups == len(rows_G)


def test_hard_negatives_come_from_the_session_of_the_positive(world: World) -> None:
    two_hard = TrainingNegatives(count=4, hard=2, popularity=None)
    rows_G = mixed_rows(world, 120)
    batch = training(world.collator, rows_G, negatives=two_hard)
    candidate_GC = catalogue_rows(batch, batch.candidate_GC)
    found = 0
    for window, place_P in world.collator.store.parts_of_rows(rows_G):
        for group in place_P:
            offered = set(offers_of(window.exposures, window.training_event_R[rows_G[group] - window.first_row]))
            hard = offered & set(candidate_GC[group, 1:].tolist())
            assert len(hard) == min(2, len(offered))
            found += len(hard)
    assert bool(found) == (len(world.collator.store.window_rows) > 1)  # the other log's times are too far apart


def test_held_out_items_are_negatives_like_any_other(world: World) -> None:
    collator, log = world.collator, world.log
    held_out_N = log.split_N != Split.TRAIN
    held_out = set(zip(log.user_N[held_out_N].tolist(), log.item_N[held_out_N].tolist(), strict=True))
    drawn: set[tuple[int, int]] = set()
    rows_G = np.arange(len(world.training_event_R))
    for epoch in range(6):
        batch = training(collator, rows_G, epoch=epoch, seed=1)
        negative_GC = catalogue_rows(batch, batch.candidate_GC)[:, 1:]
        for user, items in zip(batch.user_G.tolist(), negative_GC.tolist(), strict=True):
            drawn |= {(user, item) for item in items}
    users = set(log.user_N[world.training_event_R].tolist())
    seen = {(user, item) for user, item in seen_in_training(log) if user in users}
    unseen = len(users) * collator.store.items - len(seen)
    held_out = {(user, item) for user, item in held_out if user in users} - seen
    assert 0.5 < (len(held_out & drawn) / len(held_out)) / (len(drawn) / unseen) < 2


def test_a_row_does_not_depend_on_its_batch(world: World) -> None:
    collator, rows_G = world.collator, mixed_rows(world, 6)
    together = training(collator, rows_G)
    for group, row in enumerate(rows_G):
        alone = training(collator, np.array([row]))
        for slots in ("history_GL", "candidate_GC"):
            expected = catalogue_rows(together, getattr(together, slots)[group])
            assert np.array_equal(catalogue_rows(alone, getattr(alone, slots)[0]), expected)


def test_negatives_change_with_epoch_and_seed_only(collator: Collator) -> None:
    rows_G = np.arange(50)
    first, again = (catalogue_rows(batch, batch.candidate_GC) for batch in (training(collator, rows_G),) * 2)
    assert np.array_equal(first, again)
    for other in (training(collator, rows_G, epoch=1), training(collator, rows_G, seed=4)):
        candidate_GC = catalogue_rows(other, other.candidate_GC)
        assert np.array_equal(candidate_GC[:, 0], first[:, 0])
        assert np.mean(candidate_GC[:, 1:] == first[:, 1:]) < 0.2


@pytest.mark.parametrize("rows", [[5, -1, 9, -1], [-1, -1]])
def test_padded_groups_are_empty(collator: Collator, rows: list[int]) -> None:
    batch = training(collator, np.array(rows))
    check_item_table(collator, batch, training=True)
    assert batch.row_G.tolist() == rows
    padded = batch.row_G == -1
    for name in ("user_G", "task_G", "query_GQ", "history_GL", "behaviour_GL", "candidate_GC"):
        values = getattr(batch, name)
        assert values.shape[0] == len(rows)
        assert not values[padded].any()
    assert (batch.label_GC[padded] == IGNORED).all()
    real = [row for row in rows if row >= 0]
    if real:
        alone = training(collator, np.array(real))
        assert torch.equal(alone.item_U, batch.item_U)
        assert torch.equal(alone.label_GC, batch.label_GC[~padded])
        assert torch.equal(alone.history_GL, batch.history_GL[~padded])
        assert torch.equal(alone.candidate_GC, batch.candidate_GC[~padded])


@pytest.mark.parametrize("task", list(Behaviour))
def test_an_evaluation_batch_holds_the_frozen_candidates(world: World, task: Behaviour) -> None:
    collator = world.collator
    rows = collator.store.eval_rows(Split.TEST, task)
    batch = collator.evaluation(rows)
    check_item_table(collator, batch)
    assert np.array_equal(catalogue_rows(batch, batch.candidate_GC), rows.candidate_RC)
    assert np.array_equal(batch.user_G.numpy(), rows.user_R)
    assert (batch.task_G == task).all()
    assert bool(batch.query_GQ.any()) == (task == Behaviour.SEARCH)
    for group in range(0, len(rows), 9):
        time = world.log.time_N[rows.event_R[group]]
        items, _ = expected_history(world.log, int(rows.user_R[group]), int(time))
        assert catalogue_rows(batch, batch.history_GL[group]).tolist() == items
    assert batch.label_GC[:, 0].eq(1).all()
    assert batch.label_GC[:, 1:].eq(0).all()


def test_training_rows_are_measured_with_the_vectors_that_they_are_trained_with(world: World) -> None:
    collator = world.collator
    rows = collator.store.eval_rows(Split.VALID, Behaviour.RECOMMENDATION)
    batch, held_out = collator.evaluation(rows, training=True), collator.evaluation(rows)
    check_item_table(collator, batch, training=True)
    for field in ("row_G", "user_G", "task_G", "query_GQ", "behaviour_GL", "label_GC"):
        assert torch.equal(getattr(batch, field), getattr(held_out, field))
    for slots in ("history_GL", "candidate_GC"):
        expected = catalogue_rows(held_out, getattr(held_out, slots))
        assert np.array_equal(catalogue_rows(batch, getattr(batch, slots)), expected)


def test_a_serving_batch_takes_any_candidates(world: World) -> None:
    collator = world.collator
    user_G = np.array([world.log.users - 1, 0])
    history = collator.store.gather_histories(user_G, collator.store.history_span(user_G)[1], collator.history)
    query_GQ = np.array([[4, 1, 0], [0, 0, 0]])
    candidate_GC = np.array([[3, 3, 8], [1, 0, -1]])
    batch = collator.query(*history, np.array([1, 0]), query_GQ, candidate_GC, texts=())
    check_item_table(collator, batch)
    assert np.array_equal(catalogue_rows(batch, batch.candidate_GC), candidate_GC)
    assert batch.label_GC.tolist() == [[0, 0, 0], [0, 0, IGNORED]]
    assert batch.query_GQ.tolist() == query_GQ.tolist()
    items, _ = expected_history(world.log, world.log.users - 1, np.iinfo(np.int64).max)
    assert catalogue_rows(batch, batch.history_GL[0]).tolist() == items


def test_vectors_of_another_catalogue_are_refused(collator: Collator) -> None:
    with pytest.raises(
        InputError, match=r"cf/items\.npy: 3 vectors for a catalogue of \d+ items; run `gensr lightgcn`"
    ):
        Collator(collator.store, collator.items, random_vectors(3, 0), HISTORY)


def test_too_many_negatives_are_refused(collator: Collator) -> None:
    many = TrainingNegatives(count=collator.store.items, hard=0, popularity=None)
    with pytest.raises(InputError, match="has seen"):
        training(collator, np.arange(9), negatives=many)


def test_threads_do_not_mix_up_their_item_tables(world: World) -> None:
    parts = [mixed_rows(world, 400)[start::8] for start in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda rows_G: training(world.collator, rows_G), parts * 4))
    for rows_G, batch in zip(parts * 4, together, strict=True):
        alone = training(world.collator, rows_G)
        assert torch.equal(alone.item_U, batch.item_U)
        assert torch.equal(alone.history_GL, batch.history_GL)
        assert torch.equal(alone.candidate_GC, batch.candidate_GC)


# Evidence of queries and histories.


@pytest.fixture(scope="module")
def told(world: World) -> Collator:
    """The same collator with evidence."""
    own = world.collator
    sources = ChannelSources.of(own.store, own.items)
    counts = sources.text_IW, sources.word_QW, sources.found_IQ
    queries = QueryEvidence.of(sources.hash_W, *counts, sources.repeated)
    events = sources.user_M, sources.item_M
    users_I = users_of_items(*events, own.store.items)
    histories = HistoryEvidence(
        close_II=covisitation(*events, own.store.items),
        text_II=text_neighbours(present(sources.text_IW)),
        users_I=users_I,
        earlier=earlier_visits(*events, sources.time_M, users_I),
    )
    evidence = Evidence(queries=queries, histories=histories)
    return Collator(own.store, own.items, own.vectors, HISTORY, evidence=evidence)


def evidence_of(collator: Collator, batch: Batch, query_G: np.ndarray, own: bool) -> np.ndarray:
    """Group by group."""
    queries = collator.evidence.queries
    assert queries is not None
    expected_GCF = np.zeros((*batch.candidate_GC.shape, QUERY_FEATURES), dtype=np.float32)
    for group, candidate_C in enumerate(catalogue_rows(batch, batch.candidate_GC)):
        if batch.task_G[group] == Behaviour.SEARCH:
            left_out = OwnSearches(batch.user_G[[group]].numpy(), query_G[[group]]) if own else None
            word_1Q = queries.asked(query_G[[group]])
            expected_GCF[group] = queries.features(word_1Q, candidate_C[None], left_out)[0]
    return expected_GCF


def histories_of(collator: Collator, batch: Batch, time_G: np.ndarray | None) -> np.ndarray:
    """Group by group, of items as rows of the catalogue."""
    histories = collator.evidence.histories
    assert histories is not None
    expected_GCF = np.zeros((*batch.candidate_GC.shape, HISTORY_FEATURES), dtype=np.float32)
    shown = (catalogue_rows(batch, batch.history_GL), catalogue_rows(batch, batch.candidate_GC))
    for group, (history_L, candidate_C) in enumerate(zip(*shown, strict=True)):
        time_1 = None if time_G is None else time_G[[group]]
        expected_GCF[group] = histories.features(history_L[None], candidate_C[None], time_1)[0]
    return expected_GCF


def test_training_rows_are_told_what_was_known_before_them(world: World, told: Collator) -> None:
    rows_G = np.arange(60)
    batch = training(told, rows_G)
    event_G = world.training_event_R[rows_G]
    time_G = world.log.time_N[event_G]
    assert np.array_equal(batch.history_evidence_GCF.numpy(), histories_of(told, batch, time_G))
    assert batch.history_evidence_GCF[:, 0, :3].any()
    assert not np.array_equal(batch.history_evidence_GCF.numpy(), histories_of(told, batch, None))


@pytest.mark.parametrize("training", [False, True])
def test_rows_to_be_ranked_are_told_of_their_histories(told: Collator, training: bool) -> None:
    rows = told.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    batch = told.evaluation(rows, training=training)
    time_R = told.store.times(rows.user_R, rows.event_R) if training else None
    assert np.array_equal(batch.history_evidence_GCF.numpy(), histories_of(told, batch, time_R))


def test_padded_candidates_are_told_nothing(told: Collator) -> None:
    rows = told.store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION).take(np.arange(4))
    history_GL, behaviour_GL = told.store.gather_histories(rows.user_R, rows.history_end_R, HISTORY)
    candidate_GC = np.where(np.arange(rows.candidate_RC.shape[1]) < 3, rows.candidate_RC, -1)
    nothing = np.zeros((4, told.items.query_QT.shape[1]), dtype=np.int64)
    batch = told.query(history_GL, behaviour_GL, rows.task_R, nothing, candidate_GC, texts=())
    assert not batch.history_evidence_GCF[:, 3:].any()
    assert batch.history_evidence_GCF[:, :3].any()


def test_searches_are_told_the_evidence_of_other_rows(world: World, told: Collator) -> None:
    rows_G = np.arange(40)
    batch = training(told, rows_G)
    query_G = world.log.query_N[world.training_event_R[rows_G]]
    assert np.array_equal(batch.query_evidence_GCF.numpy(), evidence_of(told, batch, query_G, own=True))
    assert batch.query_evidence_GCF[batch.task_G == Behaviour.SEARCH].any()


@pytest.mark.parametrize("training", [False, True])
def test_held_out_searches_are_told_of_all_training_rows(told: Collator, training: bool) -> None:
    rows = told.store.eval_rows(Split.TEST, Behaviour.SEARCH)
    batch = told.evaluation(rows, training=training)
    assert np.array_equal(batch.query_evidence_GCF.numpy(), evidence_of(told, batch, rows.query_R, own=training))


def test_a_typed_query_is_told_what_that_of_a_row_is(told: Collator) -> None:
    rows = told.store.eval_rows(Split.TEST, Behaviour.SEARCH)
    rows = rows.take(np.flatnonzero(rows.query_R >= 0))
    history = told.store.gather_histories(rows.user_R, rows.history_end_R, HISTORY)
    texts = [told.items.queries[query] for query in rows.query_R.tolist()]
    query_GQ = told.items.query_QT[rows.query_R].astype(np.int64)
    batch = told.query(*history, rows.task_R, query_GQ, rows.candidate_RC, texts=texts)
    np.testing.assert_allclose(batch.query_evidence_GCF, told.evaluation(rows).query_evidence_GCF, rtol=1e-5, atol=1e-6)
