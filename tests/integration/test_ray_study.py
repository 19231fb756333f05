"""A study on a Ray cluster of two nodes on this machine, one of which dies: it ends complete."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.study.driver import prepare_study, run_study
from gensr_dist.study.plan import open_study
from gensr_dist.study.spec import OUTCOME
from tests.study.studies import write_study

ray = pytest.importorskip("ray")

SYSTEMS = """
  - {system: sasrec, set: [validate_every=0.1]}
  - {system: qem, set: [validate_every=0.1]}
  - {system: bm25}
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and a worker with a core each; the driver is connected."""
    from ray.cluster_utils import Cluster

    settings = {"initial_delay": "0", "period": "500", "timeout": "1000"}  # a dead node is noticed within seconds
    for name, value in settings.items():
        monkeypatch.setenv(f"RAY_health_check_{name}_ms", value)
    monkeypatch.setenv("RAY_health_check_failure_threshold", "4")
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.worker = cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
def test_a_node_dies(cluster: Any, tmp_path: Path) -> None:
    from gensr_dist.study.ray_trials import RayTrials

    study = open_study(write_study(tmp_path, SYSTEMS, epochs=30, seeds=2), [])
    prepare_study(study, print)
    trials = tmp_path / "study" / "trials"

    def kill_a_node() -> None:
        """Once both nodes train."""
        while len([path for path in trials.glob("*/curve.json") if not (path.parent / OUTCOME).exists()]) < 2:
            time.sleep(0.1)
        cluster.remove_node(cluster.worker, allow_graceful=False)

    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    engine = RayTrials("")
    assert engine.places == 2
    result = run_study(study, engine, print, lambda: None)
    assert not killer.is_alive()  # a node was killed meanwhile
    assert result.waiting == ()
    systems = {system.label: system for system in result.systems}
    assert systems.keys() == {"SASRec", "QEM", "BM25"}
    assert all(system.failed == () for system in systems.values())
    assert systems["SASRec"].sampled["rec"]["mrr"].seeds == systems["QEM"].sampled["search"]["mrr"].seeds == 2
    assert len(json.loads((tmp_path / "study" / "study.json").read_text())["systems"]) == 3
