"""Answers for all users of a file, a part of the file at a time, so that a run that was stopped goes on.

Dimensions: G groups, K answers, M answers, Q query tokens.
"""

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl
from tqdm import tqdm

from gensr_dist.data.tokenizer import token_table
from gensr_dist.errors import InputError
from gensr_dist.retrieval.added.opening import RunWithAddedItems
from gensr_dist.retrieval.answer import Answerer
from gensr_dist.retrieval.asks_file import read_asks
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.orders_file import ORDERS
from gensr_dist.retrieval.requests import Requests
from gensr_dist.runs.records import record_path
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.storage.checked_files import sha256_of_file
from gensr_dist.storage.durable import durable_file, sweep
from gensr_dist.storage.locks import lock
from gensr_dist.storage.records import read_json, write_json

PART = 256  # lines of the file answered together
SCHEMA = pl.Schema(
    {"user_id": pl.String, "query": pl.String, "rank": pl.Int64, "item_id": pl.String, "score": pl.Float64}
)

NumberedPart: TypeAlias = tuple[int, pl.DataFrame]
AnswerParts: TypeAlias = Callable[[Iterable[NumberedPart]], Iterator[NumberedPart]]  # in any order


@dataclass(frozen=True, kw_only=True)
class ManyAnswers:
    """What was answered."""

    asked: int  # lines of the file
    unknown: int  # lines whose user was never prepared: they get no answer
    answers: int  # rows of the result
    before: int  # lines that an earlier start of the same command had answered
    seconds: float
    items_per_second: float  # scored by GenSR, in this start
    notes: tuple[str, ...] = ()  # about the run

    def lines(self) -> tuple[str, ...]:
        """For people."""
        notes = list(self.notes)
        if self.unknown:
            notes.append(f"{self.unknown:,} lines are of users who were not prepared: they have no answer")
        notes += [f"{self.before:,} lines had been answered before"] if self.before else []
        return (
            f"{self.answers:,} answers to {self.asked:,} lines in {self.seconds:.1f} s, "
            f"{self.items_per_second:,.0f} items per second",
            *(f"note: {note}" for note in notes),
        )


def answer_part(answerer: Answerer, asks: pl.DataFrame, k: int) -> pl.DataFrame:
    """The k best items for each line, of SCHEMA, line by line; unknown users have none.

    Args:
        answerer: of the run.
        asks: as `read_asks` gives them.
        k: wanted.
    """
    items, store = answerer.items, answerer.store
    users = pl.DataFrame({"user_id": items.users}).with_row_index("user")
    asks = asks.with_row_index("line").join(users, on="user_id", how="inner", maintain_order="left")
    known = asks["query"].map_elements(answerer.knows_a_word, return_dtype=pl.Boolean, skip_nulls=True).fill_null(False)
    parts = []
    for searches, chosen in ((False, asks.filter(~known)), (True, asks.filter(known))):
        if not len(chosen):
            continue
        user_G = chosen["user"].to_numpy().astype(np.int64)
        requests = Requests.of_moments(store, user_G, store.history_span(user_G)[1])
        if searches:
            texts = chosen["query"].to_list()
            token_GQ = token_table(items.tokenizer, texts, answerer.query_tokens).astype(np.int64)
            requests = dataclasses.replace(requests, texts=tuple(texts), token_GQ=token_GQ)
        ranked = answerer.ranker.rank(requests, answerer.scored(k))
        place_GK = ranked.order_GK[:, :k]
        item_GK = np.take_along_axis(ranked.candidates.item_GK, place_GK, axis=1)
        log_odds_GK = np.take_along_axis(ranked.log_odds_GK, place_GK, axis=1)
        group_M, rank_M = np.nonzero(item_GK >= 0)
        parts.append(
            chosen.select("line", "user_id", "query")[group_M].with_columns(
                pl.Series("rank", rank_M + 1),
                items.item_ids[item_GK[group_M, rank_M]].alias("item_id"),
                pl.Series("score", answerer.shown(log_odds_GK[group_M, rank_M])),
            )
        )
    if not parts:
        return pl.DataFrame(schema=SCHEMA)
    return pl.concat(parts).sort("line", "rank").select(SCHEMA.names()).cast(SCHEMA)


