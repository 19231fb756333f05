"""Lines on stderr, which all ranks of a machine share."""

import io
import sys
from pathlib import Path

import pytest

from gensr_dist.cli.main import main
from gensr_dist.errors import say_at_once


def writes_to_stderr(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What will be written to stderr, a write each, as where it is not buffered (`python -u`)."""
    writes: list[str] = []

    class Unbuffered(io.StringIO):
        def write(self, text: str) -> int:
            writes.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Unbuffered())
    return writes


def test_a_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks once ended with both their lines in one, and an empty one."""
    written = writes_to_stderr(monkeypatch)
    say_at_once("rank 1: a problem; a remedy")
    assert written == ["rank 1: a problem; a remedy\n"]


def test_ranks_that_fail_together_do_not_write_into_each_others_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    written = writes_to_stderr(monkeypatch)
    assert main(["config", str(tmp_path / "x.yaml")]) == 2
    (line,) = (text for text in written if "error" in text)
    assert line.startswith("gensr: error: ")
    assert line.endswith("\n")
