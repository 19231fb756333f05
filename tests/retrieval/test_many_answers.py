"""Answers for all users of a file: those of single requests, whole or not at all, and going on where it stopped."""

import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.errors import InputError
from gensr_dist.retrieval import many_answers
from gensr_dist.retrieval.answer import Answerer
from gensr_dist.retrieval.asks_file import read_asks
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.many_answers import SCHEMA, ManyAnswers, NumberedPart, answer_many, answer_part, identity_of
from gensr_dist.retrieval.orders_file import ORDERS
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.storage.checked_files import sha256_of_file
from gensr_dist.storage.output_errors import as_input_error

K = 4


@pytest.fixture(scope="module")
def answerer(run: RunFolder, trained: TrainedRun) -> Answerer:
    return Answerer(trained, load_config(run.config))


def asks(folder: Path, lines: int = 10) -> Path:
    """Known and unknown users, with and without queries, some of unknown words."""
    queries = ["", "red w3", " ", "xyzzy", "blue"]
    rows = [f"{'nobody' if line == 6 else f'u{line}'},{queries[line % 5]}" for line in range(lines)]
    path = folder / "asks.csv"
    path.write_text("\n".join(["user_id,query", *rows, ""]))
    return path


def answered(answerer: Answerer, run: RunFolder, path: Path, out: Path, done: list[int], most: int = 99) -> ManyAnswers:
    """Answer, and stop as a killed process would before more than `most` parts are done."""

    def parts(waiting: Iterable[NumberedPart]) -> Iterator[NumberedPart]:
        for number, part in waiting:
            if len(done) >= most:
                raise KeyboardInterrupt
            done.append(number)
            yield number, answer_part(answerer, part, K)

    return answer_many(
        path,
        out,
        K,
        identity=sha256_of_file(run.index / ORDERS),
        users=answerer.items.users,
        candidates=answerer.candidates,
        answer_parts=parts,
    )


def test_answers_are_those_of_single_requests(answerer: Answerer, run: RunFolder, tmp_path: Path) -> None:
    path, out = asks(tmp_path), tmp_path / "new" / "answers.parquet"
    out.parent.mkdir()
    result = answered(answerer, run, path, out, [])
    assert (result.asked, result.unknown, result.before) == (10, 1, 0)
    assert "1 lines are of users who were not prepared" in " ".join(result.lines())
    found = pl.read_parquet(out)
    assert found.schema == SCHEMA
    assert result.answers == len(found) == 9 * K
    expected = []
    for user, query in read_asks(path).frame.iter_rows():
        if user == "nobody":
            continue
        single = answerer.recommend(user, K) if query is None else answerer.search(user, query, K)
        expected += [(user, query, item.rank, item.item_id, item.score) for item in single.items]
    assert found.drop("score").rows() == [row[:4] for row in expected]
    assert found["score"].to_list() == pytest.approx([row[4] for row in expected], abs=1e-5)
    assert list(tmp_path.rglob(".*")) == [], "nothing is left beside the result"


def test_an_interrupted_start_is_gone_on_with(
    answerer: Answerer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_answers, "PART", 3)
    path, whole, out = asks(tmp_path), tmp_path / "whole.parquet", tmp_path / "out.parquet"
    answered(answerer, run, path, whole, [])
    first: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        answered(answerer, run, path, out, first, most=2)
    assert not out.exists()
    second: list[int] = []
    result = answered(answerer, run, path, out, second)
    assert (first, second) == ([0, 1], [2, 3])
    assert result.before == 6
    assert pl.read_parquet(out).equals(pl.read_parquet(whole))


def test_parts_of_other_lines_are_not_used(
    answerer: Answerer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_answers, "PART", 3)
    path, out = asks(tmp_path), tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        answered(answerer, run, path, out, [], most=2)
    path.write_text("user_id\nu7\nu3\n")
    done: list[int] = []
    assert answered(answerer, run, path, out, done).before == 0
    assert done == [0]
    assert pl.read_parquet(out)["user_id"].unique(maintain_order=True).to_list() == ["u7", "u3"]


