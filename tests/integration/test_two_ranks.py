"""DeepSpeed's own launcher, two ranks and ZeRO-3: the losses of one process, and a model that anyone opens.

All stages and precisions are compared in test_zero_matrix.py, without a launch for each.
"""

import math

import pytest

from gensr_dist.model.gensr import GenSR
from gensr_dist.runs.folder import RunFolder
from tests.integration.two_rank_runs import STEPS, VALIDATED, curve, short_config, train_alone, train_with

ONE_PLACE = (1 - 1 / math.log2(3)) / VALIDATED  # most that NDCG changes where two candidates of one row change places
DEEPSPEED = ["-m", "deepspeed.launcher.runner", "--num_accelerators", "2", "--module"]


def test_deepspeed_launcher_trains_validates_and_exports(small_run: RunFolder) -> None:
    one = train_alone(short_config(small_run, "one"))
    run = train_with(DEEPSPEED, short_config(small_run, "zero3", zero_stage=3))
    for tag in ("loss/task", "loss/contrastive", "loss/match", "loss/total", "optimizer/gradient_norm"):
        expected = curve(one, tag)
        assert len(expected) == STEPS
        assert min(expected) > 0, tag
        assert curve(run, tag) == pytest.approx(expected, rel=1e-5, abs=1e-5), tag
    for task in ("rec", "search"):
        tag = f"validation_{task}/loss"
        assert curve(run, tag) == pytest.approx(curve(one, tag), rel=1e-5), tag
        # Two candidates whose scores differ in the last bits may change places in one row.
        tag = f"validation_{task}/ndcg@10"
        assert curve(run, tag) == pytest.approx(curve(one, tag), abs=ONE_PLACE), tag
    assert len(curve(run, "validation/mean_ndcg@10")) == 2
    assert sum(weight.numel() for weight in GenSR.from_pretrained(run.model).parameters()) > 0
    assert (run.checkpoints / f"step_{STEPS:08d}" / "state.json").exists()
