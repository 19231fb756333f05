"""From a raw log to a shard folder.

Dimensions: I items.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Repair
from gensr_dist.data.preparation.engine import CleanLog, PreparationEngine
from gensr_dist.data.preparation.item_store import write_item_store
from gensr_dist.data.preparation.shard_work import ShardResult, users_per_shard
from gensr_dist.data.preparation.splitting import require_positives
from gensr_dist.data.shards.manifest import (
    SCHEMA_VERSION,
    Manifest,
    SplitCounts,
    may_hold,
    vocabulary_fingerprint,
)
from gensr_dist.data.shards.tar import shard_name
from gensr_dist.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from gensr_dist.errors import InputError
from gensr_dist.sentences import sentence
from gensr_dist.storage.checked_files import record_files
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.folder import Folder, refuse_others
from gensr_dist.storage.publish import announce, publish

_TOKENIZER_TEXTS = 500_000  # texts of a kind that train a tokenizer; more change nothing but the time


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What was prepared."""

    rows: int  # of the events that the source read or made; 0 if it does not say
    users: int
    items: int
    queries: int
    events: int
    recommendation: SplitCounts
    search: SplitCounts
    shards: int
    bytes_per_event: float  # of the tars
    vocabulary: int  # tokens
    repairs: tuple[Repair, ...]
    seconds: float

    def lines(self) -> tuple[str, ...]:
        """For people: counts, then what was dropped or fixed."""
        repairs = "; ".join(f"{repair.count:,} {repair.what}" for repair in self.repairs)
        return (sentence(self), repairs) if repairs else (sentence(self),)


def prepare(
    engine: PreparationEngine, config: DataConfig, seed: int, folder: Folder, phrases: Sequence[str] = ()
) -> PrepareResult:
    """Filter, split, shard and tokenise a log; `folder` appears whole or not at all.

    The folder is a function of the log, the settings and the seed, to the byte, whatever engine does the work and on
    however many processes.

    Args:
        engine: holds the log, or knows where it is.
        config: settings.
        seed: of the evaluation negatives.
        folder: local or remote; receives tars, `items/`, `tokenizer/` and `manifest.json`; an old one is replaced.
        phrases: prompt texts whose words a corpus tokenizer keeps whole.

    Raises:
        InputError: the log cannot be read, filtering leaves nothing, a split is empty, users have seen too many items
            for the negatives of evaluation or training, or `folder` holds files of others.
    """
    began = time.monotonic()
    if folder.local is not None:
        require_replaceable(folder.local)
    log = engine.clean(config)
    require_positives(log.positives_BS, config)
    recommendation, search = (SplitCounts(train=t, valid=v, test=e) for t, v, e in log.positives_BS.tolist())
    names = [shard_name(number) for number in range(-(-log.users.height // users_per_shard(config)))]
    with _made(folder, names) as (fresh, target):
        shards = engine.write_shards(target, config, seed)
        tokenizer = _tokenizer(log, config, phrases)
        repairs = write_item_store(fresh, log, tokenizer, _popularity(shards, log.items.height), config)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            seed=seed,
            config=config.as_prepared(),
            users=log.users.height,
            items=log.items.height,
            queries=log.queries.height,
            events=sum(shard.record.events for shard in shards),
            recommendation=recommendation,
            search=search,
            vocabulary=vocabulary_fingerprint(fresh / "tokenizer"),
            shards=tuple(shard.record for shard in shards),
            files=record_files(fresh, [*(fresh / "items").iterdir(), *(fresh / "tokenizer").iterdir()]),
        )
        manifest.write(fresh)
    _require_account(log, manifest.events)
    return PrepareResult(
        rows=log.read,
        users=manifest.users,
        items=manifest.items,
        queries=manifest.queries,
        events=manifest.events,
        recommendation=recommendation,
        search=search,
        shards=len(shards),
        bytes_per_event=sum(shard.bytes for shard in manifest.shards) / manifest.events,
        vocabulary=len(tokenizer),
        repairs=log.repairs + repairs,
        seconds=round(time.monotonic() - began, 3),
    )


@contextmanager
def _made(folder: Folder, shard_names: list[str]) -> Iterator[tuple[Path, Folder]]:
    """Yield where to write everything but shards, and where to write shards; `folder` is whole when the block ends."""
    if folder.local is not None:
        with durable_folder(folder.local) as fresh:
            yield fresh, Folder.at(fresh)
        return
    announce(folder, shard_names)
    with tempfile.TemporaryDirectory() as rest:
        yield Path(rest), folder
        publish(Path(rest), folder, uploaded=shard_names)


def require_replaceable(folder: Path) -> None:
    """Refuse to delete what no `prepare` wrote.

    Raises:
        InputError: the place is a file, or a folder that holds other files than shards do, or files and no manifest.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "expected a folder, found a file", "give another folder, or delete it")
    names = Folder.at(folder).sizes()
    prepared = "manifest.json" in names  # other programs call their tars shard-00000.tar too
    others = [name for name in names if not (prepared and may_hold(name))]
    what = "files that are no part of shards" if prepared else "files and no manifest.json of shards"
    refuse_others(folder, others, what, "give an empty folder, or delete them")


def _require_account(log: CleanLog, events: int) -> None:
    """Assert that every row that was read is an event, or counted as dropped."""
    dropped = sum(repair.count for repair in log.repairs if repair.drops)
    assert not log.read or log.read == events + dropped, f"{log.read} rows are not {events} events and {dropped} drops"


def _popularity(shards: Sequence[ShardResult], items: int) -> np.ndarray:
    """Positive training events of each item, uint32 [I]."""
    popularity_I = np.zeros(items, dtype=np.uint32)
    for shard in shards:
        popularity_I[shard.trained_item_C] += shard.trained_count_C.astype(np.uint32)
    return popularity_I


def _tokenizer(log: CleanLog, config: DataConfig, phrases: Sequence[str]) -> TextTokenizer:
    if config.tokenizer != "corpus":
        return load_tokenizer(config.tokenizer)
    return train_tokenizer(_corpus(log), config.vocabulary, phrases)


def _corpus(log: CleanLog) -> pl.Series:
    """Texts of items and queries, evenly thinned out where there are very many."""
    texts: list[pl.Series] = [log.items["text"], log.queries["text"]]
    return pl.concat(series.gather_every(max(1, len(series) // _TOKENIZER_TEXTS)) for series in texts)
