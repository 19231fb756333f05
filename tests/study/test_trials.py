"""The storage of a study's trials: where it may lie, and what becomes of one that cannot be used."""

import dataclasses
import errno
import fcntl
from pathlib import Path

import pytest

from gensr_dist.errors import InputError
from gensr_dist.study.driver import run_study
from gensr_dist.study.engines import LocalTrials
from gensr_dist.study.plan import Study, open_study
from gensr_dist.study.trials import Trials
from tests.study.studies import write_study


def opened(folder: Path) -> Study:
    plan = folder.with_name("plan")
    plan.mkdir()
    study = open_study(write_study(plan, "  - {system: bm25}"), [])
    folder.mkdir()
    return dataclasses.replace(study, folder=folder)


@pytest.mark.parametrize("name", ["{a}", "what?", "100%41 #1", "n\u00e4me with blanks"])
def test_it_lies_where_its_folder_does(tmp_path: Path, name: str) -> None:
    study = opened(tmp_path / name)
    claimed = Trials(study, tmp_path / "data.yaml").claim()
    assert claimed is not None
    claimed.locks.close()
    assert (study.folder / "study.db").stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {"plan", name}
    assert Trials(study, tmp_path / "data.yaml").claim() is not None  # what a process that is gone had taken


def test_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    study = opened(tmp_path / "a")
    (study.folder / "study.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(InputError, match=r"study\.db: it cannot be used \(file is not a database\)"):
        run_study(study, LocalTrials(), print, lambda: None)


def test_a_file_system_without_locks_is_refused_before_a_trial_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(file: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    study = opened(tmp_path / "a")
    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(InputError, match="its file system locks no files"):
        Trials(study, tmp_path / "data.yaml")
