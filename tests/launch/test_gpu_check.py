"""`launch/gpu_check.sh`: every part is a command that exists and leaves a file, whatever becomes of the others."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gensr_dist.cli.main import _parser
from tests.launch.launch_folder import LaunchFolder, launch_folder

PARTS = ("environment", "tests", "kernels", "step", "score", "lightgcn", "profile", "step_compiled", "score_compiled")
SCRIPT = Path(__file__).parents[2] / "launch" / "gpu_check.sh"

# Says that torch is there and other things are not, and that there is a GPU; writes down what it is told to run.
PYTHON = """
case "$*" in
    *find_spec*torch*) exit 0 ;;
    *find_spec*) exit 1 ;;
    *cuda.is_available*) exit 0 ;;
    *"bench score"*) printf "%s\\n" "$*" >>"$RECORD"; echo "out of memory" >&2; exit 3 ;;
    *) printf "%s\\n" "$*" >>"$RECORD"; echo '{}' ;;
esac
"""


def summary(out: Path) -> dict[str, str]:
    """How each part ended."""
    lines = [line.split(maxsplit=3) for line in (out / "summary.txt").read_text().splitlines()]
    return {line[0]: line[3] for line in lines if line[0] in PARTS}


@pytest.fixture
def folder(tmp_path: Path) -> LaunchFolder:
    folder = launch_folder(tmp_path)
    folder.program("python", PYTHON)
    return folder


def test_a_part_that_fails_stops_no_other_and_all_commands_exist(folder: LaunchFolder, tmp_path: Path) -> None:
    out, record = tmp_path / "out", tmp_path / "record"
    done = folder.run("gpu_check.sh", str(out), RECORD=record)
    assert done.returncode == 1
    expected = dict.fromkeys(PARTS, "done") | dict.fromkeys(("score", "score_compiled"), "failed with exit code 3")
    assert summary(out) == expected
    assert {path.stem for path in out.glob("*.txt")} == {*PARTS, "summary"}
    assert "tests/train/test_no_waiting.py needs deepspeed" in (out / "summary.txt").read_text()
    assert done.stdout.count("out of memory") == 2
    commands = [shlex.split(line) for line in record.read_text().splitlines()]
    benches = [words[words.index("gensr_dist") + 1 :] for words in commands if "gensr_dist" in words]
    assert len(benches) == 7
    for words in benches:
        assert _parser().parse_args(words).name == words[1]
    assert sum("--compile" in words for words in benches) == 2
    assert all({"flan-t5-base", "bf16"} <= set(words) for words in benches if words[1] in ("step", "score"))
    (tests,) = [words for words in commands if "pytest" in words]
    assert tests[tests.index("-m", 2) + 1] == "gpu"
    assert all((SCRIPT.parents[1] / word).exists() for word in tests if word.startswith("tests/"))


def test_time_that_runs_out_is_said(folder: LaunchFolder, tmp_path: Path) -> None:
    done = folder.run("gpu_check.sh", str(tmp_path / "out"), RECORD=tmp_path / "record", LIMIT=0)
    assert done.returncode == 1
    assert set(summary(tmp_path / "out").values()) == {"out of time"}


@pytest.mark.slow
def test_it_runs_on_a_cpu_with_tiny_sizes(tmp_path: Path) -> None:
    command = ["bash", str(SCRIPT), str(tmp_path / "out")]
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LIMIT": "1800"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=2_000, check=False)
    assert done.returncode == 0, done.stdout
    assert summary(tmp_path / "out") == dict.fromkeys(PARTS, "done")
