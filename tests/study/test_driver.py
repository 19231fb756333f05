"""What a study's folder belongs to."""

import fcntl
import threading
import time
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.study import driver
from gensr_dist.study.driver import _check_identity, prepare_study
from gensr_dist.study.plan import Study, open_study
from tests.study.studies import write_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return open_study(write_study(tmp_path, "  - {system: bm25}"), ["data.source=tables", "data.raw=/here"])


def test_a_log_that_was_moved_is_the_same_study(study: Study, tmp_path: Path) -> None:
    _check_identity(study, "shards")
    _check_identity(open_study(tmp_path / "study.yaml", ["data.source=tables", "data.raw=/there"]), "shards")


def test_trials_of_another_log_are_not_compared(study: Study) -> None:
    _check_identity(study)
    _check_identity(study, "shards")
    with pytest.raises(InputError, match=r"its trials were made from other data.*give this one another `folder`"):
        _check_identity(study, "others")


def test_who_waits_for_another_process_says_so(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "plan", lambda config: [])
    study.folder.mkdir()
    said: list[str] = []
    with (study.folder / ".prepare.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=prepare_study, args=(study, said.append))
        waiting.start()
        while not said:
            time.sleep(0.05)
        assert waiting.is_alive()
    waiting.join(60)
    assert said == [f"another process prepares {study.folder}: waiting for it"]
