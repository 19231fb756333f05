import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train import checkpoints, tensor_files
from gensr_dist.train.checkpoints import Progress, series_in
from gensr_dist.train.loop import train
from gensr_dist.train.report import StepReport
from gensr_dist.train.state import PARTS, State
from gensr_dist.train.tensor_files import write_tensors
from gensr_dist.train.validation import ValidationResult
from tests.train.small_runs import BUDGET, another_folder, scalars, small_config

TENSORS = [f"{part}.safetensors" for part in PARTS]


def tensor_bytes(run: RunFolder, steps: int) -> dict[str, bytes]:
    """Weights and moments of a checkpoint as they lie on the disk."""
    folder = run.checkpoints / f"step_{steps:08d}"
    return {name: (folder / name).read_bytes() for name in TENSORS}


def kept(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def resumed_from(run: RunFolder, name: str, steps: int) -> RunFolder:
    """Another run folder that holds one checkpoint of this run."""
    other = another_folder(run, name)
    step = f"step_{steps:08d}"
    shutil.copytree(run.checkpoints / step, other.checkpoints / step)
    return other


def without_dropout(config: Config) -> Config:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.0))


def some_state(value: float) -> State:
    return {part: {"a": torch.full((50, 7), value), "b.c": torch.full((3,), value)} for part in PARTS}


def some_progress(steps: int, **changes: Any) -> Progress:
    return Progress(settings={"seed": 1}, world=1, zero_stage=0, steps=steps, **changes)


def write_checkpoint(folder: Path, steps: int) -> Path:
    series = series_in(folder)
    with series.written(steps, some_progress(steps)) as temporary:
        write_tensors(temporary, some_state(float(steps)))
    return series.path(steps)


@pytest.mark.parametrize(
    ("stage", "precision", "offload"),
    [
        (0, "fp32", "none"),
        (1, "fp32", "none"),
        (2, "fp32", "none"),
        (3, "fp32", "none"),
        (1, "bf16", "none"),
        (2, "bf16", "none"),
        (3, "bf16", "none"),
        (2, "fp32", "optimizer"),
        (3, "fp32", "parameters"),
    ],
)
def test_a_resumed_run_has_every_bit_of_an_uninterrupted_one(
    small_run: RunFolder, stage: int, precision: str, offload: str
) -> None:
    config = small_config(
        zero_stage=stage, precision=precision, offload=offload, micro_tokens=BUDGET, validate_every=4, keep_last=9
    )
    train(config, small_run)
    assert kept(small_run) == ["latest", "step_00000002", "step_00000004"]
    other = resumed_from(small_run, "other", 2)
    train(config, other)
    assert sorted(scalars(other)["loss/total"]) == [3, 4]
    assert tensor_bytes(other, 4) == tensor_bytes(small_run, 4)
    moved = load_file(small_run.checkpoints / "step_00000004" / "weights.safetensors")
    before = load_file(small_run.checkpoints / "step_00000002" / "weights.safetensors")
    assert {weight.dtype for weight in moved.values()} == {torch.float32}
    assert any(not torch.equal(moved[name], before[name]) for name in moved)


@pytest.mark.parametrize(("first", "second"), [(0, 3), (3, 0), (1, 2), (2, 1), (0, 1), (3, 2)])
def test_another_stage_goes_on_with_the_same_losses(small_run: RunFolder, first: int, second: int) -> None:
    config = without_dropout(small_config(zero_stage=first, keep_last=9, validate_every=4))
    train(config, small_run)
    other = resumed_from(small_run, "other", 2)
    train(dataclasses.replace(config, train=dataclasses.replace(config.train, zero_stage=second)), other)
    for tag in ("loss/task", "loss/contrastive", "loss/match", "optimizer/learning_rate", "optimizer/gradient_norm"):
        found, expected = scalars(other)[tag], scalars(small_run)[tag]
        assert found == pytest.approx({step: expected[step] for step in (3, 4)}, rel=1e-5, abs=1e-6), tag
    for name in TENSORS:
        here, there = (load_file(run.checkpoints / "step_00000004" / name) for run in (other, small_run))
        assert here.keys() == there.keys()
        for key, value in there.items():
            torch.testing.assert_close(here[key], value, rtol=1e-3, atol=1e-5)


