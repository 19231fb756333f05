"""What is kept of a step that was not finite: its micro-batches, and which of them the record names."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.packed import Packed
from gensr_dist.errors import InputError
from gensr_dist.train.not_finite import NotFinite, load_batches, save_batches
from gensr_dist.train.objective import LossValues
from tests.model.builders import random_batch

STEP = NotFinite(what="loss", step=2, ranks=2, seed=0, rows=(4, 9, 1, 7))
NAN, INF = float("nan"), float("inf")


def bad(rank: int, micro_batch: int, *losses: float) -> NotFinite:
    batch = random_batch(rank, groups=3)
    batch.row_G.copy_(torch.tensor([10 * rank, 10 * rank + micro_batch, -1]))
    return STEP.of_micro_batch(rank, micro_batch, batch, LossValues(*losses))


def test_the_rank_whose_own_rows_are_at_fault_is_named() -> None:
    """A contrastive or match loss that is not finite is every rank's."""
    record = STEP.first_of([bad(0, 1, 0.5, NAN, INF), bad(1, 1, NAN, NAN, 2.5)])
    assert (record.rank, record.micro_batch, record.step, record.rows) == (1, 1, 2, (10, 11))
    assert (record.task, record.contrastive, record.match) == ("nan", "nan", "2.5")
    first = STEP.first_of([bad(0, 1, NAN, NAN, NAN), bad(1, 0, 0.5, NAN, INF)])
    assert (first.rank, first.micro_batch) == (1, 0)
    assert (first.task, first.contrastive, first.match) == ("0.5", "nan", "inf")
    shared = STEP.first_of([bad(0, 0, 0.5, 0.5, NAN), bad(1, 0, 0.7, 0.5, NAN)])
    assert (shared.rank, shared.micro_batch, shared.match) == (0, 0, "nan")  # no rank's own rows: the first has it


def test_where_no_rank_is_at_fault_all_rows_of_the_step_are_kept() -> None:
    assert STEP.first_of([None, None]) == STEP
    assert "no rank's own gradient, rows 4, 9, 1, 7" in STEP.sentence()


def test_micro_batches_come_back_as_they_were(tmp_path: Path) -> None:
    batches = Packed.pack([random_batch(seed, groups=2 + seed) for seed in range(2)]).unpack()
    save_batches(tmp_path, 3, batches)
    assert [path.name for path in tmp_path.iterdir()] == ["rank_00003.safetensors"]
    for kept, batch in zip(load_batches(tmp_path, 3), batches, strict=True):
        for field in fields(Batch):
            assert torch.equal(torch.as_tensor(getattr(kept, field.name)), torch.as_tensor(getattr(batch, field.name)))
        assert kept.step_groups == batch.step_groups


@pytest.mark.parametrize("content", [None, b"", b"torn", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_not_whole_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "rank_00000.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"rank_00000\.safetensors: not the micro-batches of a rank"):
        load_batches(tmp_path, 0)
