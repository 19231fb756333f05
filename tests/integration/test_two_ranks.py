"""Two processes train like one: same losses, same weights, for plain data parallelism and ZeRO."""

import math

import pytest

from gensr_dist.model.gensr import GenSR
from gensr_dist.runs.folder import RunFolder
from tests.integration.two_rank_runs import STEPS, TORCHRUN, VALIDATED, curve, short_config, train_with

ONE_PLACE = (1 - 1 / math.log2(3)) / VALIDATED  # most that NDCG changes where two candidates of one row change places
DEEPSPEED = ["-m", "deepspeed.launcher.runner", "--num_accelerators", "2", "--module"]


@pytest.fixture
def one_rank(small_run: RunFolder) -> RunFolder:
    return train_with([*TORCHRUN[:-2], "1", "-m"], short_config(small_run, "one"))


def test_two_ranks_have_the_loss_curve_of_one(small_run: RunFolder, one_rank: RunFolder) -> None:
    runs = {
        "plain": train_with(TORCHRUN, short_config(small_run, "plain")),
        "zero2": train_with(TORCHRUN, short_config(small_run, "zero2", zero_stage=2)),
    }
    for name, run in runs.items():
        for tag in ("loss/task", "loss/contrastive", "loss/match", "loss/total", "optimizer/gradient_norm"):
            expected = curve(one_rank, tag)
            assert len(expected) == STEPS
            assert min(expected) > 0, tag
            assert curve(run, tag) == pytest.approx(expected, rel=1e-5, abs=1e-5), (name, tag)
        for task in ("rec", "search"):
            tag = f"validation_{task}/loss"
            assert curve(run, tag) == pytest.approx(curve(one_rank, tag), rel=1e-5), (name, tag)
            # Two candidates whose scores differ in the last bits may change places in one row.
            tag = f"validation_{task}/ndcg@10"
            assert curve(run, tag) == pytest.approx(curve(one_rank, tag), abs=ONE_PLACE), (name, tag)


def test_deepspeed_launcher_and_zero3_validate_and_export(small_run: RunFolder) -> None:
    run = train_with(DEEPSPEED, short_config(small_run, "zero3", zero_stage=3))
    assert len(curve(run, "loss/total")) == STEPS
    assert len(curve(run, "validation/mean_ndcg@10")) == 2
    assert sum(weight.numel() for weight in GenSR.from_pretrained(run.model).parameters()) > 0
    assert (run.checkpoints / f"step_{STEPS:08d}" / "state.json").exists()
