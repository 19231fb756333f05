"""The comparison of both scorings, at a small size."""

from pathlib import Path

import pytest
import yaml

from gensr_dist.bench import scorings
from gensr_dist.bench.scorings import _comparison, bench_scorings
from gensr_dist.errors import InputError
from gensr_dist.storage.records import read_json
from tests.bench.forked_commands import run_gensr_forked

TINY = {
    "simulate": {"users": 60, "items": 300, "events_per_user": 20},
    "data": {"min_interactions": 2, "vocabulary": 400, "eval_negatives": 19, "history": 4},
    "lightgcn": {"width": 8, "epochs": 1},
    "model": {"cf_heads": 2, "semantic_history": "pooled"},
    "train": {"steps": 3, "batch": 8, "warmup_steps": 1, "workers": 0, "validate_rows": 4},
    "evaluation": {"bootstrap": 0, "catalogue_rows": 0},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_both_scorings_rank_the_same_rows(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorings, "run_gensr", run_gensr_forked)
    result = bench_scorings(config, ["train.steps=2"], seeds=1, shared_steps=3, at_once=1, folder=tmp_path / "runs")
    assert (result.shared_steps, result.joint_steps, result.seeds) == (3, 2, (1,))
    for name, steps in (("shared", 3), ("joint", 2)):
        assert read_json(tmp_path / "runs" / f"{name}1" / "stages" / "train.json", "")["result"]["steps"] == steps
    assert min(result.shared_train_s, result.joint_train_s) > 0
    shared, joint = (read_json(tmp_path / "runs" / f"{name}1" / "metrics.json", "") for name in ("shared", "joint"))
    assert shared["protocol"]["rows_digest"] == joint["protocol"]["rows_digest"]
    for name, task in result.tasks.items():
        assert task.shared == (round(shared[name]["ndcg@10"], 4),)
        assert task.joint == (round(joint[name]["ndcg@10"], 4),)
        difference = shared[name]["ndcg@10"] - joint[name]["ndcg@10"]
        assert task.difference == pytest.approx(difference, abs=1e-4)
        assert task.noise is None
    assert len(result.lines()) == 1 + len(result.tasks)
    models = [path.stat().st_mtime_ns for path in sorted((tmp_path / "runs").glob("*/model/gensr.json"))]
    again = bench_scorings(config, ["train.steps=2"], seeds=1, shared_steps=3, at_once=1, folder=tmp_path / "runs")
    assert again.tasks == result.tasks
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "runs").glob("*/model/gensr.json"))] == models


@pytest.mark.parametrize("name", ["afile", "afile/runs"])
def test_a_folder_that_cannot_be_is_refused(config: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "afile").touch()
    with pytest.raises(InputError, match="cannot be the folder of the runs"):
        bench_scorings(config, [], folder=tmp_path / name)


def test_noise_is_the_standard_error_of_the_differences_between_seeds() -> None:
    found = _comparison([0.5, 0.6, 0.7], [0.4, 0.6, 0.5])
    assert found.difference == 0.1
    assert found.noise == pytest.approx(0.1 / 3**0.5, abs=1e-4)


def test_shards_elsewhere_are_refused(config: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.shards: each seed prepares shards of its own; leave it empty$"):
        bench_scorings(config, ["data.shards=/elsewhere"])


def test_a_command_that_fails_is_named(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gensr prepare amazon: .*"):
        bench_scorings(config, ["data.source=amazon", f"data.raw={tmp_path / 'nowhere'}"], seeds=1, at_once=1)
