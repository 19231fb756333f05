"""Studies that cannot be begun, each with one line."""

from pathlib import Path

import pytest

from gensr_dist.cli.main import main
from gensr_dist.study.plan import open_study, plan_digest
from tests.study.studies import write_study


@pytest.mark.parametrize(
    ("systems", "settings", "expected"),
    [
        ("  - {system: sasrek}", {}, "no system 'sasrek'; did you mean sasrec?"),
        ("  - {system: sasrec, set: [losss=ce]}", {}, "did you mean 'sasrec.loss'"),
        ("  - {system: sasrec, set: [width=wide]}", {}, "expected an integer"),
        ("  - {system: gensr, set: [model.cf_vew=false]}", {}, "did you mean 'model.cf_view'"),
        ("  - {system: bm25, set: [k=1]}", {}, "bm25 has no settings"),
        ("  - {system: sasrec}\n  - {system: sasrec, set: [loss=ce]}", {}, "two systems have the label 'SASRec'"),
        ("  - {system: sasrec}", {"trial": 3}, "trial: "),
        ("  - {system: sasrec}", {"trials": 0}, "trials: input should be greater than or equal to 1"),
        ("  - {sistem: sasrec}", {}, "systems.0"),
        ("  - {system: [}", {}, "expected YAML"),
    ],
)
def test_it_is_said_in_a_line(
    systems: str, settings: dict[str, object], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(tmp_path, systems, **settings)
    assert main(["study", str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert not (tmp_path / "study").exists()


def test_the_run_folder_is_the_studys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_study(tmp_path, "  - {system: bm25}")
    assert main(["study", str(path), "--set", "run=elsewhere"]) == 2
    assert "a study has a folder of its own" in capsys.readouterr().err
    assert main(["study", str(tmp_path / "none.yaml")]) == 2
    assert "cannot read the study" in capsys.readouterr().err


def test_overrides_reach_the_shared_run(tmp_path: Path) -> None:
    study = open_study(write_study(tmp_path, "  - {system: bm25}"), ["data.history=3"])
    assert study.config.data.history == 3
    assert study.config.run == str(tmp_path / "study" / "data")


def test_a_study_is_the_same_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        path = write_study(tmp_path / name, "  - {system: bm25}")
        monkeypatch.chdir(tmp_path / name)
        study = open_study(path, [])
        assert study.folder.is_absolute()
        found.append(plan_digest(study))
    assert found[0] == found[1]
    assert plan_digest(open_study(path, ["seed=9"])) != found[0]
