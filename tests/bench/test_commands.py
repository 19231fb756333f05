"""Commands that benchmarks run: their results, and how they fail."""

from pathlib import Path

import pytest

from gensr_dist.bench.commands import run_gensr
from gensr_dist.errors import InputError


def test_the_result_the_time_and_the_memory_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # of a launcher that this process is part of
    options = ("--preset", "tiny", "--set", f"run={tmp_path / 'run'}", "--json")
    done = run_gensr("simulate", *options, threads=1, watch_memory=True)
    assert done.result["users"] > 0
    assert done.seconds > 0
    assert 0.01 < done.peak_gb < 5


def test_a_command_that_fails_is_named_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gensr verify: .*manifest\.json.*; run it alone to see more"):
        run_gensr("verify", str(tmp_path))


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^gensr simulate: not done after 0 s; try a machine with less load$"):
        run_gensr("simulate", "--preset", "small", "--set", f"run={tmp_path / 'run'}", at_most_s=0.0)


def test_behind_a_launcher_the_error_of_the_program_is_shown(tmp_path: Path) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    with pytest.raises(InputError, match=r"^gensr train: .*nowhere\.yaml.*; run it alone"):
        run_gensr("train", str(tmp_path / "nowhere.yaml"), launcher=launcher)
