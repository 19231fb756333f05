"""Parts of many answers on a Ray cluster, which has gensr_dist installed and sees the run folder at the same path."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from gensr_dist.config.root import load_config
from gensr_dist.data.preparation.ray_engine import connect
from gensr_dist.errors import InputError
from gensr_dist.retrieval.added.opening import open_for_scorer
from gensr_dist.retrieval.answer import Answerer
from gensr_dist.retrieval.many_answers import AnswerParts, NumberedPart, answer_part
from gensr_dist.runs.folder import RunFolder

try:
    import ray
    from ray.util import ActorPool
except ImportError as error:
    raise InputError("--engine ray", f"Ray is missing ({error})", "pip install 'gensr_dist[ray]'") from None

_CPUS = 2  # of an actor without a GPU
_RESTARTS = 20  # of an actor whose machine or process died


class _Worker:
    """Holds an opened run."""

    def __init__(self, root: Path, scorer: str | None) -> None:
        config = load_config(root / "config.yaml", done=True)
        run = RunFolder.of(config, root)
        self.answerer = Answerer(open_for_scorer(run, config, scorer), config, scorer)

    def answer(self, number: int, asks: pl.DataFrame, k: int) -> tuple[int, pl.DataFrame]:
        return number, answer_part(self.answerer, asks, k)


def answer_parts_on(address: str, root: Path, k: int, scorer: str | None) -> AnswerParts:
    """Answer parts with one worker a GPU of the cluster or, where it has none, a worker every _CPUS cores.

    Args:
        address: of the cluster; empty starts one on this machine.
        root: of the run folder.
        k: items a line.
        scorer: trained baseline that orders the candidates; None: GenSR does.
    """
    connect(address)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    workers = gpus or max(1, int(resources.get("CPU", 1)) // _CPUS)
    options = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": min(_CPUS, int(resources.get("CPU", 1)))}

    def answered(parts: Iterable[NumberedPart]) -> Iterator[NumberedPart]:
        remote: Any = ray.remote(max_restarts=_RESTARTS, max_task_retries=_RESTARTS)(_Worker)
        pool = ActorPool([remote.options(**options).remote(root.resolve(), scorer) for _ in range(workers)])
        yield from pool.map_unordered(lambda worker, part: worker.answer.remote(*part, k), parts)

    return answered
