"""A study from its file to its tables, killed, shared and repeated."""

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.cli.main import main
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.evaluation.significance import load_ranks, paired_test
from gensr_dist.study.engines import LocalTrials
from gensr_dist.study.spec import OUTCOME
from tests.forked_ranks import ForkedPython
from tests.study.studies import start_forked, write_study

SYSTEMS = """
  - {system: popularity}
  - {system: gensr}
  - {system: sasrec, label: "SASRec, CE", set: [loss=ce, negatives=1, validate_every=0.5]}
  - {system: qem, set: [learning_rate=1e30], label: QEM that fails}
"""


def found_in(path: Path) -> dict:
    return json.loads((path.parent / "study" / "study.json").read_text())


def outcomes(path: Path) -> dict[str, int]:
    """When each trial ended."""
    return {
        each.parent.name: each.stat().st_mtime_ns for each in (path.parent / "study" / "trials").glob(f"*/{OUTCOME}")
    }


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Done by forked trials; those of the studies that are killed are started."""
    path = write_study(tmp_path_factory.mktemp("study"), SYSTEMS, epochs=2, trials=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalTrials, "start", start_forked)
        assert main(["study", str(path)]) == 0
        yield path


def test_every_system_has_its_row(study: Path) -> None:
    systems = {system["label"]: system for system in found_in(study)["systems"]}
    assert list(systems) == ["Popularity", "GenSR", "SASRec, CE", "QEM that fails"]
    assert systems["Popularity"]["sampled"].keys() == systems["GenSR"]["sampled"].keys() == {"rec", "search"}
    sasrec = systems["SASRec, CE"]
    assert sasrec["sampled"].keys() == {"rec"}
    assert sasrec["trials"] == 2
    assert sasrec["behind"]["rec"]["difference"] == pytest.approx(
        systems["GenSR"]["sampled"]["rec"]["ndcg@10"]["mean"] - sasrec["sampled"]["rec"]["ndcg@10"]["mean"]
    )
    assert systems["GenSR"]["behind"] == {}


def test_systems_are_compared_by_their_users(study: Path) -> None:
    (counted,) = (study.parent / "study" / "trials").glob("popularity-*")
    (gensr,) = (study.parent / "study" / "trials").glob("gensr-*")
    popularity = next(system for system in found_in(study)["systems"] if system["label"] == "Popularity")
    for task, name in TASK_NAMES.items():
        rank_R, user_R = load_ranks(counted, task)
        assert len(np.unique(user_R)) < len(user_R)
        expected = paired_test(load_ranks(gensr, task).rank_R, rank_R, user_R, resamples=10_000, seed=0)
        assert popularity["behind"][name] == pytest.approx(dataclasses.asdict(expected))


def test_one_that_fails_stops_no_other_and_says_why(study: Path) -> None:
    failed = found_in(study)["systems"][-1]
    assert failed["sampled"] == {}
    assert any("is not finite; the last finite loss was" in problem for problem in failed["failed"])
    for name in ("report.md", "report.html"):
        text = (study.parent / "study" / name).read_text()
        assert "QEM that fails" in text
        assert "is not finite" in text


def test_a_study_that_is_done_is_not_done_again(study: Path) -> None:
    before, tables = outcomes(study), (study.parent / "study" / "report.md").read_text()
    assert main(["study", str(study)]) == 0
    assert outcomes(study) == before
    assert (study.parent / "study" / "report.md").read_text() == tables


def test_a_trial_whose_folder_is_deleted_is_done_again(study: Path) -> None:
    before, tables = outcomes(study), (study.parent / "study" / "report.md").read_text()
    (lost,) = (study.parent / "study" / "trials").glob("popularity-*")
    shutil.rmtree(lost)
    assert main(["study", str(study)]) == 0
    after = outcomes(study)
    assert {name for name in after if after[name] != before.get(name)} == {lost.name}
    assert after.keys() == before.keys()
    kept = [
        line
        for line in tables.splitlines()
        if "candidates/s" not in line and not line.startswith("| Popularity | none")
    ]
    assert all(line in (study.parent / "study" / "report.md").read_text() for line in kept)


def test_a_failed_trial_whose_folder_is_deleted_is_tried_again(study: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(study)]) == 0
    assert "QEM that fails, seed 0: begins" not in capfd.readouterr().out
    for failed in (study.parent / "study" / "trials").glob("qem-*"):
        shutil.rmtree(failed)
    assert main(["study", str(study)]) == 0
    said = capfd.readouterr().out
    assert said.count("QEM that fails, seed 0: begins") == 2
    assert "to try it again delete" in said
    assert found_in(study)["systems"][-1]["failed"]


def test_another_plan_is_refused_in_its_folder(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_study(tmp_path, "  - {system: popularity}")
    other.write_text(other.read_text().replace(str(tmp_path / "study"), str(study.parent / "study")))
    assert main(["study", str(other)]) == 2
    assert "it holds a study with other settings" in capsys.readouterr().err


def test_a_killed_study_goes_on_and_several_share_it(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        "  - {system: sasrec, set: [validate_every=0.1]}\n  - {system: bm25}",
        epochs=6,
        seeds=2,
        best=1,
        best_seeds=3,
    )
    command = [sys.executable, "-m", "gensr_dist", "study", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "first.txt").open("w") as output:
        first = ForkedPython(command, env=environment, stdout=output, stderr=output, begin=os.setsid)
    curve = None
    while curve is None:
        assert first.poll() is None
        curve = next((tmp_path / "study" / "trials").glob("sasrec-*/curve.json"), None)
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = json.loads(curve.read_text())["points"]
    assert not (curve.parent / OUTCOME).exists()
    both = []
    for name in ("second.txt", "third.txt"):
        with (tmp_path / name).open("w") as output:
            both.append(ForkedPython(command, env=environment, stdout=output, stderr=output))
    assert [process.wait(200) for process in both] == [0, 0]
    said = [(tmp_path / name).read_text() for name in ("second.txt", "third.txt")]
    begun = Counter(line.split(": begins")[0] for text in said for line in text.splitlines() if ": begins" in line)
    assert set(begun.values()) == {1}  # no trial twice
    assert set(begun) == {"BM25, seed 0", "SASRec, seed 0", "SASRec, seed 1", "SASRec, seed 2"}
    after = json.loads(curve.read_text())["points"]
    assert after[: len(before)] == before  # it went on
    found = found_in(path)
    assert found["waiting"] == []
    sasrec, bm25 = found["systems"]
    assert sasrec["sampled"]["rec"]["mrr"]["seeds"] == 3
    assert bm25["sampled"]["search"]["mrr"]["seeds"] == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_study_leaves_no_trial_behind(tmp_path: Path, number: signal.Signals, code: int) -> None:
    path = write_study(tmp_path, "  - {system: sasrec, set: [validate_every=0.1]}", epochs=150)
    command = [sys.executable, "-m", "gensr_dist", "study", str(path)]
    with (tmp_path / "output.txt").open("w") as output:
        study = ForkedPython(command, stdout=output, stderr=output, begin=os.setsid)
    while not list((tmp_path / "study" / "trials").glob("sasrec-*/curve.json")):
        assert study.poll() is None
        time.sleep(0.05)
    os.kill(study.pid, number)
    assert study.wait() == code
    with sqlite3.connect(tmp_path / "study" / "study.db") as storage:
        states = [state for (state,) in storage.execute("SELECT state FROM trials ORDER BY trial_id")]
    assert states == ["FAIL", "WAITING"]  # it will be done again
