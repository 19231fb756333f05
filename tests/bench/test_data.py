from pathlib import Path

import numpy as np
import pytest
import torch

from gensr_dist.bench.data import HISTORY, NEGATIVES, ReferenceLoader, measure_loader
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError


def test_both_load_the_same_rows(
    small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray, tmp_path: Path
) -> None:
    """What they need not share are the negatives, which the reference draws from Python's generator."""
    loader = TrainingLoader(
        Collator(small_store, small_items, ItemVectors(small_cf), HISTORY),
        SampleOrder(small_store.window_rows, 48, seed=3),
        seed=3,
        negatives=TrainingNegatives(count=NEGATIVES, hard=0, popularity=None),
        rank=0,
        world=1,
        micro_tokens=0,
        workers=0,
    )
    reference_batches = list(ReferenceLoader.write(tmp_path / "rows.tar", loader, steps=3).batches(48))
    (window,) = small_store.windows()
    assert len(reference_batches) == 3
    for reference, (_, (ours,)) in zip(reference_batches, loader.batches(0, 3), strict=True):
        assert torch.equal(reference["user"], ours.user_G)
        assert torch.equal(reference["task"], ours.task_G)
        assert torch.equal(reference["query"], ours.query_GQ)
        assert torch.equal(reference["behaviour"], ours.behaviour_GL)
        assert torch.equal(reference["history"], ours.title_UT[ours.history_GL])
        assert torch.equal(reference["history_cf"], ours.cf_UE[ours.history_GL])
        assert torch.equal(reference["candidate"][:, 0], ours.title_UT[ours.candidate_GC[:, 0]])
        assert torch.equal(reference["candidate_cf"][:, 0], ours.cf_UE[ours.candidate_GC[:, 0]])
        assert torch.equal(reference["label"], ours.label_GC)
        # CF vectors tell which items the negatives are.
        for user, negative_cf_CE in zip(
            reference["user"].tolist(), reference["candidate_cf"][:, 1:].numpy(), strict=True
        ):
            drawn = {int(np.flatnonzero((small_cf == cf_E).all(axis=1))[0]) for cf_E in negative_cf_CE}
            assert len(drawn) == NEGATIVES
            assert not drawn & set(window.seen_in_training.of_user(user).tolist())


def test_the_measurement_runs_and_leaves_the_threads_alone(small_shards: Path) -> None:
    threads = torch.get_num_threads()
    ours, reference, ratio = measure_loader(small_shards, batch=32, rounds=2)
    assert torch.get_num_threads() == threads
    assert ratio > 1  # it is far above 10; a reference that wins means that one of the two is broken
    assert ours > reference > 0


def test_a_log_smaller_than_a_batch_is_refused(small_shards: Path) -> None:
    with pytest.raises(InputError, match="rows are trained on"):
        measure_loader(small_shards, batch=100_000, rounds=1)
