"""What a study's folder belongs to, and what ends a study."""

import errno
import fcntl
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.study import driver
from gensr_dist.study.driver import _check_identity, prepare_study, run_study
from gensr_dist.study.plan import Study, open_study
from gensr_dist.study.spec import TrialSpec
from gensr_dist.study.trials import Trials
from tests.storage.test_output_errors import largest_file
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


class _Failing:
    """Trials that end at once and leave nothing."""

    places = 1

    def start(self, spec: TrialSpec) -> str:
        return spec.label

    def wait(self, started: Sequence[str]) -> tuple[int, str]:
        return 0, "ended with code 2"

    def stop(self, started: str) -> None:
        pass


def test_a_full_disk_ends_the_study_and_fails_no_trial(study: Study) -> None:
    # Room for the study's own files, but not for a MiB.
    with largest_file(1_000_000), pytest.raises(OSError, match=r"large") as caught:
        run_study(study, _Failing(), lambda line: None, lambda: None)
    assert caught.value.errno == errno.EFBIG
    trials = Trials(study, study.folder / "data.yaml")
    assert not trials.done()
    said: list[str] = []
    run_study(study, _Failing(), said.append, lambda: None)  # with room it is the system's own fault
    assert said[-1].startswith("BM25, seed 0: failed: ended with code 2; to try it again delete ")
    assert [done.problem for done in trials.done()] == ["ended with code 2"]
