"""The loader's memory grows neither with epochs nor with the number of shards."""

import dataclasses
import gc
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from pathlib import Path

import numpy as np
import psutil
import pytest

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.storage.folder import Folder
from tests.forked_ranks import CONTEXT

EPOCHS, SETTLED = 50, 10
TOLERANCE = 4e6  # bytes; what allocators keep varies by about a tenth of it


def loader(shards: Path, shuffle_shards: int, workers: int = 0) -> TrainingLoader:
    folder = Folder.at(shards)
    store = TimelineStore.open(folder, shuffle_shards=shuffle_shards)
    cf_IE = np.ones((store.items, 16), dtype=np.float32)
    return TrainingLoader(
        Collator(store, ItemStore.open(folder), ItemVectors(cf_IE), history=20),
        SampleOrder(store.window_rows, batch=96, seed=0),
        seed=0,
        negatives=TrainingNegatives(count=4, hard=1, popularity=None),
        rank=0,
        world=1,
        micro_tokens=0,
        workers=workers,
    )


def resident_growth(shards: Path, shuffle_shards: int, workers: int, keep: bool) -> int:
    """Bytes that this process and its workers gained from epoch SETTLED to epoch EPOCHS."""
    loading = loader(shards, shuffle_shards, workers)
    this, steps = psutil.Process(), loading.order.steps_per_epoch
    others = this.children()  # that multiprocessing needs
    kept, measured = [], []
    for step, batches in loading.batches(0, EPOCHS * steps):
        if keep:
            kept.append(deepcopy(batches))
        if step in (SETTLED * steps, EPOCHS * steps - 1):
            gc.collect()
            processes = [this, *(child for child in this.children() if child not in others)]
            assert len(processes) == 1 + workers
            measured.append(sum(process.memory_info().rss for process in processes))
    return measured[1] - measured[0]


def growth_of_a_new_process(shards: Path, shuffle_shards: int, workers: int = 0, *, keep: bool = False) -> int:
    """`resident_growth` where no earlier test left free memory that would hide it."""
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool:
        return pool.submit(resident_growth, shards, shuffle_shards, workers, keep).result()


@pytest.mark.parametrize(("workers", "shuffle_shards"), [(0, 1), (0, 64), (2, 1)])
def test_fifty_epochs_need_no_more_than_ten(prepared: Path, workers: int, shuffle_shards: int) -> None:
    assert growth_of_a_new_process(prepared, shuffle_shards, workers) < TOLERANCE


def test_batches_that_are_kept_would_be_seen(prepared: Path) -> None:
    assert growth_of_a_new_process(prepared, 64, keep=True) > 2 * TOLERANCE


@pytest.fixture(scope="module")
def make_shards(
    tmp_path_factory: pytest.TempPathFactory, make_log: Callable[..., EventLog], small_config: DataConfig
) -> Callable[[int], Path]:
    def make(shards: int) -> Path:
        folder = tmp_path_factory.mktemp("shards") / "shards"
        config = dataclasses.replace(small_config, users_per_sample=8, samples_per_shard=2, eval_negatives=2)
        log = make_log(users=16 * shards, items=120, events=1_600 * shards)
        prepare(LocalEngine(log), config, 0, folder=Folder.at(folder))
        assert len(list(folder.glob("shard-*.tar"))) == shards
        return folder

    return make


def peak_of_an_epoch(loading: TrainingLoader) -> int:
    """Most bytes that numpy and Python held at once, beyond what they held before."""
    tracemalloc.start()
    try:
        for _ in loading.batches(0, loading.order.steps_per_epoch):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_four_times_the_shards_need_no_more_memory(make_shards: Callable[[int], Path]) -> None:
    few, many = make_shards(6), make_shards(24)
    peak_of_an_epoch(loader(few, 2))  # what the first use of libraries keeps is not the loader's
    # Python 3.13 lets more cycles of garbage (of headers of arrays) lie before it collects them
    assert peak_of_an_epoch(loader(many, 2)) < 1.3 * peak_of_an_epoch(loader(few, 2))
    assert peak_of_an_epoch(loader(many, 64)) > 2 * peak_of_an_epoch(loader(few, 64))  # all in one window
