"""`gensr recommend`, `search` and `answer`: answers of a finished run. What they need is imported only then.

Dimensions: G groups, L history.
"""

import argparse
import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gensr_dist.cli.arguments import integer, local_path
from gensr_dist.cli.commands import Commands, add_ray, check_ray, told
from gensr_dist.errors import printable
from gensr_dist.interface import Run
from gensr_dist.stages.runner import Say

if TYPE_CHECKING:
    from gensr_dist.retrieval.answer import Answer, Answers, Reason
    from gensr_dist.retrieval.many_answers import ManyAnswers, NumberedPart


EXAMPLE_USERS = 3
EXAMPLE_ANSWERS = 3


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
    scorer: str | None = None  # a trained baseline; None: GenSR


def add_answers(commands: Commands) -> None:
    """Add the three commands."""
    better = "Items come with their texts, best first."
    example = "gensr recommend runs/quickstart --user 17 -k 10"
    _add_question(commands.add("recommend", _answer, "recommend items to a user", better, example))
    example = 'gensr search runs/quickstart --user 17 --query "w1 w107" -k 10'
    added = commands.add("search", _answer, "search the catalogue for a user", better, example)
    added.add_argument("--query", metavar="TEXT", required=True, help="what the user types")
    _add_question(added)
    added = commands.add(
        "answer",
        _answer_file,
        "answer all users of a file",
        "Columns user_id and, where something is typed, query; CSV or Parquet. The result has user_id, query, rank,\n"
        "item_id and score. The same command resumes one that was stopped.",
        "gensr answer runs/quickstart --users users.csv --out answers.parquet -k 10",
    )
    added.add_argument("run", metavar="RUN", type=local_path, help="folder of a finished run")
    added.add_argument(
        "--users", metavar="FILE", type=local_path, required=True, help="CSV or Parquet file of users and queries"
    )
    added.add_argument("--out", metavar="FILE", type=local_path, required=True, help="Parquet file of the answers")
    _add_scorer(added)
    added.add_argument("-k", metavar="K", type=integer(1, 100_000), default=10, help="answers per line (default 10)")
    add_ray(added)


def _add_question(added: argparse.ArgumentParser) -> None:
    added.add_argument("run", metavar="RUN", type=local_path, help="folder of a finished run")
    who = added.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="U", help="user id as in the raw log")
    who.add_argument(
        "--history",
        metavar="FILE",
        type=local_path,
        help="item ids, one per line, oldest first, in place of a user; optionally a tab and recommendation (the "
        "default), search or both",
    )
    added.add_argument("--only", metavar="FILE", type=local_path, help="answer only these items; ids, one per line")
    added.add_argument("--exclude", metavar="FILE", type=local_path, help="never answer these items; ids, one per line")
    added.add_argument("--explain", action="store_true", help="say which channels and interactions are behind it")
    _add_scorer(added)
    added.add_argument("-k", metavar="K", type=integer(1, 100_000), default=10, help="number of answers (default 10)")


def _add_scorer(added: argparse.ArgumentParser) -> None:
    added.add_argument("--scorer", metavar="NAME", help="order by this trained baseline (`gensr baseline`), not GenSR")


def _answer(options: argparse.Namespace, say: Say) -> Any:
    question = Question(
        k=options.k,
        user=options.user,
        history=options.history,
        query=getattr(options, "query", None),
        only=options.only,
        exclude=options.exclude,
        explain=options.explain,
        scorer=options.scorer,
    )
    return answer(Run.open(options.run), question, say)


def answer(run: Run, question: Question, say: Say) -> AnswerList:
    """The k best items for a user or a history or, with a query, for what was typed.

    Raises:
        InputError: the run is not finished, does not know the user, the scorer cannot score, or a file cannot be read.
    """
    with _uncollected():
        from gensr_dist.retrieval.answer import Choice
        from gensr_dist.retrieval.item_lists import read_history, read_items

        answerer = run.answerer_by(question.scorer)
    item_ids = answerer.items.item_ids
    who = question.user if question.history is None else read_history(question.history, item_ids)
    assert who is not None
    only, exclude = (None if path is None else read_items(path, item_ids) for path in (question.only, question.exclude))
    choice, query, k = Choice(only=only, exclude=exclude), question.query, question.k
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
    return AnswerList(
        run=str(run.folder.root), user=question.user, query=query, answers=answers, seconds=round(seconds, 4)
    )


