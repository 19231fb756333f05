import dataclasses
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.batches.packed import Packed
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError

BATCH = 24


@pytest.fixture(scope="module")
def collator(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> Collator:
    return Collator(small_store, small_items, ItemVectors(small_cf), history=5)


def loader(
    collator: Collator,
    *,
    rank: int = 0,
    world: int = 1,
    micro_tokens: int = 0,
    workers: int = 0,
    negatives: int = 3,
    batch: int = BATCH,
) -> TrainingLoader:
    return TrainingLoader(
        collator,
        SampleOrder(collator.store.window_rows, batch, seed=9),
        seed=9,
        negatives=TrainingNegatives(count=negatives, hard=0, popularity=None),
        rank=rank,
        world=world,
        micro_tokens=micro_tokens,
        workers=workers,
    )


def test_a_full_shared_memory_ends_the_batches_with_one_line(
    collator: Collator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a worker, whose other errors only torch would hear of, and before there are workers."""

    def full(packed: Packed[Batch]) -> Packed[Batch]:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_7_8_0>: No space left on device (28)"
        )

    with monkeypatch.context() as patch:
        patch.setattr(Packed, "share_memory", full)
        with pytest.raises(InputError, match=r"/dev/shm: no space left of .*shm-size=2g\), or set train.workers to 0"):
            next(loader(collator, workers=1).batches(0, 4))

    def none_left(count: int) -> None:
        assert count >= 3 * 2 + 3 + 5  # queues of two workers, that of their answers, and an event
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gensr_dist.data.batches.prefetch.require_semaphores", none_left)
    with pytest.raises(InputError, match=r"/dev/shm: no space left of "):
        next(loader(collator, workers=2).batches(0, 4))


def test_workers_give_identical_batches(collator: Collator) -> None:
    alone, helped = (list(loader(collator, micro_tokens=650, workers=workers).batches(2, 8)) for workers in (0, 2))
    assert [step for step, _ in alone] == [step for step, _ in helped] == list(range(2, 8))
    for (_, first), (_, second) in zip(alone, helped, strict=True):
        assert len(first) == len(second) == 2
        for one, other in zip(first, second, strict=True):
            for field in dataclasses.fields(Batch):
                a, b = getattr(one, field.name), getattr(other, field.name)
                assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_packed_batches_are_the_same_in_one_buffer(collator: Collator) -> None:
    """Tensors of any size, an empty one among them, in batches of different sizes."""
    batches = [batch for step in (0, 1) for batch in loader(collator, micro_tokens=650).batches_of_step(step)]
    batches[1] = dataclasses.replace(batches[1], query_GQ=batches[1].query_GQ[:, :0], cf_UE=batches[1].cf_UE[:3, :1])
    packed = Packed.pack(batches)
    unpacked = packed.unpack()
    assert len(unpacked) == len(batches)
    for one, other in zip(batches, unpacked, strict=True):
        for field in dataclasses.fields(Batch):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if isinstance(a, torch.Tensor):
                assert (a.dtype, a.shape) == (b.dtype, b.shape)
                assert torch.equal(a, b)
                assert b.untyped_storage().data_ptr() == packed.buffer_B.untyped_storage().data_ptr()
            else:
                assert a == b


def test_micro_batches_hold_the_same_groups_for_any_number_of_ranks(collator: Collator) -> None:
    one = [batch.row_G for batch in loader(collator, micro_tokens=300).batches_of_step(4)]
    two = [loader(collator, rank=rank, world=2, micro_tokens=300).batches_of_step(4) for rank in range(2)]
    assert len(one) > 2
    for number, rows_G in enumerate(one):
        row = torch.cat([rank[number].row_G for rank in two])
        assert torch.equal(row[row >= 0].sort().values, rows_G.sort().values)
        titles = [int((rank[number].title_UT[rank[number].history_GL] > 0).sum()) for rank in two]
        assert abs(titles[0] - titles[1]) <= collator.history * collator.items.title_IT.shape[1]


def test_an_epoch_holds_every_training_row_once(collator: Collator) -> None:
    whole = loader(collator)
    steps = dict(whole.batches(0, whole.order.steps_per_epoch))
    row = torch.cat([batch.row_G for batches in steps.values() for batch in batches])
    assert torch.equal(row[row >= 0].sort().values, torch.arange(whole.order.rows))
    (short,) = steps[whole.order.steps_per_epoch - 1]
    assert short.step_groups == int((short.row_G >= 0).sum()) == len(short.row_G) < BATCH


def test_a_step_of_fewer_rows_than_parts_is_padded(collator: Collator) -> None:
    rows = sum(collator.store.window_rows)
    batch, left = next((size, rows % size) for size in range(8, rows, 8) if 0 < rows % size < 8)
    ranks = [loader(collator, rank=rank, world=8, micro_tokens=100, batch=batch) for rank in range(8)]
    last = ranks[0].order.steps_per_epoch - 1
    batches = [batch for rank in ranks for batch in rank.batches_of_step(last)]
    assert {len(batch.row_G) for batch in batches} == {1}
    assert {int(batch.step_groups) for batch in batches} == {left}
    assert sum(int((batch.row_G >= 0).sum()) for batch in batches) == left
    padded = [batch for batch in batches if batch.row_G[0] < 0]
    assert all((batch.label_GC == IGNORED).all() for batch in padded)


def test_loading_leaves_the_global_random_state_alone(collator: Collator) -> None:
    before = torch.get_rng_state()
    assert len(list(loader(collator, workers=1).batches(0, 2))) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_stopping_early_ends_the_workers(collator: Collator) -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    batches = loader(collator, workers=2).batches(0, 1_000)
    next(batches)
    assert set(multiprocessing.active_children()) - before
    batches.close()  # type: ignore[attr-defined]
    assert not set(multiprocessing.active_children()) - before


def test_workers_end_with_their_process(collator: Collator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed training must not keep its run folder locked through them."""
    monkeypatch.setattr(
        "gensr_dist.data.batches.prefetch.begin_child",
        lambda parent: (tmp_path / f"{os.getpid()}").write_text(str(parent)),
    )
    list(loader(collator, workers=2).batches(0, 4))
    told = [path.read_text() for path in tmp_path.iterdir()]
    assert told == [str(os.getpid())] * 2


def test_a_batch_that_does_not_divide_is_refused(collator: Collator) -> None:
    with pytest.raises(InputError) as caught:
        loader(collator, world=5)
    assert str(caught.value) == (
        "train.batch: 24 groups cannot be shared by 5 ranks; make it a multiple of 5, such as 25"
    )


def test_a_batch_larger_than_an_epoch_is_refused(collator: Collator) -> None:
    rows = sum(collator.store.window_rows)
    loader(collator, batch=rows)
    with pytest.raises(InputError) as caught:
        loader(collator, batch=rows + 1)
    assert str(caught.value) == (
        f"train.batch: {rows + 1} groups, but only {rows} rows are trained on; "
        "lower it, bring a larger log, or raise train.newest_rows"
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_input_found_by_a_worker_is_one_line(collator: Collator, workers: int) -> None:
    with pytest.raises(InputError, match="has seen"):
        next(loader(collator, negatives=10_000, workers=workers).batches(0, 1))
