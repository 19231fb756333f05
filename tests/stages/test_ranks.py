"""A stage on the ranks of a launcher: who decides, what is resumed, exit codes and messages."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from gensr_dist.cli.main import main
from gensr_dist.distributed.launcher_variables import LAUNCHER_VARIABLES
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.stages.stage import Job, Outcome
from gensr_dist.stages.train import Train


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a launcher's only rank, without a process group."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"run": str(tmp_path / "run")}))
    for name, value in zip(LAUNCHER_VARIABLES, ("0", "1", "0", "127.0.0.1", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gensr_dist.distributed.ranks.join_processes", Ranks.alone)
    return path


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Job], None]], None]:
    """Let the stage do something else."""

    def replace(work: Callable[[Job], None]) -> None:
        def do(_: Train, job: Job) -> Outcome:
            work(job)
            return Outcome(summary=("trained",), result={})

        monkeypatch.setattr(Train, "do", do)

    return replace


@pytest.fixture
def resumed(config_file: Path, train: Callable[[Callable[[Job], None]], None]) -> Callable[..., bool]:
    """Whether the work was told to go on from a checkpoint."""

    def start(*options: str) -> bool:
        told: list[bool] = []
        train(lambda job: told.append(job.resume))
        assert main(["train", str(config_file), *options]) == 0
        (answer,) = told
        return answer

    return start


def test_resuming_is_the_default_and_can_be_declined(resumed: Callable[..., bool]) -> None:
    assert resumed()
    assert resumed("--resume", "auto")
    assert not resumed("--resume", "never")


@pytest.mark.parametrize("count", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_start_that_a_launcher_repeats_never_deletes_what_the_first_one_did(
    resumed: Callable[..., bool], count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(count, "0")
    assert not resumed("--resume", "never")
    monkeypatch.setenv(count, "1")
    assert resumed("--resume", "never")


def test_exit_codes_tell_bad_input_lost_ranks_and_bugs_apart(
    config_file: Path,
    train: Callable[[Callable[[Job], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(error: Exception) -> int:
        def fail(job: Job) -> None:
            raise error

        train(fail)
        return main(["train", str(config_file)])

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", end)
    assert failing(InputError("here", "this is wrong", "do that")) == 2
    assert capsys.readouterr().err == "gensr: error: here: this is wrong; do that\n"

    gloo = "[/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.2]:16271: Connection reset by peer. This is typically"
    with pytest.raises(SystemExit) as ended:
        failing(RuntimeError(gloo))
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "10.0.0.2" in message
    assert "start the same command again" in message

    with pytest.raises(RuntimeError, match="a bug"):
        failing(RuntimeError("a bug"))


@pytest.mark.parametrize("text", ["x", "", "-1", "1.5", "²"])
@pytest.mark.parametrize("name", ["RANK", "SLURM_RESTART_COUNT"])
def test_a_launchers_number_that_is_none_is_one_line(
    config_file: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, text)
    assert main(["train", str(config_file), "--resume", "never"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert name in message


def test_what_one_process_does_is_refused_on_several(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["channels", str(config_file)]) == 2
    message = "WORLD_SIZE: 2, but `gensr channels` is the work of one process; start it without a launcher"
    assert message in capsys.readouterr().err


def test_a_group_that_the_process_made_for_itself_is_no_launcher(
    tmp_path: Path,
) -> None:
    """Stages after a training in one process keep records and ask for those of earlier stages, as before it."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"run": str(tmp_path / "run")}))
    program = (
        "import sys; from gensr_dist.distributed.ranks import join_processes; from gensr_dist.cli.main import main; "
        f"join_processes(); join_processes(); sys.exit(main(['train', {str(path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert "stage prepare has not run in" in done.stderr


def test_other_ranks_are_silent_and_name_themselves_in_errors(
    config_file: Path,
    train: Callable[[Callable[[Job], None]], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    train(lambda job: None)
    assert main(["train", str(config_file), "--json"]) == 0
    assert capfd.readouterr().out == ""

    def fail(job: Job) -> None:
        raise InputError("here", "this is wrong", "do that")

    train(fail)
    assert main(["train", str(config_file)]) == 2
    assert capfd.readouterr().err == "gensr: error: rank 1: here: this is wrong; do that\n"
