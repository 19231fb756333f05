"""`gensr index --add`: indexes first where a config is given, takes a run folder too, refuses bad input in one line."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gensr_dist.cli import added_items as module
from gensr_dist.cli.main import main
from gensr_dist.retrieval.added import adding
from gensr_dist.retrieval.added.adding import AddedItems

RESULT = AddedItems(
    run="r", file="f", rows=2, new=1, known=1, repeated=0, without_vector=0, added=1, items=9, repairs=(), discarded="",
    seconds=0.5,
)  # fmt: skip


def test_a_config_is_indexed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def added(run: Any, config: Any, file: Path) -> AddedItems:
        done.append(f"{run.root.name} {config.seed} {file.name}")
        return dataclasses.replace(RESULT, file=str(file))

    monkeypatch.setattr(module, "run_stage", lambda stage, *_: done.append(stage.name))
    monkeypatch.setattr(adding, "add_items", added)
    arguments = ["index", "--preset", "tiny", "--set", f"run={tmp_path / 'r'}", "--set", "seed=7", "--add", "new.csv"]
    assert main(arguments) == 0
    assert done == ["index", "r 7 new.csv"]
    assert capfd.readouterr().out.splitlines() == [
        "items of new.csv: done in 0.5 s",
        "  1 new items of 2 rows; answers are chosen from 9 items, 1 of them came after training",
        "  note: 1 ids are in the catalogue already: those items stay as they are",
    ]
    assert main([*arguments, "--json"]) == 0
    assert '"known": 1' in capfd.readouterr().out


@pytest.mark.parametrize("more", [["--set", "nonsense.key=1"], ["--preset", "tiny"]])
def test_settings_beside_a_finished_run_are_refused(
    tmp_path: Path, more: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(tmp_path), "--add", "new.csv", *more]) == 2
    assert f"{more[0]}: a finished run folder has its settings; give the config" in capfd.readouterr().err


def test_a_folder_that_is_no_finished_run_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["index", str(tmp_path), "--add", "new.csv"]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "stage index has not finished in this run folder; run `gensr index` first" in error
