"""Cosines of both tasks' gradients are those of the whole batch, on any number of ranks and under ZeRO."""

import pytest

from gensr_dist.runs.folder import RunFolder
from tests.integration.two_rank_runs import TORCHRUN, curve, short_config, train_with


def test_two_ranks_measure_what_one_does(small_run: RunFolder) -> None:
    one = train_with([*TORCHRUN[:-2], "1", "-m"], short_config(small_run, "one", conflict_every=2))
    two = train_with(TORCHRUN, short_config(small_run, "two", conflict_every=2, zero_stage=2))
    for tag in ("conflict/all", "conflict/token_table", "conflict/encoder.block.0", "loss/total"):
        assert curve(two, tag) == pytest.approx(curve(one, tag), abs=1e-4), tag
    assert len(curve(one, "conflict/all")) == 2