def test_writing_in_the_background_gives_the_same_bytes_as_waiting(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write begins only when the next step is over, so that what it writes must be a copy."""
    waiting = another_folder(small_run, "waiting")
    save = checkpoints.Checkpoints.save

    def save_and_wait(self: checkpoints.Checkpoints, progress: Progress) -> None:
        save(self, progress)
        self.finish()

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", save_and_wait)
        train(small_config(keep_last=9), waiting)

    steps = threading.Semaphore(0)
    whole_write, whole_step = checkpoints.write_tensors, StepReport.line

    def late_write(folder: Path, state: State) -> None:
        if "step_00000002" in folder.name:
            for _ in range(2):
                assert steps.acquire(timeout=300), "training waits for the write"
        whole_write(folder, state)

    def counted(*arguments: Any) -> str:
        steps.release()
        return whole_step(*arguments)

    monkeypatch.setattr(checkpoints, "write_tensors", late_write)
    monkeypatch.setattr(StepReport, "line", counted)
    steps.acquire(blocking=False)
    train(small_config(validate_every=4, keep_last=9), small_run)
    for step in (2, 4):
        assert tensor_bytes(small_run, step) == tensor_bytes(waiting, step)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("name", [*TENSORS, "state.json", "manifest.json"])
def test_any_damage_of_any_file_is_found(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    path = write_checkpoint(tmp_path, 1)
    assert series_in(path.parent).damage(path) is None
    damage(path / name)
    found = series_in(path.parent).damage(path)
    assert found is not None
    assert found.startswith(name)
    assert "\n" not in found


def test_every_flipped_bit_of_the_small_files_is_found_or_means_nothing(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 1)
    for name in ("state.json", "manifest.json"):
        whole = (path / name).read_bytes()
        missed = 0
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= 1 << (place % 8)
            (path / name).write_bytes(changed)
            missed += series_in(path.parent).damage(path) is None
        (path / name).write_bytes(whole)
        assert missed <= whole.count(b" ") + whole.count(b"\n") if name == "manifest.json" else missed == 0


def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 1)
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"state.json"', '"../state.json"'))
    assert series_in(tmp_path).damage(path) == f"manifest.json: expected records of {', '.join(TENSORS)}, state.json"


def test_a_damaged_newest_checkpoint_is_passed_over(small_run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    config = small_config(keep_last=1, checkpoint_every=1, validate_every=4, steps=4)
    train(dataclasses.replace(config, train=dataclasses.replace(config.train, keep_last=9)), small_run)
    expected = tensor_bytes(small_run, 4)
    flip(small_run.checkpoints / "step_00000004" / "weights.safetensors")
    truncate(small_run.checkpoints / "step_00000003" / "exp_avg.safetensors")
    with caplog.at_level("WARNING"):
        train(config, small_run)
    lines = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert lines[0] == (
        "checkpoint step_00000004 is damaged (weights.safetensors: the file was changed: its checksum does not match "
        "the manifest): going back to the one before it"
    )
    assert lines[1].startswith("checkpoint step_00000003 is damaged (exp_avg.safetensors: the file is cut short: ")
    assert len(lines) == 2
    assert tensor_bytes(small_run, 4) == expected
    assert kept(small_run) == ["latest", "step_00000004"]


def test_without_any_whole_checkpoint_nothing_is_trained_again(small_run: RunFolder) -> None:
    train(small_config(keep_last=2), small_run)
    for folder in small_run.checkpoints.glob("step_*"):
        (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"none of its 2 checkpoints is whole.*delete the folder"):
        train(small_config(), small_run)
    assert kept(small_run) == ["latest", "step_00000002", "step_00000004"]


def test_damaged_later_checkpoints_do_not_push_out_good_ones(tmp_path: Path, small_run: RunFolder) -> None:
    config = small_config(keep_last=9, checkpoint_every=1, validate_every=4)
    train(config, small_run)
    for step in (3, 4):
        flip(small_run.checkpoints / f"step_{step:08d}" / "exp_avg_sq.safetensors")
    seen = []
    whole = checkpoints.write_tensors

    def watched(folder: Path, state: State) -> None:
        newest = series_in(folder.parent).newest_whole()
        seen.append((folder.name[1:14], newest.name if newest else None))
        whole(folder, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "write_tensors", watched)
        train(dataclasses.replace(config, train=dataclasses.replace(config.train, keep_last=1)), small_run)
    assert seen == [("step_00000003", "step_00000002"), ("step_00000004", "step_00000003")]


def full_disk(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkpoint of step `at` on, safetensors finds no space, as its Rust code says it."""
    whole = tensor_files.save_file

    def failing(tensors: dict[str, torch.Tensor], file: Path) -> None:
        if f"{at:08d}" in str(file) and "exp_avg." in file.name:
            file.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        whole(tensors, file)

    monkeypatch.setattr(tensor_files, "save_file", failing)


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(steps=6, validate_every=6, keep_last=1)
    whole = another_folder(small_run, "whole")
    train(config, whole)
    with monkeypatch.context() as patch:
        full_disk(4, patch)
        with pytest.raises(InputError) as caught:
            train(config, small_run)
    assert str(caught.value) == (
        f"{small_run.checkpoints / 'step_00000004'}: the checkpoint could not be written (No space left on device), "
        "the newest on the disk is step_00000002; free space on that disk or repair it, then start again to go on "
        "from there"
    )
    assert kept(small_run) == ["latest", "step_00000002"]
    assert (small_run.checkpoints / "latest").read_text() == "step_00000002"
    train(config, small_run)
    assert tensor_bytes(small_run, 6) == tensor_bytes(whole, 6)


def test_a_failed_last_save_does_not_end_as_a_success(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(2, monkeypatch)
    with pytest.raises(InputError, match=r"No space left on device.*there is none on the disk"):
        train(small_config(steps=2), small_run)


def test_a_failure_that_is_no_fault_of_the_disk_is_raised_as_it_is(
    small_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoints, "write_tensors", failing)
    with pytest.raises(ZeroDivisionError):
        train(small_config(), small_run)


def test_safetensors_reports_of_the_system_have_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "TENSORS", {"weights": "nowhere/weights.safetensors"})
    with pytest.raises(FileNotFoundError) as caught:
        write_checkpoint(tmp_path, 1)
    assert caught.value.errno == errno.ENOENT
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from gensr_dist.storage import checkpoint_series, durable
from gensr_dist.train import checkpoints, tensor_files
from tests.train.test_checkpoints import some_progress, some_state

class Engine:
    ranks = None

calls = 0
def counted(function):
    def killing(*arguments, **options):
        global calls
        calls += 1
        if calls > last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return killing

root = Path(sys.argv[1])
for owner, names in (
    (tensor_files, ("save_file",)),
    (checkpoint_series, ("write_json", "record_files")),
    (durable, ("_sync",)),
    (checkpoints, ("durable_file",)),
    (durable.shutil, ("rmtree",)),
    (Path, ("rename", "mkdir")),
):
    for name in names:
        setattr(owner, name, counted(getattr(owner, name)))
number = 0
while True:
    child = os.fork()
    if child == 0:
        last = 10**9
        folder = root / f"{number:03d}"
        owner = checkpoints.Checkpoints(folder, Engine, keep_last=1)
        checkpoints._Writer(owner, some_state(1.0), some_progress(1)).run()
        calls, last = 0, number
        writer = checkpoints._Writer(owner, some_state(2.0), some_progress(2))
        writer.run()
        os._exit(0 if writer.failure is None else 3)
    _, status = os.waitpid(child, 0)
    number += 1
    if os.WIFEXITED(status):
        sys.exit(os.WEXITSTATUS(status))
"""


def test_a_save_killed_at_any_call_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """One process after the other is killed one call later, until one gets through."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    found = []
    for folder in sorted(tmp_path.iterdir()):
        series = series_in(folder)
        newest = series.newest_whole()
        assert newest is not None, folder
        step = int(newest.name.removeprefix("step_"))
        assert all(series.damage(path) is None for path in folder.glob("step_*"))
        value = load_file(newest / "weights.safetensors")["a"]
        assert torch.equal(value, torch.full_like(value, step))
        found.append(step)
        write_checkpoint(folder, 3)
        series.keep_only({"step_00000003"})
        assert not [path for path in folder.iterdir() if path.name.endswith((".tmp", ".old")) and path.is_dir()]
    assert len(found) > 15
    assert found == sorted(found)
    assert set(found) == {1, 2}


def test_the_best_validations_checkpoint_is_kept_too(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.1, 0.3, 0.2, 0.25, 0.1])
    drawn: dict[int, float] = {}

    def ndcg(result: ValidationResult) -> float:
        if id(result.tasks) not in drawn:
            drawn[id(result.tasks)] = next(values)
            results.append(result)
        return drawn[id(result.tasks)]

    results: list[ValidationResult] = []  # alive, so that no id comes twice
    monkeypatch.setattr(ValidationResult, "ndcg", property(ndcg))
    config = small_config(steps=5, validate_every=1, validate_rows=2, checkpoint_every=4, keep_last=1, patience=9)
    train(config, small_run)
    assert kept(small_run) == ["latest", "step_00000002", "step_00000005"]


def test_a_checkpoint_of_another_model_is_refused(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(steps=2)
    train(config, small_run)
    larger = dataclasses.replace(config, model=dataclasses.replace(config.model, backbone="mini"))
    monkeypatch.setattr(checkpoints, "check_same_settings", lambda *_: None)
    with pytest.raises(InputError, match=r"its .* has shape \(.*\), that of this model \("):
        train(larger, small_run)