def answer_many(
    asks: Path,
    out: Path,
    k: int,
    *,
    identity: str,
    users: pl.Series,
    candidates: int,
    answer_parts: AnswerParts,
    notes: tuple[str, ...] = (),
) -> ManyAnswers:
    """Answer every line and write the result whole; an interrupted call is resumed.

    Args:
        asks: file as `read_asks` reads it.
        out: Parquet file of SCHEMA; parts lie in a folder beside it meanwhile.
        k: items a line.
        identity: of the answers (`identity_of`): earlier parts of others are not used.
        users: raw ids of the prepared users.
        candidates: that GenSR scores for a line.
        answer_parts: does the work.
        notes: about the run, for people.

    Raises:
        InputError: a line of the file is wrong, `out` is no name that a Parquet file can have, or another start writes
            it.
    """
    if out.suffix != ".parquet":
        raise InputError(out, "answers are written as Parquet", "give a name that ends in .parquet")
    if out.is_dir():
        raise InputError(out, "it is a folder", "give the name of a file")
    if out.exists() and asks.exists() and out.samefile(asks):
        raise InputError(out, "it is the file of the asked users, which the answers would replace", "give another name")
    if out.exists() and not (out.is_file() and _holds_answers(out)):
        raise InputError(out, "it is there and holds something else than answers", "give another name")
    given, started = read_asks(asks), time.monotonic()
    frame = given.frame
    known = int(frame["user_id"].is_in(users.implode()).sum())
    with _parts_folder(out, f"{sha256_of_file(asks)} {k} {identity}") as folder:
        starts = range(0, len(frame), PART)
        waiting = [number for number in range(len(starts)) if not _holds_answers(folder / _name(number), whole=True)]
        before = len(frame) - sum(len(frame[starts[number] : starts[number] + PART]) for number in waiting)
        with tqdm(total=len(frame), initial=before, desc="answers", unit="line", disable=None) as bar:
            for number, answered in answer_parts(
                (number, frame[starts[number] : starts[number] + PART]) for number in waiting
            ):
                with durable_file(folder / _name(number)) as temporary:
                    answered.write_parquet(temporary)
                bar.update(len(frame[starts[number] : starts[number] + PART]))
        with durable_file(out) as temporary:
            parts = [folder / _name(number) for number in range(len(starts))]
            pl.scan_parquet(parts, glob=False).sink_parquet(temporary)
        shutil.rmtree(folder)
    seconds = time.monotonic() - started
    return ManyAnswers(
        asked=len(frame),
        unknown=len(frame) - known,
        answers=pl.scan_parquet(out, glob=False).select(pl.len()).collect().item(),
        before=before,
        seconds=round(seconds, 3),
        items_per_second=round((known - min(known, before)) * max(k, candidates) / max(seconds, 1e-9), 1),
        notes=(*notes, *(f"{repair.count:,} {repair.what}" for repair in given.repairs)),
    )


def identity_of(trained: TrainedRun, retrieval: RetrievalConfig, scorer: str | None = None) -> str:
    """What changes with the answers of a run: orders know their index, and added items come beside it.

    Args:
        trained: the run, as it was opened for the answers.
        retrieval: settings, which say what is a candidate.
        scorer: trained baseline that orders the candidates; None: GenSR does.

    Returns:
        A SHA-256.
    """
    added = (trained.added.record,) if isinstance(trained, RunWithAddedItems) else ()
    weights = () if scorer is None else tuple(sorted(trained.folder.baseline(scorer).model.iterdir()))
    record = record_path("index", trained.folder)
    stage = (record,) if record.exists() else ()  # none in a folder that was put together by hand
    digests = [sha256_of_file(path) for path in (trained.folder.index / ORDERS, *stage, *added, *weights)]
    return hashlib.sha256(f"{' '.join(digests)} {retrieval}".encode()).hexdigest()


@contextmanager
def _parts_folder(out: Path, answers: str) -> Iterator[Path]:
    """The folder of finished parts, emptied if they answer something else, while no other start works in it."""
    folder = out.with_name(f".{out.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    place, record = folder / "lock", folder / "parts.json"
    with place.open("w") as file:
        if not lock(file, wait=False) or not os.fstat(file.fileno()).st_nlink:  # who had it has deleted the folder
            raise InputError(out, "another `gensr answer` writes it", "wait for it, or give another name")
        sweep(out)  # as large as the result
        if not record.exists() or read_json(record, "delete it") != answers:
            for path in sorted({*folder.iterdir()} - {place}):
                path.unlink()
            write_json(record, answers)
        yield folder


def _holds_answers(path: Path, *, whole: bool = False) -> bool:
    """Whether a file is there and of SCHEMA, by its end alone, or is `whole` too: all of it can be read."""
    try:
        table = pl.scan_parquet(path, glob=False)
        return (table.collect().schema if whole else table.collect_schema()) == SCHEMA
    except (OSError, pl.exceptions.PolarsError):
        return False


def _name(number: int) -> str:
    return f"{number:06}.parquet"
