"""Answers of a finished run on the command line. What answering needs is imported only then."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gensr_dist.config.root import Config, load_config
from gensr_dist.errors import printable
from gensr_dist.run.folder import RunFolder
from gensr_dist.run.records import check_consistent
from gensr_dist.stages.runner import Say

if TYPE_CHECKING:
    from gensr_dist.retrieval.answer import Answers, Reason
    from gensr_dist.retrieval.many_answers import ManyAnswers, NumberedPart
    from gensr_dist.train.trained_run import TrainedRun


@dataclass(frozen=True, kw_only=True)
class AnswerList:
    """Ranked items for one user, and the query where there was one."""

    run: str
    user: str | None  # None: a history was given
    query: str | None
    answers: "Answers"
    seconds: float  # of answering, without opening the run


@dataclass(frozen=True, kw_only=True)
class Question:
    """Who asks what; exactly one of `user` and `history` is given."""

    k: int
    user: str | None = None
    history: Path | None = None  # file of item ids
    query: str | None = None
    only: Path | None = None  # file of item ids that may be answered
    exclude: Path | None = None  # file of item ids that may not
    explain: bool = False


def answer(run: RunFolder, question: Question, say: Say) -> AnswerList:
    """The k best items for a user or a history or, with a query, for what was typed.

    Raises:
        InputError: the run is not finished, does not know the user, or a file cannot be read.
    """
    from gensr_dist.retrieval.answer import Answerer, Choice
    from gensr_dist.retrieval.item_lists import read_history, read_items

    config, trained = _opened(run)
    item_ids = trained.items.item_ids
    who = question.user if question.history is None else read_history(question.history, item_ids)
    assert who is not None
    only, exclude = (None if path is None else read_items(path, item_ids) for path in (question.only, question.exclude))
    choice, query, k = Choice(only=only, exclude=exclude), question.query, question.k
    answerer = Answerer(trained, config)
    started = time.monotonic()
    if query is None:
        answers = answerer.recommend(who, k, choice=choice, explain=question.explain)
    else:
        answers = answerer.search(who, query, k, choice=choice, explain=question.explain)
    seconds = time.monotonic() - started
    asker = f"user {question.user}" if question.history is None else f"history {question.history}"
    say(printable(asker + (f" searches {query!r}" if query is not None else "")))
    for note in answers.notes:
        say(printable(f"note: {note}"))
    for found in answers.items:
        say(printable(f"{found.rank:>4}  {found.score:.4f}  {found.item_id:<12}  {found.text}"))
        if found.reason is not None:
            for line in _reason_lines(found.reason):
                say(printable(f"      {line}"))
    return AnswerList(run=str(run.root), user=question.user, query=query, answers=answers, seconds=round(seconds, 4))


def answer_file(
    run: RunFolder, users: Path, out: Path, k: int, say: Say, *, engine: Literal["local", "ray"], address: str
) -> "ManyAnswers":
    """Answer every line of a file.

    Raises:
        InputError: the run is not finished, or a file cannot be read or written.
    """
    from gensr_dist.retrieval.answer import Answerer
    from gensr_dist.retrieval.many_answers import answer_many, answer_part

    config, trained = _opened(run)
    if engine == "ray":
        from gensr_dist.retrieval.ray_answers import answer_parts_on

        parts = answer_parts_on(address, run.root, k)
    else:
        answerer = Answerer(trained, config)

        def parts(waiting: "Iterable[NumberedPart]") -> "Iterator[NumberedPart]":
            return ((number, answer_part(answerer, asks, k)) for number, asks in waiting)

    result = answer_many(
        users,
        out,
        k,
        index=trained.folder.index,
        users=trained.items.users,
        candidates=config.retrieval.candidates,
        answer_parts=parts,
    )
    for line in result.lines():
        say(line)
    return result


def _reason_lines(reason: "Reason") -> list[str]:
    ranks = ", ".join(f"{name} {rank}" for name, rank in sorted(reason.channels.items(), key=lambda pair: pair[1]))
    lines = [f"proposed by {ranks}" if ranks else "proposed by no channel: popularity fills up"]
    lines += [f"attends {seen.cf:.0%} / {seen.semantic:.0%} to {seen.item_id}  {seen.text}" for seen in reason.attended]
    return lines


def _opened(run: RunFolder) -> "tuple[Config, TrainedRun]":
    """A run folder, wherever it lies now, with the config that it was made with."""
    check_consistent("index", run)
    from gensr_dist.train.trained_run import TrainedRun

    config = load_config(run.config, done=True)
    return config, TrainedRun.open(RunFolder.of(config, run.root), config)
