"""`gensr analyse` before the analysis begins."""

from pathlib import Path
from typing import Any

import pytest

from gensr_dist.cli import analyses
from gensr_dist.cli.main import main
from gensr_dist.config.root import Config


@pytest.mark.parametrize("name", ["a", "'a'", " a ", '"b"', "~no-such-user", "a #b"])
def test_the_run_is_where_it_was_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def run_stage(stage: Any, config: Config, say: Any) -> dict[str, str]:
        asked.append(config.run)
        return {}

    monkeypatch.setattr(analyses, "run_stage", run_stage)
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    (Path(name) / "config.yaml").write_text("run: elsewhere\n")
    assert main(["analyse", "data", name, "--set", "analysis.rows=100"]) == 0
    assert asked == [name]
