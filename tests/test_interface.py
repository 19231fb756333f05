"""The Python interface; `integration/test_quickstart.py` and the notebook ask it for answers."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import gensr_dist
from gensr_dist import interface
from gensr_dist.config.root import Config
from gensr_dist.errors import InputError


def test_names_of_the_package_are_the_interface_whatever_was_imported_before() -> None:
    program = (
        "import gensr_dist, sys; assert 'torch' not in sys.modules; import gensr_dist.runs.folder; gensr_dist.Run; "
        "assert callable(gensr_dist.run); import gensr_dist.cli.main; assert callable(gensr_dist.run)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert gensr_dist.run is interface.run
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        gensr_dist.walk  # noqa: B018


def test_bad_calls_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such run folder; give the folder of a finished `gensr run`"):
        gensr_dist.Run.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"the config is given as an object; change that instead"):
        gensr_dist.run(Config(), "train.steps=3")
    opened = interface.Run(interface.RunFolder(tmp_path), Config())
    for who in ({}, {"user": "1", "history": ["2"]}):
        with pytest.raises(InputError, match=r"expected a user or a history; give one of the two"):
            opened.recommend(**who)
    with pytest.raises(InputError, match=r"run `gensr evaluate` first"):
        opened.metrics  # noqa: B018


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda run: run.recommend(user="1", k=0), "k: it is 0, expected a whole number of 1 or more"),
        (lambda run: run.recommend(user="1", k=-1), "k: it is -1, expected a whole number"),
        (lambda run: run.recommend(user="1", k=2.5), "k: it is 2.5, expected a whole number"),
        (lambda run: run.recommend(user="1", k="3"), "k: it is '3', expected a whole number"),
        (lambda run: run.search("red", user="1", k=True), "k: it is True, expected a whole number"),
        (lambda run: run.recommend(user=1.5), "user: it is 1.5, expected a text; put it in quotes"),
        (lambda run: run.recommend(history="697"), "history: it is '697', expected ids of items, oldest first"),
        (lambda run: run.recommend(history={"1", "8"}), "expected ids of items, oldest first"),
        (lambda run: run.recommend(history=697), "history: it is 697, expected ids of items, oldest first"),
        (lambda run: run.recommend(history=[None]), "history: it is None, expected a text"),
        (lambda run: run.recommend(history=["\udcff"]), "history: '\\udcff' cannot be written as UTF-8"),
        (lambda run: run.search(None, user="1"), "query: it is None, expected a text"),
        (lambda run: run.search(5, user="1"), "query: it is 5, expected a text"),
        (lambda run: run.search("\udcff red", user="1"), "cannot be written as UTF-8"),
        (lambda run: run.recommend(user="1", scorer=5), "scorer: it is 5, expected a text"),
        (lambda run: interface.run({"seed": 1}), "config: it is {'seed': 1}, expected a path"),
        (lambda run: interface.run("a.yaml", 5), "overrides: it is 5, expected a text"),
        (lambda run: interface.Run.open(None), "folder: it is None, expected a path"),
    ],
)
def test_a_value_of_another_kind_is_one_line(tmp_path: Path, call: Callable[[Any], Any], expected: str) -> None:
    class Opened(interface.Run):
        def answerer_by(self, scorer: str | None) -> Any:
            """Nothing is opened before the arguments are looked at, but for the ids of the items."""
            return SimpleNamespace(
                items=SimpleNamespace(item_ids=pl.Series(["697"])),
                recommend=lambda who, k: None,
                search=lambda who, query, k: None,
            )

    with pytest.raises(InputError) as caught:
        call(Opened(interface.RunFolder(tmp_path), Config()))
    assert expected in str(caught.value)


@pytest.mark.parametrize("history", [["3", "8"], [3, 8], np.array([3, 8]), iter("38"), pl.Series(["3", "8"])])
def test_ids_come_in_any_collection_as_texts_or_whole_numbers(tmp_path: Path, history: Any) -> None:
    class Opened(interface.Run):
        def answerer_by(self, scorer: str | None) -> Any:
            return SimpleNamespace(items=SimpleNamespace(item_ids=pl.Series(["8", "3"])), recommend=lambda who, k: who)

    opened = Opened(interface.RunFolder(tmp_path), Config())
    who: Any = opened.recommend(history=history)
    assert who.item_M.tolist() == [1, 0]
    assert who.unknown == 0
    assert opened.recommend(user=17) == "17"
