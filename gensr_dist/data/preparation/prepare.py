"""From a validated log to a shard folder."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerFast

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour, EventLog, Repair
from gensr_dist.data.items import write_item_store
from gensr_dist.data.manifest import SCHEMA_VERSION, Manifest, TaskCounts, record_files, vocabulary_fingerprint
from gensr_dist.data.negatives import Met, sample_unmet
from gensr_dist.data.preparation.filtering import keep_active
from gensr_dist.data.preparation.splitting import assign_splits, find_moments
from gensr_dist.data.rows import evaluation_rows
from gensr_dist.data.shards import write_shards
from gensr_dist.data.splits import Split
from gensr_dist.data.timelines import Timelines, build_timelines
from gensr_dist.data.tokenizer import load_tokenizer, train_tokenizer
from gensr_dist.errors import InputError
from gensr_dist.files import atomic_folder

_EVALUATION = 0x6576616C  # names this use of random numbers: training draws have other keys
_TOKENIZER_TEXTS = 500_000  # texts of a kind that train a tokenizer; more change nothing but the time


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What was prepared."""

    users: int
    items: int
    queries: int
    events: int
    recommendation: TaskCounts
    search: TaskCounts
    shards: int
    bytes_per_event: float  # of the tars
    vocabulary: int  # tokens
    repairs: tuple[Repair, ...]
    seconds: float


def prepare(log: EventLog, config: DataConfig, seed: int, folder: Path, phrases: Sequence[str] = ()) -> PrepareResult:
    """Filter, split, tokenise and shard a log; `folder` appears whole or not at all.

    The folder is a function of the log, the settings and the seed, to the byte.

    Args:
        log: what a source gave.
        config: settings.
        seed: of the evaluation negatives.
        folder: receives tars, `items/`, `tokenizer/` and `manifest.json`; an old one is replaced.
        phrases: prompt texts whose words a corpus tokenizer keeps whole.

    Raises:
        InputError: filtering leaves nothing, a split is empty, or users have met too many items for the negatives.
    """
    began = time.monotonic()
    log = keep_active(log, min_interactions=config.min_interactions, both_behaviours=config.both_behaviours)
    events = assign_splits(log.events, find_moments(log.events, config))
    timelines = build_timelines(log, events)
    counts = {task: _count(timelines, task) for task in Behaviour}
    _require_rows(counts, config)

    eval_event_R = evaluation_rows(timelines)
    eval_negative_RC = sample_unmet(
        Met.from_timelines(timelines, log.users.height, log.items.height),
        timelines.user_N[eval_event_R],
        config.eval_negatives,
        items=log.items.height,
        key=(seed, _EVALUATION, eval_event_R),
    )
    tokenizer = _tokenizer(log, config, phrases)
    with atomic_folder(folder) as fresh:
        repairs = write_item_store(fresh, log, tokenizer, config)
        shards = write_shards(fresh, timelines, eval_event_R, eval_negative_RC, config)
        Manifest(
            schema_version=SCHEMA_VERSION,
            seed=seed,
            config=replace(config, raw=Path(config.raw).name),  # the same log elsewhere gives the same folder
            users=log.users.height,
            items=log.items.height,
            queries=log.queries.height,
            events=events.height,
            recommendation=counts[Behaviour.RECOMMENDATION],
            search=counts[Behaviour.SEARCH],
            vocabulary=vocabulary_fingerprint(fresh / "tokenizer"),
            shards=shards,
            files=record_files(fresh, [*(fresh / "items").iterdir(), *(fresh / "tokenizer").iterdir()]),
        ).write(fresh)
    return PrepareResult(
        users=log.users.height,
        items=log.items.height,
        queries=log.queries.height,
        events=events.height,
        recommendation=counts[Behaviour.RECOMMENDATION],
        search=counts[Behaviour.SEARCH],
        shards=len(shards),
        bytes_per_event=sum(shard.bytes for shard in shards) / events.height,
        vocabulary=len(tokenizer),
        repairs=log.repairs + repairs,
        seconds=time.monotonic() - began,
    )


def _count(timelines: Timelines, task: Behaviour) -> TaskCounts:
    of_task_N = timelines.positive_N & (timelines.behaviour_N == task)
    train, valid, test = np.bincount(timelines.split_N[of_task_N], minlength=len(Split)).tolist()
    return TaskCounts(train=train, valid=valid, test=test)


def _require_rows(counts: dict[Behaviour, TaskCounts], config: DataConfig) -> None:
    for split in ("train", "valid", "test"):
        if not any(getattr(count, split) for count in counts.values()):
            raise InputError(
                "data.split",
                f"split {config.split!r} leaves no positive event of either task to {split}",
                "choose another data.split, change its shares, or bring a longer log",
            )


def _tokenizer(log: EventLog, config: DataConfig, phrases: Sequence[str]) -> PreTrainedTokenizerFast:
    if config.tokenizer != "corpus":
        return load_tokenizer(config.tokenizer)
    return train_tokenizer(_corpus(log), config.vocabulary, phrases)


def _corpus(log: EventLog) -> Iterator[str]:
    """Texts of items and queries, evenly thinned out where there are very many."""
    texts: list[pl.Series] = [log.items["text"], log.queries["text"]]
    for series in texts:
        yield from series.gather_every(max(1, len(series) // _TOKENIZER_TEXTS))
