"""`gensr bench data`: the way of the data, measured: simulate, prepare, read batches.

The loader stands beside a reference: one WebDataset sample a training row, put together in Python. Both run in this
process, on one thread, on the same rows, with histories of 20 and groups of 5, and are told no evidence. Dimensions as
in `data/batches/batch.py`; I items, R rows, T title tokens, E width of a CF vector.
"""

import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import webdataset
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from gensr_dist.bench.commands import run_gensr
from gensr_dist.bench.interleaved import RatioRange
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

HISTORY = 20
NEGATIVES = 4
_CF_WIDTH = 64
_OURS = 100  # steps of a round
_REFERENCE = 10  # steps of a round, and of the tar of one sample a row


@dataclass(frozen=True, kw_only=True)
class DataBench:
    """What `gensr bench data` prints. Seconds are wall clock, of commands in processes of their own."""

    preset: str
    cores: int
    events: int  # in the shards, after filtering
    simulate_s: float
    simulate_peak_gb: float  # 1e9 bytes, of all processes together
    prepare_s: float
    prepare_peak_gb: float
    bytes_per_event: float  # of the tars
    loader_rows_per_s: float  # candidate rows in ready batches, one core, with their share of decoding the shards
    loader_groups_per_s: float  # the same: groups of one positive and its negatives
    plain_rows_per_s: float  # the same of the reference, one core
    loader_ratio: float  # median of alternated rounds


def bench_data(preset: str, folder: Path | None) -> DataBench:
    """Run both stages on a preset, then the loader against its reference.

    Args:
        preset: name of a size in `data.presets`.
        folder: keeps the run; None: a temporary one.

    Raises:
        InputError: `folder` is a file or not empty, or a stage failed.
    """
    if folder is not None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(folder, "expected an empty folder or none", "give a new folder")
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        run = Path(place) / "run"
        options = ("--preset", preset, "--set", f"run={run}", "--json")
        simulated, prepared = (
            run_gensr(stage, *options, watch_memory=True) for stage in ("simulate", "prepare simulate")
        )
        loader_rows_per_s, reference_rows_per_s, ratio = measure_loader(run / "shards")
    return DataBench(
        preset=preset,
        cores=os.cpu_count() or 1,
        events=prepared.result["events"],
        simulate_s=simulated.seconds,
        simulate_peak_gb=simulated.peak_gb,
        prepare_s=prepared.seconds,
        prepare_peak_gb=prepared.peak_gb,
        bytes_per_event=round(prepared.result["bytes_per_event"], 2),
        loader_rows_per_s=loader_rows_per_s,
        loader_groups_per_s=round(loader_rows_per_s / (1 + NEGATIVES), 1),
        plain_rows_per_s=reference_rows_per_s,
        loader_ratio=ratio,
    )


