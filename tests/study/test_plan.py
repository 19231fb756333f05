"""Studies that cannot be begun, each with one line."""

from pathlib import Path

import pytest

from gensr_dist.cli.main import main
from gensr_dist.errors import InputError
from gensr_dist.study.plan import open_study, plan_digest
from gensr_dist.study.spec import trial_folder
from tests.study.studies import write_study


@pytest.mark.parametrize(
    ("systems", "settings", "expected"),
    [
        ("  - {system: sasrek}", {}, "systems.0: system: there is none of the name 'sasrek'; did you mean sasrec?"),
        ("  - {system: sasrec, set: [losss=ce]}", {}, "did you mean 'sasrec.loss'"),
        ("  - {system: sasrec, set: [width=wide]}", {}, "expected an integer"),
        ("  - {system: gensr, set: [model.cf_vew=false]}", {}, "did you mean 'model.cf_view'"),
        ("  - {system: bm25, set: [k=1]}", {}, "bm25 has no settings"),
        ("  - {system: bm25}\n  - {system: sasrec, set: [loss=zz]}", {}, "study.yaml: systems.1: sasrec.loss"),
        *(
            (
                f"  - {{system: gensr, set: [model.cf_view=false, {key}]}}",
                {},
                f"{key.partition('=')[0]}: it is the same for",
            )
            for key in (
                *("seed=7", "run=elsewhere", "data.eval_negatives=50", "data.vocabulary=300", "data.raw=elsewhere"),
                *("simulate.users=9", "evaluation.rows=20", "train.validate_rows=9", "paper.steps=3"),
            )
        ),
        ("  - {system: sasrec}\n  - {system: sasrec, set: [loss=ce]}", {}, "two systems have the label 'SASRec'"),
        ("  - {system: sasrec}", {"trial": 3}, "trial: unknown key; did you mean trials?"),
        ("  - {system: sasrec}", {"seeds": True}, "seeds: input should be a valid integer"),
        ("  - {system: sasrec}", {"hours": True}, "hours: input should be a valid number"),
        ("  - {system: sasrec, lable: x}", {}, "systems.0.lable: unknown key; did you mean label?"),
        ("  - sasrec", {}, "systems.0: expected keys with values, such as system: sasrec"),
        ("  - {system: sasrec, set: [loss=ce, loss=bce]}", {}, "systems.0: set: loss is there twice"),
        ("  - {system: gensr, set: [train.steps=9, train.steps=8]}", {}, "set: train.steps is there twice"),
        *(
            (f"  - {{system: sasrec, label: {label}}}", {}, "cannot name a row of a table; write it on one line,")
            for label in ('" "', '"x "', r'"a\nb"', r'"a\0b"', "SASRec (seeds)")
        ),
        (
            "  - {system: fusion}\n  - {system: bm25}",
            {},
            "fusion is of the best two trained baselines, and",
        ),
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


def test_a_gensr_of_its_own_may_change_how_it_learns_and_answers(tmp_path: Path) -> None:
    keys = "model.cf_view=false, train.steps=300, lightgcn.folds=0, retrieval.candidates=50, data.history=3"
    study = open_study(write_study(tmp_path, f"  - {{system: gensr, set: [{keys}]}}"), [])
    assert len(study.plan.systems[0].set) == 5


def test_overrides_reach_the_shared_run(tmp_path: Path) -> None:
    study = open_study(write_study(tmp_path, "  - {system: bm25}"), ["data.history=3"])
    assert study.config.data.history == 3
    assert study.config.run == str(tmp_path / "study" / "data")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("seeds: 1\nseeds: 5", r"study.yaml:4: expected YAML \(the key 'seeds' is there twice"),
        ("seeds: 010", r"study.yaml:3: a value is 010, expected a number in decimal digits without leading zeros"),
        ("hours: 1:30", r"study.yaml:3: a value is 1:30, expected a number in decimal digits"),
        ("folder: " + 3_000 * "[", r"study.yaml: expected YAML"),
        ("folder: ~no-such-user/x", r"folder is '~no-such-user/x', expected a folder of this machine"),
        ("folder: s3://b/x", r"folder is 's3://b/x', expected a folder of this machine"),
        ("folder: run.yaml", r"folder: .*run.yaml is a file"),
        ("hours: .inf", r"study.yaml:3: a value is .inf, expected a number in decimal digits"),
        ("seeds: 99999999999999999999", r"seeds: input should be less than or equal to 1000"),
        ("seeds: !!int", r"study.yaml:3: expected YAML \(\'\' is no !!int"),
        ("folder: !!timestamp x", r"study.yaml:3: expected YAML \('x' is no !!timestamp"),
        ("systems: []", r"the key 'systems' is there twice"),
    ],
)
def test_what_a_study_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, fault: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("")
    path = tmp_path / "study.yaml"
    path.write_text(f"config: run.yaml\nepochs: 1\n{line}\nsystems:\n  - {{system: bm25}}\n")
    with pytest.raises(InputError, match=fault) as caught:
        open_study(path, [])
    assert "\n" not in str(caught.value)
    path.write_text("config: run.yaml\nsystems: []\n")
    with pytest.raises(InputError, match="systems: tuple should have at least 1 item"):
        open_study(path, [])


def test_the_config_of_a_study_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write_study(tmp_path, "  - {system: bm25}")
    (tmp_path / "home").mkdir()
    (tmp_path / "run.yaml").rename(tmp_path / "home" / "run.yaml")
    path.write_text(path.read_text().replace("config: run.yaml", "config: ~/run.yaml"))
    assert open_study(path, []).labels == ("BM25",)


def test_a_study_at_home_has_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("")
    path = tmp_path / "study.yaml"
    path.write_text("config: run.yaml\nfolder: ~/x\nsystems:\n  - {system: bm25}\n")
    assert open_study(path, []).folder == tmp_path / "x"
    assert len(trial_folder(tmp_path, "long " * 100, (), 1).name) < 100


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
