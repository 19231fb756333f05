"""What every program that launchers start does the same: options, exit codes, messages."""

from pathlib import Path

import pytest
import yaml

from gensr_dist.config.root import Config
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.run.folder import RunFolder
from gensr_dist.stages.rank_command import run_rank


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"run": str(tmp_path / "run")}))
    return path


def resumed(config_file: Path, *options: str) -> bool:
    """Whether the work was told to go on from a checkpoint."""
    told = []

    def work(config: Config, run: RunFolder, ranks: Ranks, resume: bool) -> int:
        told.append(resume)
        return 0

    arguments = [str(config_file), *options]
    assert run_rank("program", "train", work, str, "Works.", "program config", arguments) == 0
    (answer,) = told
    return answer


def failing(config_file: Path, error: Exception) -> int:
    def work(config: Config, run: RunFolder, ranks: Ranks, resume: bool) -> int:
        raise error

    return run_rank("program", "train", work, str, "Works.", "program config", [str(config_file)])


def test_resuming_is_the_default_and_can_be_declined(config_file: Path) -> None:
    assert resumed(config_file)
    assert resumed(config_file, "--resume", "auto")
    assert not resumed(config_file, "--resume", "never")


@pytest.mark.parametrize("count", ["TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"])
def test_a_start_that_a_launcher_repeats_never_deletes_what_the_first_one_did(
    config_file: Path, count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(count, "0")
    assert not resumed(config_file, "--resume", "never")
    monkeypatch.setenv(count, "1")
    assert resumed(config_file, "--resume", "never")


def test_exit_codes_tell_bad_input_lost_ranks_and_bugs_apart(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", end)
    assert failing(config_file, InputError("here", "this is wrong", "do that")) == 2
    assert capsys.readouterr().err == "here: this is wrong; do that\n"

    gloo = "[/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.2]:16271: Connection reset by peer. This is typically"
    with pytest.raises(SystemExit) as ended:
        failing(config_file, RuntimeError(gloo))
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "10.0.0.2" in message
    assert "start the same command again" in message

    with pytest.raises(RuntimeError, match="a bug"):
        failing(config_file, RuntimeError("a bug"))


def test_help_and_refusals_name_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    def start(*arguments: str) -> None:
        run_rank("gensr_dist.train", "train", lambda *_: None, str, "Works.", "program config", arguments)

    with pytest.raises(SystemExit) as ended:
        start("--help")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m gensr_dist.train [-h]")
    with pytest.raises(SystemExit) as ended:
        start("config.yaml", "--resume", "perhaps")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("python -m gensr_dist.train: error: argument --resume: invalid choice: 'perhaps'")
    assert error.endswith("; see python -m gensr_dist.train --help\n")


@pytest.mark.parametrize("text", ["x", "", "-1", "1.5", "²"])
@pytest.mark.parametrize("name", ["RANK", "SLURM_RESTART_COUNT"])
def test_a_launchers_number_that_is_none_is_one_line(
    config_file: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, text)
    arguments = [str(config_file), "--resume", "never"]
    assert run_rank("program", "train", lambda *_: None, str, "Works.", "program config", arguments) == 2
    assert capsys.readouterr().err == f"{name}: {text!r}, expected a number; start through a launcher or unset it\n"
