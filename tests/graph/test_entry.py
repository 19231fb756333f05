"""`torchrun -m gensr_dist lightgcn` on a run folder gives what the stage gives in one process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from gensr_dist.cli.main import main
from gensr_dist.config.root import Config, load_config
from gensr_dist.data.cf_vectors import load_cf
from gensr_dist.graph.stage import lightgcn
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import StageRecord
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import run_stage
from gensr_dist.stages.stage import PrepareWorkers
from gensr_dist.stages.status import RunStatus

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "gensr_dist", "lightgcn"]
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose log is simulated and prepared."""
    folder = tmp_path_factory.mktemp("entry")
    settings = {
        "run": str(folder / "run"),
        "simulate": {"users": 40, "items": 80, "days": 5, "events_per_user": 30},
        "data": {"vocabulary": 300, "eval_negatives": 5, "min_interactions": 1},
        "lightgcn": {"width": 8, "layers": 2, "epochs": 3, "batch": 128, "validate_every": 1},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    config = load_config(path)
    for stage in ("simulate", "prepare"):
        run_stage(BY_NAME[stage], config, lambda line: None, PrepareWorkers(processes=1))
    return path


def finished(config: Config) -> StageRecord | None:
    return RunStatus(config, RunFolder.of(config)).finished(BY_NAME["lightgcn"])


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER}
    return subprocess.run(
        [sys.executable, *TORCHRUN, *map(str, arguments)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_two_ranks_finish_the_stage_with_the_vectors_of_one(config_file: Path) -> None:
    config = load_config(config_file)
    run = RunFolder.of(config)
    lightgcn(config, run, resume=False)
    expected, expected_users = load_cf(run.cf, folds=True)
    assert finished(config) is None

    done = torchrun(config_file)
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.count("trained 3 epochs") == 1
    assert done.stdout.count("mean cosine N@10: training rows 0.") == 1
    vectors, users = load_cf(run.cf, folds=True)
    assert vectors.folds == 2
    pairs = zip(vectors.without_fold, expected.without_fold, strict=True)
    for found, table in (*pairs, (vectors.whole_IE, expected.whole_IE), (users, expected_users)):
        assert np.abs(table).max() > 0.05
        np.testing.assert_allclose(found, table, atol=1e-5)
    record = finished(config)
    assert record is not None
    assert record.result["epochs"] == 3
    assert all(0 < record.result["leak"][name] < 1 for name in ("training_whole", "training_without", "validation"))
    assert not (run.root / "lightgcn_checkpoint").exists()


def test_input_errors_are_one_line_with_exit_code_2(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lightgcn", str(config_file), "--set", "lightgcn.wdith=4"]) == 2
    assert "lightgcn.wdith" in capsys.readouterr().err
    assert main(["lightgcn", str(config_file), "--set", "seed=5"]) == 2  # prepared with another one
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "run `gensr" in message


def test_a_table_that_is_gone_is_made_again(config_file: Path) -> None:
    config = load_config(config_file)
    run = RunFolder.of(config)
    run_stage(BY_NAME["lightgcn"], config, lambda line: None, PrepareWorkers(processes=1))
    assert finished(config) is not None
    kept = (run.cf / "items_without_1.npy").rename(run.root / "kept.npy")
    assert finished(config) is None
    kept.rename(run.cf / "items_without_1.npy")
    assert finished(config) is not None
    assert finished(load_config(config_file, ["lightgcn.folds=3"])) is None
