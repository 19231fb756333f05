"""Commands whose standard streams are closed, as cron and service managers start them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = "configs/quickstart.yaml"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    line = f'"{sys.executable}" -m gensr_dist {command}'
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "--json >&-"])
def test_the_work_is_done_without_a_place_for_words(closed: str) -> None:
    done = shell(f"config {CONFIG} {closed}")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "from gensr_dist.cli.standard_streams import open_closed_streams; open_closed_streams();"
        f"file = open({str(tmp_path / 'file')!r}, 'w'); print('words'); import sys; print('more', file=sys.stderr);"
        "file.close(); sys.exit(3)"
    )
    command = ["bash", "-c", f'"{sys.executable}" -c "$0" >&- 2>&- <&-', program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT, check=False)
    assert done.returncode == 3
    assert (tmp_path / "file").read_text() == ""


def test_exit_codes_stay() -> None:
    assert shell("config nowhere.yaml >&- 2>&-").returncode == 2
    refused = shell("config nowhere.yaml >&-")
    assert refused.stderr.startswith("gensr: error: nowhere.yaml: cannot read the config")
