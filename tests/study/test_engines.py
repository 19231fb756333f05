"""Processes that do trials."""

from pathlib import Path

import pytest

from gensr_dist.study.engines import LocalTrials, last_line
from gensr_dist.study.spec import TrialSpec


def test_modules_that_lie_in_the_current_folder_are_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gensr_dist/__init__.py", "queue.py", "trial/trial.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('a module of the user')")
    monkeypatch.chdir(tmp_path)
    spec = TrialSpec(
        label="a", system="bm25", set=(), seed=0, epochs=0, hours=0, config="c.yaml", folder=str(tmp_path / "trial")
    )
    engine = LocalTrials()
    assert engine.wait([engine.start(spec)]) == (0, "ended with code 2")
    assert "trial.json: expected a JSON file" in last_line(tmp_path / "trial")
