"""`orders.json` of an index folder: the fitted orders, and which index they were fitted on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.retrieval.fitting import FittedOrders
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder
from gensr_dist.retrieval.index import RECORD, REMEDY
from gensr_dist.retrieval.ranker import GENSR
from gensr_dist.storage.checked_files import sha256_of_file
from gensr_dist.storage.records import read_record, write_json

ORDERS = "orders.json"


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """orders.json; by name of the task."""

    index: str  # SHA-256 of index.json
    fusion: Mapping[str, LearntOrder]
    answers: Mapping[str, LearntOrder]


def save_orders(folder: Path, orders: FittedOrders) -> None:
    """Write the orders of an index."""
    contents = _Contents(
        index=sha256_of_file(folder / RECORD),
        fusion={TASK_NAMES[task]: order for task, order in orders.fusion.items()},
        answers={TASK_NAMES[task]: order for task, order in orders.answers.items()},
    )
    write_json(folder / ORDERS, asdict(contents))


def read_orders(folder: Path, features: Mapping[Behaviour, tuple[str, ...]]) -> FittedOrders:
    """Read the orders of an index.

    Args:
        folder: of the index.
        features: channels that score each task's candidates.

    Raises:
        InputError: they are missing, broken, or were fitted on another index or other channels.
    """
    path = folder / ORDERS
    contents = read_record(path, _Contents, "the fitted orders of an index", missing=REMEDY, wrong=REMEDY)
    if contents.index != sha256_of_file(folder / RECORD):
        raise InputError(path, "the orders were fitted on another index", REMEDY)
    tasks = {name: task for task, name in TASK_NAMES.items()}
    for orders, more in ((contents.fusion, ()), (contents.answers, (GENSR,))):
        for name, order in orders.items():
            if name not in tasks or order.features != (*features[tasks[name]], *more):
                raise InputError(path, f"the order of {name} was fitted on other channels", REMEDY)
            numbers = len(order.mean) == len(order.deviation) == len(order.weight) == len(order.features)
            if not numbers or not (order.units is None or order.units.fits(len(order.features))):
                raise InputError(path, f"the order of {name} lacks numbers of some features", REMEDY)
    return FittedOrders(
        fusion={tasks[name]: order for name, order in contents.fusion.items()},
        answers={tasks[name]: order for name, order in contents.answers.items()},
    )