def measure_loader(shards: Path, *, batch: int = 256, rounds: int = 7) -> tuple[int, int, float]:
    """Rows a second of the loader and of its reference, medians of alternated rounds, and the median of their ratios.

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


def _measure(shards: Path, folder: Path, batch: int, rounds: int) -> tuple[int, int, float]:
    items, store = ItemStore.open(Folder.at(shards)), TimelineStore.open(Folder.at(shards))
    cf_shape = (len(items.title_IT), _CF_WIDTH)
    cf_IE = np.lib.format.open_memmap(folder / "cf.npy", mode="w+", dtype=np.float32, shape=cf_shape)
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
    decode_s = time.perf_counter() - began  # once a window and epoch: rows bear it in proportion
    decoded_rows = sum(len(window.training_event_R) for window, _ in store.parts_of_rows(loader.order.rows_of_step(0)))
    reference = ReferenceLoader.write(folder / "rows.tar", loader, steps=_REFERENCE)

    ours_R, baseline_R = [], []
    for round_ in tqdm(range(rounds), desc="loader and reference", unit="round", disable=None):
        steps = (round_ * _OURS, (round_ + 1) * _OURS)
        began = time.perf_counter()
        groups = sum(loader.order.groups_of_step(step) for step, _ in loader.batches(*steps))
        seconds_a_group = (time.perf_counter() - began) / groups + decode_s / decoded_rows
        ours_R.append((1 + NEGATIVES) / seconds_a_group)
        began = time.perf_counter()
        groups = sum(len(batch_["label"]) for batch_ in reference.batches(batch))
        baseline_R.append(groups * (1 + NEGATIVES) / (time.perf_counter() - began))
    ratio = RatioRange.of_ratios(ours_R, baseline_R, digits=2).median
    return round(median(ours_R)), round(median(baseline_R)), ratio


class ReferenceLoader:
    """A tar of one sample a row, `{user, task, query, item, history, behaviours}` in JSON, read with webdataset.

    What it is spared: shuffling, tar headers for the time of writing, and collecting what each user has seen.

    Args:
        tar: of the rows.
        items: title and query tokens.
        cf_IE: CF vectors.
        seen: items that each user must not get as negatives.
    """

    def __init__(self, tar: Path, items: ItemStore, cf_IE: np.ndarray, seen: dict[int, set[int]]) -> None:
        self.tar = tar
        self.title_IT, self.query_QT, self.cf_IE = (np.asarray(a) for a in (items.title_IT, items.query_QT, cf_IE))
        self.seen = seen
        self.random = random.Random(0)  # noqa: S311

    @classmethod
    def write(cls, tar: Path, loader: TrainingLoader, steps: int) -> "ReferenceLoader":
        """Write the rows of the first steps of a loader, in their order."""
        collator = loader.collator
        seen: dict[int, set[int]] = {}
        with webdataset.TarWriter(str(tar), mtime=0) as writer:  # a time with fractions would cost headers to read
            for step in range(steps):
                row_R = loader.order.rows_of_step(step)
                sample_R: list[dict[str, Any]] = [{} for _ in row_R]
                for window, index_P in collator.store.parts_of_rows(row_R):
                    timelines, histories = window.timelines, window.histories
                    for index in index_P.tolist():
                        event = window.training_event_R[row_R[index] - window.first_row]
                        user = int(timelines.user_of(event))
                        end = int(histories.end_of_event_N[event])
                        start = max(int(histories.user_start_V[user]), end - collator.history)
                        sample_R[index] = {
                            "user": user + window.first_user,
                            "task": int(timelines.behaviour_N[event]),
                            "query": int(timelines.query_N[event]),
                            "item": int(timelines.item_N[event]),
                            "history": histories.item_M[start:end].tolist(),
                            "behaviours": histories.behaviour_M[start:end].tolist(),
                        }
                        seen[user + window.first_user] = set(window.seen_in_training.of_user(user).tolist())
                for row, sample in zip(row_R.tolist(), sample_R, strict=True):
                    writer.write({"__key__": f"{step:06d}-{row:012d}", "row.json": sample})
        return cls(tar, collator.items, collator.vectors.whole_IE, seen)

    def batches(self, groups: int) -> Iterator[dict[str, Tensor]]:
        """Read the tar once, in batches of `groups`, the last may be smaller: what `Batch` holds, items in full."""
        samples = webdataset.WebDataset([str(self.tar)], shardshuffle=False, empty_check=False).decode()
        return iter(samples.map(self._sample).batched(groups, collation_fn=default_collate))

    def _sample(self, sample: dict[str, Any]) -> dict[str, Tensor]:
        row = sample["row.json"]
        candidates, history = [row["item"]], row["history"]
        while len(candidates) <= NEGATIVES:
            item = self.random.randrange(len(self.title_IT))
            if item not in self.seen[row["user"]] and item not in candidates:
                candidates.append(item)
        query_Q = torch.zeros(self.query_QT.shape[1], dtype=torch.long)
        if row["query"] >= 0:
            query_Q = torch.from_numpy(self.query_QT[row["query"]].astype(np.int64))
        history_LT = torch.zeros(HISTORY, self.title_IT.shape[1], dtype=torch.long)
        history_cf_LE = torch.zeros(HISTORY, self.cf_IE.shape[1])
        behaviour_L = torch.zeros(HISTORY, dtype=torch.long)
        if history:
            history_LT[: len(history)] = torch.from_numpy(self.title_IT[history])
            history_cf_LE[: len(history)] = torch.from_numpy(self.cf_IE[history])
            behaviour_L[: len(history)] = torch.tensor(row["behaviours"])
        return {
            "user": torch.tensor(row["user"]),
            "task": torch.tensor(row["task"]),
            "query": query_Q,
            "history": history_LT,
            "history_cf": history_cf_LE,
            "behaviour": behaviour_L,
            "candidate": torch.from_numpy(self.title_IT[candidates]).long(),
            "candidate_cf": torch.from_numpy(self.cf_IE[candidates]),
            "label": torch.tensor([1] + [0] * NEGATIVES),
        }
