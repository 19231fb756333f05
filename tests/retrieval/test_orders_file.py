"""Orders come back as they were saved; those of another index or other channels do not."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.retrieval.fitting import FittedOrders
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder
from gensr_dist.retrieval.orders_file import ORDERS, read_orders, save_orders

FEATURES: Mapping[Behaviour, tuple[str, ...]] = {
    Behaviour.RECOMMENDATION: ("near", "popularity"),
    Behaviour.SEARCH: ("words", "near", "popularity"),
}


def order(*features: str) -> LearntOrder:
    places = range(len(features))
    return LearntOrder(
        features=features,
        mean=tuple(0.1 * place for place in places),
        deviation=tuple(1 / (1 + place) for place in places),
        weight=tuple(-1.5 * place for place in places),
        groups=120,
        loss=1.25,
        even=3.5,
    )


def fitted(*tasks: Behaviour) -> FittedOrders:
    return FittedOrders(
        fusion={task: order(*FEATURES[task]) for task in tasks},
        answers={task: order(*FEATURES[task], "gensr") for task in tasks},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.json").write_text('{"seed": 0}')
    return tmp_path


@pytest.mark.parametrize("tasks", [(), (Behaviour.SEARCH,), tuple(Behaviour)])
def test_orders_come_back(folder: Path, tasks: tuple[Behaviour, ...]) -> None:
    save_orders(folder, fitted(*tasks))
    assert read_orders(folder, FEATURES) == fitted(*tasks)


def refused(folder: Path, match: str, features: Mapping[Behaviour, tuple[str, ...]] = FEATURES) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read_orders(folder, features)
    assert str(caught.value).startswith(str(folder / ORDERS))
    assert "run `gensr index` again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_index_is_refused(folder: Path) -> None:
    save_orders(folder, fitted(*Behaviour))
    (folder / "index.json").write_text('{"seed": 1}')
    refused(folder, "the orders were fitted on another index")


@pytest.mark.parametrize("task", list(Behaviour))
@pytest.mark.parametrize("change", [lambda names: names[:-1], lambda names: names[::-1], lambda names: (*names, "new")])
def test_other_channels_are_refused(folder: Path, task: Behaviour, change: Callable[[Any], Any]) -> None:
    save_orders(folder, fitted(*Behaviour))
    name = "rec" if task == Behaviour.RECOMMENDATION else "search"
    refused(folder, f"the order of {name} was fitted on other channels", {**FEATURES, task: change(FEATURES[task])})


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda record: record.pop("fusion"), "expected the record of the fitted orders"),
        (lambda record: record.update(answers=[]), "expected the record of the fitted orders"),
        (lambda record: record["fusion"]["rec"].pop("weight"), "expected the record of the fitted orders"),
        (lambda record: record["fusion"]["rec"].update(weight="heavy"), "expected the record of the fitted orders"),
        (lambda record: record["fusion"].update(browse=record["fusion"]["rec"]), "the order of browse"),
        (lambda record: record["answers"]["rec"]["features"].remove("gensr"), "the order of rec"),
        (lambda record: record["fusion"]["search"]["features"].append("gensr"), "the order of search"),
    ],
)
def test_edited_records_are_refused(folder: Path, edit: Callable[[Any], Any], match: str) -> None:
    save_orders(folder, fitted(*Behaviour))
    record = json.loads((folder / ORDERS).read_text())
    edit(record)
    (folder / ORDERS).write_text(json.dumps(record))
    refused(folder, match)


@pytest.mark.parametrize("content", ["", "{", "[1, 2", "nothing\n of it"])
def test_broken_json_is_refused(folder: Path, content: str) -> None:
    (folder / ORDERS).write_text(content)
    refused(folder, "expected a JSON file")


def test_missing_orders_are_refused(folder: Path) -> None:
    refused(folder, "the file does not exist")


@pytest.mark.parametrize("part", ["mean", "deviation", "weight"])
def test_orders_whose_parts_differ_in_length_are_refused(folder: Path, part: str) -> None:
    save_orders(folder, fitted(*Behaviour))
    record = json.loads((folder / ORDERS).read_text())
    record["fusion"]["rec"][part].append(1.0)
    (folder / ORDERS).write_text(json.dumps(record))
    refused(folder, "the order of rec lacks numbers of some features")


@pytest.mark.parametrize(("part", "value"), [("weight", [[1.0]]), ("bias", []), ("out", [1.0, 2.0])])
def test_hidden_units_that_lack_numbers_are_refused(folder: Path, part: str, value: object) -> None:
    save_orders(folder, fitted(*Behaviour))
    record = json.loads((folder / ORDERS).read_text())
    features = len(record["fusion"]["rec"]["features"])
    record["fusion"]["rec"]["units"] = {"weight": [[1.0] * features], "bias": [0.0], "out": [1.0], part: value}
    (folder / ORDERS).write_text(json.dumps(record))
    refused(folder, "the order of rec lacks numbers of some features")