def test_parts_of_other_settings_are_not_used(trained: TrainedRun) -> None:
    """Settings that no fitted order knows of."""
    settings = RetrievalConfig()
    others = [dataclasses.replace(settings, candidates=7), dataclasses.replace(settings, exclude_seen=False)]
    assert len({identity_of(trained, each) for each in (settings, *others)}) == 3


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_a_part_that_cannot_be_read_is_answered_again(
    answerer: Answerer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setattr(many_answers, "PART", 3)
    path, whole, out = asks(tmp_path), tmp_path / "whole.parquet", tmp_path / "out.parquet"
    answered(answerer, run, path, whole, [])
    with pytest.raises(KeyboardInterrupt):
        answered(answerer, run, path, out, [], most=2)
    part = tmp_path / ".out.parquet.parts" / "000000.parquet"
    part.write_bytes(part.read_bytes()[:-9] if content is None else content)
    done: list[int] = []
    assert answered(answerer, run, path, out, done).before == 3
    assert done == [0, 2, 3]
    assert pl.read_parquet(out).equals(pl.read_parquet(whole))


@pytest.mark.parametrize("lines", [10, 9])
def test_a_second_start_of_the_same_result_is_refused(
    answerer: Answerer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(many_answers, "PART", 3)
    path, out = asks(tmp_path), tmp_path / "out.parquet"
    (tmp_path / "others").mkdir()
    others = asks(tmp_path / "others", lines)

    def parts(waiting: Iterable[NumberedPart]) -> Iterator[NumberedPart]:
        for number, part in waiting:
            with pytest.raises(InputError, match=r"out.parquet: another `gensr answer` writes it; wait for it"):
                answered(answerer, run, others, out, [])
            yield number, answer_part(answerer, part, K)

    identity, users = sha256_of_file(run.index / ORDERS), answerer.items.users
    answer_many(path, out, K, identity=identity, users=users, candidates=answerer.candidates, answer_parts=parts)
    answered(answerer, run, path, tmp_path / "alone.parquet", [])
    assert pl.read_parquet(out).equals(pl.read_parquet(tmp_path / "alone.parquet"))
    assert not (tmp_path / ".out.parquet.parts").exists()


def test_a_start_that_waited_for_a_deleted_lock_is_refused(
    answerer: Answerer, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finished, and deleted its folder, between opening and taking the lock."""
    path, out = asks(tmp_path), tmp_path / "out.parquet"
    monkeypatch.setattr(fcntl, "flock", lambda *_: shutil.rmtree(tmp_path / ".out.parquet.parts"))
    with pytest.raises(InputError, match=r"out.parquet: another `gensr answer` writes it; wait for it"):
        answered(answerer, run, path, out, [])


def test_an_error_of_the_answers_is_not_called_another_start(
    answerer: Answerer, run: RunFolder, tmp_path: Path
) -> None:
    def blocked(waiting: Iterable[NumberedPart]) -> Iterator[NumberedPart]:
        raise BlockingIOError("a pipe that is full")
        yield from waiting

    with pytest.raises(BlockingIOError, match="a pipe that is full"):
        answer_many(
            asks(tmp_path),
            tmp_path / "out.parquet",
            K,
            identity=sha256_of_file(run.index / ORDERS),
            users=answerer.items.users,
            candidates=answerer.candidates,
            answer_parts=blocked,
        )


def test_the_file_of_the_users_is_not_replaced(answerer: Answerer, run: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "asks.parquet"
    pl.DataFrame({"user_id": ["u1"]}).write_parquet(path)
    (tmp_path / "link.parquet").symlink_to(path)
    for out in (path, tmp_path / "link.parquet"):
        with pytest.raises(InputError, match=r"it is the file of the asked users.*; give another name"):
            answered(answerer, run, path, out, [])
    assert pl.read_parquet(path).columns == ["user_id"]


def test_only_answers_are_replaced(answerer: Answerer, run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "a[1].parquet"
    pl.DataFrame({"item_id": ["x"]}).write_parquet(out)
    content = out.read_bytes()
    with pytest.raises(InputError, match=r"it is there and holds something else than answers; give"):
        answered(answerer, run, asks(tmp_path), out, [])
    assert out.read_bytes() == content
    out.unlink()
    os.mkfifo(out)
    with pytest.raises(InputError, match=r"it is there and holds something else"):
        answered(answerer, run, asks(tmp_path), out, [])
    out.unlink()
    first = answered(answerer, run, asks(tmp_path), out, [])
    assert answered(answerer, run, asks(tmp_path), out, []).answers == first.answers


def test_the_result_is_parquet(answerer: Answerer, run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"answers\.csv: answers are written as Parquet; give a name that ends in"):
        answered(answerer, run, asks(tmp_path), tmp_path / "answers.csv", [])


def test_names_are_no_patterns(answerer: Answerer, run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "asks1.csv").write_text("user_id\nu9\n")
    path, out = asks(tmp_path).rename(tmp_path / "asks[1].csv"), tmp_path / "answers [1]*.parquet"
    assert answered(answerer, run, path, out, []).answers == 9 * K
    assert set(pl.read_parquet(out, glob=False)["user_id"]) == {f"u{line}" for line in range(10) if line != 6}


def test_what_was_repaired_is_told(answerer: Answerer, run: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "asks.csv"
    path.write_text("user_id,query\nu1,\n,\nu2,\n")
    result = answered(answerer, run, path, tmp_path / "answers.parquet", [])
    assert (result.asked, result.unknown) == (2, 0)
    assert "note: 1 blank rows of asks.csv dropped" in result.lines()


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    answerer: Answerer, run: RunFolder, tmp_path: Path
) -> None:
    path, done = asks(tmp_path), list[int]()
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(InputError, match=r"folder\.parquet: it is a folder; give the name of a file"):
        answered(answerer, run, path, tmp_path / "folder.parquet", done)
    with pytest.raises(NotADirectoryError) as below:
        answered(answerer, run, path, path / "answers.parquet", done)
    assert "give a name within a folder" in str(as_input_error(below.value))
    assert not done
