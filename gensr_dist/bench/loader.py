"""The loader against the plain way of loading: one WebDataset sample a training row, put together in Python.

Both run in this process, on one thread, on the same rows, with histories of 20 and groups of 5. Dimensions as in
`data/batches/batch.py`; T title tokens, E width of a CF vector.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import webdataset
from torch import Tensor
from tqdm import tqdm

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.unmet import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.storage.folder import Folder

HISTORY = 20
NEGATIVES = 4
_CF_WIDTH = 64
_OURS = 100  # steps of a round
_PLAIN = 10  # steps of a round, and of the tar of one sample a row


@dataclass(frozen=True, kw_only=True)
class LoaderSpeed:
    """Medians over the rounds. A row is a candidate of a ready batch: one prompt, five a group."""

    loader_rows_per_s: float  # with its share of decoding the shards
    plain_rows_per_s: float
    loader_ratio: float  # median of the rounds' ratios
    decode_s: float  # from shards to arrays, once a window and epoch; part of loader_rows_per_s in proportion
    batch: int  # groups
    rounds: int


def measure_loader(shards: Path, *, batch: int = 256, rounds: int = 7) -> LoaderSpeed:
    """Measure both ways in turns.

    Args:
        shards: a prepared folder.
        batch: groups of a step.
        rounds: of both ways, alternated.

    Raises:
        InputError: the folder is damaged, or has fewer training rows than `batch`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(shards, Path(folder), batch, rounds)
    finally:
        torch.set_num_threads(threads)


def _measure(shards: Path, folder: Path, batch: int, rounds: int) -> LoaderSpeed:
    items = ItemStore.open(Folder.at(shards))
    cf_IE = np.lib.format.open_memmap(
        folder / "cf.npy", mode="w+", dtype=np.float32, shape=(len(items.title_IT), _CF_WIDTH)
    )
    store = TimelineStore.open(Folder.at(shards))
    loader = TrainingLoader(
        Collator(store, items, ItemVectors(cf_IE), HISTORY),
        SampleOrder(store.window_rows, batch, seed=0),
        seed=0,
        negatives=TrainingNegatives(count=NEGATIVES, hard=0, popularity=None),
        rank=0,
        world=1,
        micro_tokens=0,
        workers=0,
    )
    began = time.perf_counter()
    loader.batches_of_step(0)
    decode_s = time.perf_counter() - began
    decoded_rows = sum(len(window.training_event_R) for window, _ in store.parts_of_rows(loader.order.rows_of_step(0)))
    plain = PlainWay.write(folder / "rows.tar", loader, steps=_PLAIN)

    ours_R, plain_R = [], []
    for round_ in tqdm(range(rounds), desc="loader and plain way", unit="round", disable=None):
        began = time.perf_counter()
        groups = sum(
            loader.order.groups_of_step(step) for step, _ in loader.batches(round_ * _OURS, (round_ + 1) * _OURS)
        )
        seconds_a_group = (time.perf_counter() - began) / groups + decode_s / decoded_rows
        ours_R.append((1 + NEGATIVES) / seconds_a_group)
        began = time.perf_counter()
        groups = sum(len(batch_.label_GC) for batch_ in plain.batches(batch))
        plain_R.append(groups * (1 + NEGATIVES) / (time.perf_counter() - began))
    return LoaderSpeed(
        loader_rows_per_s=round(median(ours_R)),
        plain_rows_per_s=round(median(plain_R)),
        loader_ratio=round(median(ours / other for ours, other in zip(ours_R, plain_R, strict=True)), 2),
        decode_s=round(decode_s, 3),
        batch=batch,
        rounds=rounds,
    )


@dataclass(frozen=True)
class PlainBatch:
    """What `Batch` holds, without the table of distinct items."""

    user_G: Tensor
    task_G: Tensor
    query_GQ: Tensor
    history_GLT: Tensor
    history_cf_GLE: Tensor
    behaviour_GL: Tensor
    candidate_GCT: Tensor
    candidate_cf_GCE: Tensor
    label_GC: Tensor


