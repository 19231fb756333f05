"""Sequences hold every training recommendation that something came before, once an epoch.

Dimensions: S sequences, L length, N negatives.
"""

from collections import Counter

import numpy as np
import pytest
import torch

from gensr_dist.data.batches.sequences import SequenceBatch, SequenceLoader
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.moments import Moments
from gensr_dist.storage.folder import Folder
from tests.baselines.builders import context_collator

THREE = TrainingNegatives(count=3, hard=0, popularity=None)


@pytest.fixture(params=[64, 1], ids=["one window", "a window a shard"])
def store(request: pytest.FixtureRequest, small_shards: object) -> TimelineStore:
    return TimelineStore.open(Folder.at(str(small_shards)), shuffle_shards=request.param)


def loader_of(
    store: TimelineStore, items: ItemStore, cf: np.ndarray, length: int, *, rank: int = 0, world: int = 1, seed: int = 5
) -> SequenceLoader:
    collator = context_collator(store, items, cf, length)
    return SequenceLoader(collator, batch=8, seed=seed, negatives=THREE, shared=6, rank=rank, world=world)


def training_interactions(store: TimelineStore) -> dict[int, list[tuple[int, int, int]]]:
    """Item, behaviour and query of each user's training interactions, in order, found by a loop."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for window in store.windows():
        histories, moments = Histories.from_timelines(window.timelines), Moments.from_timelines(window.timelines)
        for user in range(window.timelines.users):
            start, end = histories.user_start_V[user : user + 2]
            found[user + window.first_user] = [
                (int(histories.item_M[m]), int(histories.behaviour_M[m]), int(moments.query_M[m]))
                for m in range(start, end)
                if moments.training_M[m]
            ]
    return found


def positions(batch: SequenceBatch) -> list[tuple[int, tuple[int, ...], int]]:
    """User, items so far and item predicted, of each position with a target."""
    item_SL, next_SL = batch.item_U[batch.item_SL], batch.item_U[batch.next_SL]
    return [
        (int(batch.user_S[s]), tuple(item_SL[s, : place + 1].tolist()), int(next_SL[s, place]))
        for s, place in batch.is_target_SL.nonzero().tolist()
    ]


@pytest.mark.parametrize("length", [1, 3, 50])
def test_every_recommendation_is_a_target_once(
    store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray, length: int
) -> None:
    expected: Counter[tuple[int, int]] = Counter()
    for user, interactions in training_interactions(store).items():
        expected.update((user, item) for item, behaviour, _ in interactions[1:] if behaviour & 1)
    made = loader_of(store, small_items, small_cf, length)
    found: Counter[tuple[int, int]] = Counter()
    targets = 0
    for step in range(made.steps_per_epoch):
        (batch,) = made.batches_of_step(step)
        found.update((user, item) for user, _, item in positions(batch))
        assert batch.step_targets == int(batch.is_target_SL.sum())
        targets += batch.step_targets
    assert found == expected
    assert targets == expected.total() > 200


def test_a_position_reads_what_came_before(store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> None:
    interactions = training_interactions(store)
    made = loader_of(store, small_items, small_cf, 4)
    for step in range(made.steps_per_epoch):
        (batch,) = made.batches_of_step(step)
        item_SL = batch.item_U[batch.item_SL]
        for s, user in enumerate(batch.user_S.tolist()):
            length = int((batch.item_SL[s] > 0).sum())
            shown = [
                (
                    int(item_SL[s, place]),
                    int(batch.behaviour_SL[s, place]),
                    batch.query_KQ[batch.history_query_SL[s, place]],
                )
                for place in range(length)
            ]
            own = interactions[user]
            follows = int(batch.item_U[batch.next_SL[s, length - 1]])  # of a sequence of full length
            starts = [
                start
                for start in range(len(own) - length + 1)
                if [entry[:2] for entry in own[start : start + length]] == [entry[:2] for entry in shown]
                and (follows < 0 or own[start + length][0] == follows)
            ]
            assert starts
            start = starts[0]
            for place, (_, _, words) in enumerate(shown):
                query = own[start + place][2]
                expected = torch.from_numpy(small_items.query_QT[query].astype(np.int64)) if query >= 0 else 0 * words
                assert torch.equal(words, expected)


def test_negatives_are_unmet_and_stand_where_targets_do(
    store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    met = {user: {item for item, _, _ in own} for user, own in training_interactions(store).items()}
    (batch,) = loader_of(store, small_items, small_cf, 6).batches_of_step(2)
    assert torch.equal(batch.negative_SLN > 0, batch.is_target_SL[:, :, None].expand(-1, -1, 3))
    negative_SLN = batch.item_U[batch.negative_SLN]
    for s, place in batch.is_target_SL.nonzero().tolist():
        drawn = negative_SLN[s, place].tolist()
        assert len(set(drawn)) == 3
        assert not met[int(batch.user_S[s])] & set(drawn)
    shared = batch.item_U[batch.shared_B].tolist()
    assert 0 < len(set(shared)) == len(shared) <= 6
    assert min(shared) >= 0


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_a_step(store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray, world: int) -> None:
    whole = loader_of(store, small_items, small_cf, 3)
    parts = [loader_of(store, small_items, small_cf, 3, rank=rank, world=world) for rank in range(world)]
    for step in range(whole.steps_per_epoch):
        (expected,) = whole.batches_of_step(step)
        batches = [part.batches_of_step(step)[0] for part in parts]
        assert {batch.step_targets for batch in batches} == {expected.step_targets}
        found = Counter(position for batch in batches for position in positions(batch))
        assert found == Counter(positions(expected))


def test_a_step_is_a_function_of_seed_and_number(
    store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    first, second = loader_of(store, small_items, small_cf, 3), loader_of(store, small_items, small_cf, 3)
    first.batches_of_step(0)
    for name in ("item_SL", "next_SL", "negative_SLN", "shared_B", "item_U"):
        assert torch.equal(getattr(first.batches_of_step(4)[0], name), getattr(second.batches_of_step(4)[0], name))
    other = loader_of(store, small_items, small_cf, 3, seed=6)
    assert not torch.equal(other.batches_of_step(4)[0].user_S, second.batches_of_step(4)[0].user_S)
    epoch = first.steps_per_epoch
    negatives = {
        tuple(batch.item_U[batch.negative_SLN].flatten().tolist())
        for step in (0, epoch)
        for batch in first.batches_of_step(step)
    }
    assert len(negatives) == 2  # drawn again
