import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.verify import verify
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder
from tests.forked_ranks import ForkedPython, run_forked


def digest_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_bytes_do_not_depend_on_the_workers(
    tmp_path: Path, prepared: Path, make_log: Callable[..., EventLog], small_config: DataConfig, workers: int
) -> None:
    prepare(LocalEngine(make_log(), workers), small_config, 7, Folder.at(tmp_path / "shards"))
    assert digest_of(tmp_path / "shards") == digest_of(prepared)


def test_an_error_in_a_worker_is_the_users_error(
    tmp_path: Path, make_log: Callable[..., EventLog], small_config: DataConfig
) -> None:
    config = replace(small_config, eval_negatives=59)
    with pytest.raises(InputError, match="leaves fewer than the 59 negatives"):
        prepare(LocalEngine(make_log(), 3), config, 7, Folder.at(tmp_path / "shards"))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_worker_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_log: Callable[..., EventLog], small_config: DataConfig
) -> None:
    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("gensr_dist.data.preparation.local_engine.write_users", die)
    with pytest.raises(InputError, match="a process that wrote shards was killed"):
        prepare(LocalEngine(make_log(), 2), small_config, 7, Folder.at(tmp_path / "shards"))
    assert list(tmp_path.iterdir()) == []


def test_killed_at_any_moment_it_starts_again_cleanly(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "gensr_dist"]
    settings = ["--preset", "tiny", "--set", f"run={run}", "--set", "data.users_per_sample=2"]
    assert run_forked(["gensr_dist", "simulate", *settings]).returncode == 0
    prepare_it = [*command, "prepare", "simulate", *settings, "--workers", "2"]
    began = time.monotonic()
    assert run_forked(prepare_it[2:]).returncode == 0
    whole, seconds = digest_of(run / "shards"), time.monotonic() - began

    draw = random.Random(0)
    for _ in range(4):
        (run / "stages" / "prepare.json").unlink(missing_ok=True)
        with Path(os.devnull).open("w") as nowhere:
            process = ForkedPython(prepare_it, stdout=nowhere, stderr=nowhere)
        time.sleep(draw.uniform(0.4, 1.0) * seconds)
        process.kill()
        process.wait()
        if (run / "shards").exists():  # the old folder or the new one, never something between
            verify(Folder.at(run / "shards"))
            assert digest_of(run / "shards") == whole
    threads = {"POLARS_MAX_THREADS": "1", "RAYON_NUM_THREADS": "1"}  # of the libraries; they change nothing either
    subprocess.run([*prepare_it[:-1], "3"], check=True, capture_output=True, env=os.environ | threads)
    assert digest_of(run / "shards") == whole
    assert [path.name for path in run.iterdir() if path.name.startswith(".shards")] == []
