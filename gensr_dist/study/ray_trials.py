"""Trials on a Ray cluster, which has gensr_dist installed and sees the study's folder at the same path.

A trial whose machine is lost is done again elsewhere, from its last checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gensr_dist.data.preparation.ray_engine import connect
from gensr_dist.errors import InputError
from gensr_dist.study.spec import TrialSpec
from gensr_dist.study.trial import run_trial

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise InputError("--engine ray", f"Ray is missing ({error})", "pip install 'gensr_dist[ray]'") from None

_RESTARTS = 20  # of a trial whose machine or process died


class RayTrials:
    """A task a trial: one GPU each or, where the cluster has none, one core.

    Args:
        address: of the cluster; empty starts one on this machine.
    """

    def __init__(self, address: str) -> None:
        connect(address)
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.places = gpus or max(1, int(resources.get("CPU", 1)))
        options = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": 1}
        self._run: Any = ray.remote(max_retries=_RESTARTS, max_calls=1, **options)(_run)

    def start(self, spec: TrialSpec) -> Any:
        """As `TrialEngine.start`."""
        return self._run.remote(spec.folder)

    def wait(self, started: Sequence[Any]) -> tuple[int, str]:
        """As `TrialEngine.wait`."""
        (ended, *_), _ = ray.wait(list(started), num_returns=1)
        try:
            problem = ray.get(ended)
        except RayTaskError as error:
            problem = str(error.cause)
        except RayError as error:
            problem = f"lost: {type(error).__name__}"
        return list(started).index(ended), problem

    def stop(self, started: Any) -> None:
        """As `TrialEngine.stop`."""
        ray.cancel(started, force=True)


def _run(folder: str) -> str:
    """A trial; what is wrong with it, or nothing. In a process of its own, as `max_calls` says."""
    try:
        run_trial(Path(folder))
    except InputError as error:
        return str(error)
    return ""