def _answer_file(options: argparse.Namespace, say: Say) -> "ManyAnswers":
    check_ray(options)
    run, k, scorer = Run.open(options.run, many=True), options.k, options.scorer
    from gensr_dist.retrieval.added.opening import open_for_scorer
    from gensr_dist.retrieval.answer import Answerer
    from gensr_dist.retrieval.many_answers import answer_many, answer_part, identity_of

    trained = open_for_scorer(run.folder, run.config, scorer)
    if options.engine == "ray":
        from gensr_dist.retrieval.ray_answers import answer_parts_on

        parts = answer_parts_on(options.address, run.folder.root, k, scorer)
    else:
        answerer = Answerer(trained, run.config, scorer)

        def parts(waiting: "Iterable[NumberedPart]") -> "Iterator[NumberedPart]":
            return ((number, answer_part(answerer, asks, k)) for number, asks in waiting)

    result = answer_many(
        options.users,
        options.out,
        k,
        identity=identity_of(trained, run.config.retrieval, scorer),
        users=trained.items.users,
        candidates=run.config.retrieval.candidates,
        answer_parts=parts,
        notes=trained.notes,
    )
    return told(result, say)


def _reason_lines(reason: "Reason") -> list[str]:
    ranks = ", ".join(f"{name} {rank}" for name, rank in sorted(reason.channels.items(), key=lambda pair: pair[1]))
    lines = [f"proposed by {ranks}" if ranks else "proposed by no channel: popularity fills up"]
    lines += [f"attends {seen.cf:.0%} / {seen.semantic:.0%} to {seen.item_id}  {seen.text}" for seen in reason.attended]
    return lines


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which looks again and again at all that imports make: a sixth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def show_examples(run: Run, say: Say) -> None:
    """What three users of the test split get, so that the numbers have a face."""
    import numpy as np

    from gensr_dist.data.events import Behaviour
    from gensr_dist.data.spaced import spaced
    from gensr_dist.data.timelines.splits import Split

    items, store, answerer = run.trained.items, run.trained.store, run.answerer
    rows = store.eval_rows(Split.TEST, Behaviour.SEARCH)
    if not len(rows):
        rows = store.eval_rows(Split.TEST, Behaviour.RECOMMENDATION)
    _, first = np.unique(rows.user_R, return_index=True)
    for row in first[spaced(len(first), EXAMPLE_USERS)].tolist():
        user, query = items.users[int(rows.user_R[row])], int(rows.query_R[row])
        user_G = rows.user_R[row : row + 1]
        history_L = store.gather_histories(user_G, store.history_span(user_G)[1], EXAMPLE_ANSWERS)[0][0]
        liked = [_shown(items.item_ids[item], items.texts[item]) for item in history_L.tolist() if item >= 0]
        _say_items(f"user {user} liked last", liked, say)
        recommended = answerer.recommend(user, EXAMPLE_ANSWERS)
        _say_items("  is recommended", [_scored(found) for found in recommended.items], say)
        if query >= 0 and items.queries[query].split():
            searched = answerer.search(user, items.queries[query], EXAMPLE_ANSWERS)
            _say_items(f"  searches '{items.queries[query]}'", [_scored(found) for found in searched.items], say)


def _scored(answer: "Answer") -> str:
    return f"{_shown(answer.item_id, answer.text)}  ({answer.score:.3f})"


def _shown(item_id: str, text: str) -> str:
    """What to call an item where there is little room: its text, or its id if it has none."""
    return text or f"item {item_id}"


def _say_items(title: str, texts: list[str], say: Say) -> None:
    say(printable(f"{title}: {' | '.join(texts)}"))