class PlainWay:
    """A tar of one sample a row, `{user, task, query, item, history, behaviours}` in JSON, read with webdataset.

    What it is spared: shuffling, tar headers for the time of writing, and collecting what each user met.

    Args:
        tar: of the rows.
        items: title and query tokens.
        cf_IE: CF vectors.
        met: items that each user must not get as negatives.
    """

    def __init__(self, tar: Path, items: ItemStore, cf_IE: np.ndarray, met: dict[int, set[int]]) -> None:
        self.tar = tar
        self.title_IT, self.query_QT, self.cf_IE = (np.asarray(a) for a in (items.title_IT, items.query_QT, cf_IE))
        self.met = met
        self.random = random.Random(0)  # noqa: S311

    @classmethod
    def write(cls, tar: Path, loader: TrainingLoader, steps: int) -> "PlainWay":
        """Write the rows of the first steps of a loader, in their order."""
        collator = loader.collator
        met: dict[int, set[int]] = {}
        with webdataset.TarWriter(str(tar), mtime=0) as writer:  # a time with fractions would cost headers to read
            for step in range(steps):
                row_R = loader.order.rows_of_step(step)
                sample_R: list[dict[str, Any]] = [{} for _ in row_R]
                for window, place_P in collator.store.parts_of_rows(row_R):
                    timelines, histories = window.timelines, window.histories
                    for place in place_P.tolist():
                        event = window.training_event_R[row_R[place] - window.first_row]
                        user = int(timelines.user_of(event))
                        end = int(histories.end_of_event_N[event])
                        start = max(int(histories.user_start_V[user]), end - collator.history)
                        sample_R[place] = {
                            "user": user + window.first_user,
                            "task": int(timelines.behaviour_N[event]),
                            "query": int(timelines.query_N[event]),
                            "item": int(timelines.item_N[event]),
                            "history": histories.item_M[start:end].tolist(),
                            "behaviours": histories.behaviour_M[start:end].tolist(),
                        }
                        met[user + window.first_user] = set(window.met_in_training.of_user(user).tolist())
                for row, sample in zip(row_R.tolist(), sample_R, strict=True):
                    writer.write({"__key__": f"{step:06d}-{row:012d}", "row.json": sample})
        return cls(tar, collator.items, collator.vectors.whole_IE, met)

    def batches(self, groups: int) -> Iterator[PlainBatch]:
        """Read the tar once, in batches of `groups`; the last may be smaller."""
        samples = webdataset.WebDataset([str(self.tar)], shardshuffle=False, empty_check=False).decode()
        return iter(samples.map(self._sample).batched(groups, collation_fn=_stacked))

    def _sample(self, sample: dict[str, Any]) -> tuple[Tensor, ...]:
        row = sample["row.json"]
        candidates = [row["item"]]
        met = self.met[row["user"]]
        while len(candidates) <= NEGATIVES:
            item = self.random.randrange(len(self.title_IT))
            if item not in met and item not in candidates:
                candidates.append(item)
        history = row["history"]
        length = len(history)
        query_Q = torch.zeros(self.query_QT.shape[1], dtype=torch.long)
        if row["query"] >= 0:
            query_Q = torch.from_numpy(self.query_QT[row["query"]].astype(np.int64))
        history_LT = torch.zeros(HISTORY, self.title_IT.shape[1], dtype=torch.long)
        history_cf_LE = torch.zeros(HISTORY, self.cf_IE.shape[1])
        behaviour_L = torch.zeros(HISTORY, dtype=torch.long)
        if length:
            history_LT[:length] = torch.from_numpy(self.title_IT[history])
            history_cf_LE[:length] = torch.from_numpy(self.cf_IE[history])
            behaviour_L[:length] = torch.tensor(row["behaviours"])
        return (
            torch.tensor(row["user"]),
            torch.tensor(row["task"]),
            query_Q,
            history_LT,
            history_cf_LE,
            behaviour_L,
            torch.from_numpy(self.title_IT[candidates]).long(),
            torch.from_numpy(self.cf_IE[candidates]),
            torch.tensor([1] + [0] * NEGATIVES),
        )


def _stacked(samples: list[tuple[Tensor, ...]]) -> PlainBatch:
    return PlainBatch(*(torch.stack(column) for column in zip(*samples, strict=True)))
