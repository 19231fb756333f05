"""What a killed run leaves in its event files: records beyond the checkpoint, one torn at any byte. Validations."""

import struct
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.fit import RowsFit, TaskFit
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.objective import LossValues
from gensr_dist.train.report import StepReport
from gensr_dist.train.tensorboard import TrainingBoard
from gensr_dist.train.validation import ValidationResult
from tests.train.small_runs import scalars


def report(step: int, start: int) -> StepReport:
    value = step + start / 10
    return StepReport(
        steps=step,
        losses=LossValues(task=value, contrastive=value, match=value),
        total=value,
        learning_rate=value,
        gradient_norm=value,
        candidates_per_second=value,
        tokens_per_second=value,
        wait_share=value,
        memory_gb=value,
        cuda_memory_gb=0.0,
    )


def write(run: RunFolder, start: int, after: int, until: int) -> Path:
    """Steps after + 1 to `until`; returns the event file of this start."""
    before = set(run.tensorboard.glob("*"))
    board = TrainingBoard(run, after)
    for step in range(after + 1, until + 1):
        board.step(report(step, start))
    board.close()
    (file,) = set(run.tensorboard.glob("*")) - before
    # Files are read in the order of the seconds in their names, which starts of real runs do not share.
    return file.rename(file.with_name(f"events.out.tfevents.{1_000_000_000 + start}.host"))


def last_record(file: Path) -> int:
    """Where the last record of an event file begins: length, its checksum, data, checksum."""
    content, at, last = file.read_bytes(), 0, 0
    while at < len(content):
        last = at
        at += 8 + 4 + struct.unpack("<Q", content[at : at + 8])[0] + 4
    assert at == len(content)
    return last


def shown(run: RunFolder) -> dict[int, float]:
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    points = events.Scalars("loss/total")
    assert len({point.step for point in points}) == len(points), "a step shows twice"
    return {point.step: pytest.approx(point.value, abs=1e-6) for point in points}


def test_a_torn_last_record_and_steps_done_again_leave_one_curve(tmp_path: Path) -> None:
    size = len(write(RunFolder(tmp_path / "measured"), 1, 0, 5).read_bytes())
    run = RunFolder(tmp_path / "measured")
    (file,) = run.tensorboard.glob("*")
    torn = last_record(file)
    cuts = range(torn, size)  # from no byte of the record to all but one
    for cut in cuts:
        run = RunFolder(tmp_path / f"cut{cut}")
        file = write(run, 1, 0, 5)
        file.write_bytes(file.read_bytes()[:cut])
        write(run, 2, 3, 7)  # the newest checkpoint was that of step 3
        expected = {step: step + (0.1 if step <= 3 else 0.2) for step in range(1, 8)}
        assert shown(run) == expected, cut


def test_many_starts_leave_one_curve(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    starts = [(0, 4), (0, 3), (2, 6), (6, 6), (6, 9), (4, 8), (8, 10)]
    owner = {}
    for start, (after, until) in enumerate(starts):
        write(run, start, after, until)
        owner = {step: by for step, by in owner.items() if step <= after}
        owner |= dict.fromkeys(range(after + 1, until + 1), start)
    assert shown(run) == {step: step + by / 10 for step, by in owner.items()}


def test_a_validation_shows_training_rows_beside_validation_rows(tmp_path: Path) -> None:
    def rows(ndcg: float, loss: float) -> RowsFit:
        metrics = {"recall@1": ndcg / 2, "ndcg@10": ndcg, "mrr": ndcg / 4}
        return RowsFit(metrics=metrics, loss=loss, ndcg_error=0.0, loss_error=0.0, count=3)

    run = RunFolder(tmp_path)
    board = TrainingBoard(run, 0)
    fits = {
        Behaviour.RECOMMENDATION: TaskFit(training=rows(0.75, 0.25), validation=rows(0.5, 0.375)),
        Behaviour.SEARCH: TaskFit(training=None, validation=rows(0.25, 0.5)),
    }
    board.validation(ValidationResult(tasks=fits), 4)
    board.close()
    assert scalars(run) == {
        "validation_rec/recall@1": {4: 0.25},
        "validation_rec/ndcg@10": {4: 0.5},
        "validation_rec/mrr": {4: 0.125},
        "validation_rec/loss": {4: 0.375},
        "training_rec/recall@1": {4: 0.375},
        "training_rec/ndcg@10": {4: 0.75},
        "training_rec/mrr": {4: 0.1875},
        "training_rec/loss": {4: 0.25},
        "gap/rec_ndcg@10": {4: 0.25},
        "gap/rec_loss": {4: 0.125},
        "validation_search/recall@1": {4: 0.125},
        "validation_search/ndcg@10": {4: 0.25},
        "validation_search/mrr": {4: 0.0625},
        "validation_search/loss": {4: 0.5},
        "validation/mean_ndcg@10": {4: 0.375},
    }
