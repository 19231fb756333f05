"""Reading a raw log to say what it holds, as `prepare` would read it, but on through faults and without writing."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import polars as pl
from tqdm import tqdm

from gensr_dist.data.checking import counting
from gensr_dist.data.checking.report import FileReport, IdMatch, LogOutcome, LogReport, PositiveCounts
from gensr_dist.data.checking.suspicions import find_suspicions
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour, EventLog
from gensr_dist.data.preparation.filtering import keep_active
from gensr_dist.data.preparation.splitting import assign_splits, count_positives, find_moments, require_positives
from gensr_dist.data.sources import list_files, open_source
from gensr_dist.data.sources.assembling import assemble
from gensr_dist.data.sources.ids import require_known
from gensr_dist.data.sources.listing import RawFile
from gensr_dist.data.sources.parts import Part, Sample, UntilFault, read_until_fault
from gensr_dist.data.sources.raw_files import Look, base_name, file_size
from gensr_dist.data.sources.reading import Rows
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

SAMPLE_BYTES = 64 << 20  # of a file; a few seconds of reading
_PIECE_BYTES = 1 << 20  # the more pieces, the better they stand for the whole; parsing one costs milliseconds
_FIRST_EVENTS, _FIRST_ITEMS, _FIRST_AS_WRITTEN = 4, 3, 2
_NOTHING = UntilFault(rows=Rows(pl.DataFrame()), fault=None, read_of={})


def check_log(config: DataConfig, raw: str, *, full: bool, shards: Folder | None = None) -> LogReport:
    """Read a raw log, or a sample of its large files, and say what it holds.

    Args:
        config: source, and what `prepare` would keep.
        raw: path or URL of its folder.
        full: read all of it.
        shards: folder that `prepare` would write.

    Returns:
        A report; `refusal` holds what `prepare` raises for the log, else for the tokenizer or `shards`. Of a sample,
        only what the sample shows.

    Raises:
        InputError: there is no such folder, or it lacks files: nothing can be said.
    """
    began = time.monotonic()
    sample = Sample(most=None if full else SAMPLE_BYTES, piece=_PIECE_BYTES)
    files = list_files(config, raw)
    refusal = _Refusal()
    tables = _read(config, raw, sample, files, refusal)
    events, items = tables.events.rows.frame, tables.items.rows.frame
    report = LogReport(
        source=config.source,
        raw=raw,
        sampled=tables.sampled,
        partial=refusal.first is not None,
        seconds=0.0,
        files=tuple(_file_report(file, tables) for file in files),
        behaviours=counting.count_behaviours(events) if events.width else (),
        queries=counting.count_queries(events, items) if events.width else None,
        first_events=counting.first_events(events, _FIRST_EVENTS) if events.width else (),
        first_items=counting.first_items(items, _FIRST_ITEMS) if items.width else (),
        times=counting.time_range(events) if events.height else None,
        activity=counting.count_activity(events) if events.height else None,
        texts=counting.count_texts(items, tables.unlisted) if items.height else None,
        repairs=(*tables.events.rows.repairs, *tables.items.rows.repairs, *tables.users.rows.repairs),
        matches=tuple(_matches(tables, files)),
    )
    if tables.sampled:
        with refusal.noted():
            _require_known(tables, report.matches)
    elif refusal.first is None:
        with refusal.noted():
            log = assemble(tables.events.rows, tables.items.rows, tables.users.rows)
            report = replace(report, repairs=log.repairs)
            report = _prepared(report, log, config, refusal)
    with refusal.noted():
        if refusal.first is None:
            _require_tokenizer(config)
            _require_replaceable(shards)
    report = replace(report, suspicions=find_suspicions(report, config), refusal=refusal.first)
    return replace(report, seconds=round(time.monotonic() - began, 1))


@dataclass
class _Refusal:
    """The first error, which is the one that `prepare` raises."""

    first: InputError | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep an error of the block instead of raising it."""
        try:
            yield
        except InputError as error:
            self.first = self.first or error


@dataclass(frozen=True, kw_only=True)
class _Tables:
    """What could be read of the tables."""

    events: UntilFault = _NOTHING
    items: UntilFault = _NOTHING
    users: UntilFault = _NOTHING
    sampled_files: frozenset[str] = frozenset()
    unlisted: frozenset[str] = frozenset()  # items without a line in the items file

    @property
    def sampled(self) -> bool:
        return bool(self.sampled_files)


def _read(config: DataConfig, raw: str, sample: Sample, files: Sequence[RawFile], refusal: _Refusal) -> _Tables:
    """All tables up to their faults; of a source that cannot be opened, the files that can be read alone."""
    with refusal.noted():
        source = open_source(config, raw, sample=sample)
        every = (*source.interactions, *source.items, *source.users)
        sampled = frozenset(part.file for part in every if part.sampled)
        size = sum(part.size for part in every)
        with tqdm(total=size, unit="B", unit_scale=True, desc="read log", disable=None if size else True) as bar:
            read = [read_until_fault(parts, bar.update) for parts in (source.interactions, source.items, source.users)]
        for table in read:
            refusal.first = refusal.first or table.fault
        return _Tables(events=read[0], items=read[1], users=read[2], sampled_files=sampled, unlisted=source.unlisted)
    tables = _Tables(sampled_files=frozenset(file.file for file in files if sample.share(file.file) < 1))
    for file in files:
        if file.alone is not None:
            tables = replace(tables, **{file.table: read_until_fault([_alone(file, file.alone, sample)])})
    return tables


