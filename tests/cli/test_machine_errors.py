"""What the machine refuses in the middle of a command is one line, whichever command it is."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest

from gensr_dist.cli.main import main
from gensr_dist.config.root import Config

ROOT = Path(__file__).parents[2]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def load(path: Path, overrides: list[str]) -> Config:
        raise error

    monkeypatch.setattr("gensr_dist.cli.commands.load_config", load)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory: [Errno 12] Cannot allocate memory; lower"),
        (OSError(errno.EMFILE, "Too many open files", "/a"), "open files: [Errno 24] Too many open files: '/a'; this"),
        (OSError(errno.ENFILE, "Too many open files in system"), "open files: [Errno 23] "),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "processes: this user may start no more"),
        (RuntimeError("can't start new thread"), "processes: this user may start no more of them, or of threads"),
        (RuntimeError("Resource temporarily unavailable"), "processes: this user may start no more of them"),  # gloo
        (
            pl.exceptions.PanicException('Os { code: 11, message: "Resource temporarily unavailable" }'),
            "processes: this user may start no more of them, or of threads (Os { code: 11",
        ),
        (OSError(errno.ESTALE, "Stale file handle", "/nfs/a"), "/nfs/a: Stale file handle; mount its file system"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), "storage: Transport endpoint"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/a']"), "TMPDIR: no folder for"),
        (
            UnicodeEncodeError("ascii", "donn\xe9es", 4, 5, "ordinal"),
            "locale: ascii has no letters for 'donn\xe9es'; set",
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300), "File name too long; give a shorter name"),
    ],
)
def test_it_is_one_line(
    error: BaseException,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    failing(monkeypatch, error)
    if isinstance(error, UnicodeEncodeError):
        monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    assert main(["config", str(tmp_path / "x.yaml")]) == 2
    said = capfd.readouterr().err
    assert said.startswith("gensr: error: ")
    assert said.count("\n") == 1
    assert expected in said


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "/a"),
        RuntimeError("a bug"),
        pl.exceptions.PanicException("a bug"),
    ],
)
def test_bugs_stay_what_they_are(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    failing(monkeypatch, error)
    with pytest.raises(type(error)):
        main(["config", str(tmp_path / "x.yaml")])


def test_too_few_threads_are_found_before_anything_begins(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    begin, left = threading.Thread.start, iter(range(7))

    def start(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        begin(thread)

    failing(monkeypatch, AssertionError("it began"))
    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert main(["config", str(tmp_path / "x.yaml")]) == 2
    said = capfd.readouterr().err
    assert said.startswith("gensr: error: processes: this user may start 7 more threads, of ")
    assert said.count("\n") == 1
    assert threading.active_count() == before


def test_a_current_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    program = 'cd "$0" && rmdir "$0" && exec "$@"'
    command = [sys.executable, "-m", "gensr_dist", "config", str(ROOT / "configs" / "quickstart.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = ["bash", "-c", program, str(tmp_path / "gone"), *command]
    ended = subprocess.run(given, env=environment, capture_output=True, text=True, timeout=300)
    said = "gensr: error: the current folder: it is gone (No such file or directory); change to another\n"
    assert (ended.returncode, ended.stderr.splitlines(keepends=True)[-1:]) == (2, [said])


def test_no_threads_for_polars(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("POLARS_MAX_THREADS", "0")
    assert main(["config", "--preset", "tiny"]) == 2
    assert "gensr: error: POLARS_MAX_THREADS: 0 threads, expected at least 1" in capsys.readouterr().err
