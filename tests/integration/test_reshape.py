"""Checkpoints of several ranks: bit for bit at the same number, equal losses at another."""

import shutil

import pytest

from gensr_dist.bench import commands, reshape
from gensr_dist.bench.reshape import RANKS, STAGES, RankLayout, all_cases, bench_reshape, covering_cases
from gensr_dist.runs.folder import RunFolder
from tests.bench.forked_commands import run_gensr_forked
from tests.integration.two_rank_runs import STEPS, TORCHRUN, curve, short_config, train_with


def test_a_checkpoint_goes_to_more_and_to_fewer_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without launchers: those start the ranks in the slow test."""
    for module in (commands, reshape):
        monkeypatch.setattr(module, "run_gensr", run_gensr_forked)
    result = bench_reshape(cases=[(RankLayout(1, 0), RankLayout(2, 3)), (RankLayout(2, 3), RankLayout(1, 1))])
    assert result.cases == 2
    assert result.max_loss_diff < 1e-5


@pytest.mark.slow
def test_every_layout_is_left_and_reached() -> None:
    result = bench_reshape(covering_cases())
    assert result.cases == len(RANKS) * len(STAGES)
    assert result.max_loss_diff < 1e-5


def test_the_covering_cases_change_ranks_and_stage_and_cover_all_layouts() -> None:
    layouts = {first for first, _ in all_cases()}
    cases = covering_cases()
    assert len(layouts) == 12
    assert {first for first, _ in cases} == {second for _, second in cases} == layouts
    assert all(first.ranks != second.ranks and first.zero_stage != second.zero_stage for first, second in cases)
    assert {(first.ranks, second.ranks) for first, second in cases} == {
        (one, other) for one in RANKS for other in RANKS if one != other
    }
    assert len(all_cases()) == 144


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_ranks_resume_bit_for_bit(small_run: RunFolder, stage: int) -> None:
    """ZeRO-2's is also seen by test_watching, where a rank dies."""
    settings = {"zero_stage": stage, "checkpoint_every": 2, "validate_every": STEPS, "keep_last": 9}
    whole = train_with(TORCHRUN, short_config(small_run, "whole", **settings))
    config = short_config(small_run, "resumed", **settings)
    shutil.copytree(whole.checkpoints / "step_00000002", config.parent / "checkpoints" / "step_00000002")
    resumed = train_with(TORCHRUN, config)
    assert curve(resumed, "loss/total") == curve(whole, "loss/total")[2:]
    for name in ("weights", "exp_avg", "exp_avg_sq"):
        here, there = (run.checkpoints / "step_00000004" / f"{name}.safetensors" for run in (resumed, whole))
        assert here.read_bytes() == there.read_bytes(), name