def _alone(file: RawFile, read: Callable[[int], Rows], sample: Sample) -> Part:
    """A part of a file that its source could not join with others."""
    return Part(file=file.file, size=0, load=lambda advance: read(sample.bytes_of(file.file)), prefix=read)


def _file_report(file: RawFile, tables: _Tables) -> FileReport:
    """What is in a file. Its beginning is shown as written where none of it was understood."""
    look = Look((), pl.DataFrame())
    with suppress(InputError):  # noted already, if `prepare` refuses it
        look = file.look(_FIRST_AS_WRITTEN)
    rows = getattr(tables, file.table).read_of.get(file.file)
    used = tuple(use for use in file.uses if use.name in look.names)
    return FileReport(
        file=base_name(file.file),
        table=file.table,
        bytes=file_size(file.file),
        rows=rows if file.counted else None,
        sampled=file.file in tables.sampled_files,
        used=used,
        absent=tuple(use for use in file.uses if use.name not in look.names),
        unused=tuple(name for name in look.names if all(name != use.name for use in used)),
        as_written=() if rows else tuple(look.first.rows()),
    )


def _matches(tables: _Tables, files: Sequence[RawFile]) -> Iterator[IdMatch]:
    """Ids of events among those of tables that were read whole."""
    events = tables.events.rows.frame
    for what, column, table in (("items", "item_id", tables.items), ("users", "user_id", tables.users)):
        partly = table.fault or any(file.file in tables.sampled_files for file in files if file.table == what)
        if partly or not events.height or not table.rows.frame.height:
            continue
        listed = table.rows.frame[column]
        if what == "items" and tables.unlisted:
            listed = listed.filter(~listed.is_in(list(tables.unlisted)))
        yield counting.match_ids(events[column], listed, what)


def _require_known(tables: _Tables, matches: Sequence[IdMatch]) -> None:
    """Refuse a sample whose events and items do not belong together, as `assemble` refuses a whole log."""
    for match in matches:
        if match.what == "items":
            met = tables.events.rows.frame["item_id"].unique()
            listed = tables.items.rows.frame["item_id"]
            require_known(met, listed, met.filter(~met.is_in(listed.unique().implode())), match.what)


def _prepared(report: LogReport, log: EventLog, config: DataConfig, refusal: _Refusal) -> LogReport:
    """Add what `prepare` would keep and drop."""
    with refusal.noted():
        kept = keep_active(log, min_interactions=config.min_interactions, both_behaviours=config.both_behaviours)
        outcome = LogOutcome(
            users=kept.users.height,
            users_before=log.users.height,
            items=kept.items.height,
            items_before=log.items.height,
            events=kept.events.height,
            events_before=log.events.height,
            positives=(),
        )
        report = replace(report, outcome=outcome, repairs=kept.repairs)
        events = assign_splits(kept.events, find_moments(kept.events, config))
        positives_BS = count_positives(events)
        positives = tuple(
            PositiveCounts(task=behaviour.name.lower(), train=train, valid=valid, test=test)
            for behaviour, (train, valid, test) in zip(Behaviour, positives_BS.tolist(), strict=True)
        )
        report = replace(report, outcome=replace(outcome, positives=positives))
        require_positives(positives_BS, config)
        _require_negatives(kept, events, config)
    return report


def _require_negatives(log: EventLog, events: pl.DataFrame, config: DataConfig) -> None:
    """Refuse a catalogue that is too small for the negatives, frozen ones and those of training.

    Raises:
        InputError: as `draw_negatives` and `require_training_negatives`.
    """
    met = events.group_by("user").agg(pl.col("item").n_unique())["item"].max()
    assert isinstance(met, int)
    if log.items.height - met >= max(config.eval_negatives, config.train_negatives):
        return
    from gensr_dist.data.preparation import shard_work  # brings torch
    from gensr_dist.data.timelines.timelines import build_timelines

    items = log.items.height
    timelines = build_timelines(log.users.height, events)
    step = shard_work.users_per_shard(config)
    for first in range(0, timelines.users, step):
        some = timelines.of_users(first, min(first + step, timelines.users))
        shard_work.draw_negatives(some, first, items=items, config=config, seed=0)
        shard_work.require_training_negatives(some, items=items, config=config)


def _require_tokenizer(config: DataConfig) -> None:
    """Refuse a tokenizer that `prepare` could not open.

    Raises:
        InputError: as `load_tokenizer`.
    """
    if config.tokenizer != "corpus":
        from gensr_dist.data.tokenizer import load_tokenizer

        load_tokenizer(config.tokenizer)


def _require_replaceable(shards: Folder | None) -> None:
    """Refuse a folder of shards that holds files of others.

    Raises:
        InputError: as `require_replaceable`.
    """
    if shards is not None and shards.local is not None and shards.local.exists():
        from gensr_dist.data.preparation.prepare import require_replaceable  # brings torch

        require_replaceable(shards.local)
