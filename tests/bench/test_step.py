"""`gensr bench step` and `gensr bench score` at a size of seconds."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gensr_dist.bench.costs import Limits
from gensr_dist.bench.score import score_ours, score_plain
from gensr_dist.bench.speed import SpeedBench, check_setting
from gensr_dist.bench.step import GROUPS, train_ours, train_plain
from gensr_dist.bench.turns import Rank, Spread, Way, started
from gensr_dist.bench.ways import Setting, Work
from gensr_dist.errors import InputError
from tests.bench.settings import tiny_setting

HERE = Rank(0, 1, torch.device("cpu"))
SETTING = tiny_setting()
FIRST_KEYS = ["ours_per_s", "plain_per_s", "ratio_median", "ratio_min", "ratio_max", "flops_ratio"]
FIRST_KEYS += ["peak_gb_ours", "peak_gb_plain"]
NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
ABSENT = ("deepspeed", "webdataset", "faiss")
PROGRAM = """
import dataclasses, json
from pathlib import Path
from gensr_dist.bench.step import bench_step
import gensr_dist.cli.bench, gensr_dist.bench.score
from tests.bench.settings import tiny_setting

if __name__ == "__main__":
    result = bench_step(tiny_setting(candidates=5), rounds=1, profile=Path("trace"))
    print(json.dumps(dataclasses.asdict(result)))
"""


def test_both_ways_take_turns_where_libraries_of_the_cluster_are_absent(tmp_path: Path) -> None:
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is absent')\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result)[:8] == FIRST_KEYS
    assert result["ratio_min"] <= result["ratio_median"] <= result["ratio_max"]
    assert result["flops_ratio"] > 1
    assert result["idle_gb"] <= min(result["peak_gb_ours"], result["peak_gb_plain"])
    assert 0 < result["mfu"] <= 1.5
    for share in (result["share_ours"], result["share_plain"]):
        assert sum(share.values()) == pytest.approx(1, abs=0.01)
        likenesses = {"history_match", "match", "term_match"}
        forward = {"data", "history", "filter", *likenesses, "encoder", "decoder", "head", "loss"}
        assert forward | {"backward", "optimizer"} <= set(share)
    assert result["mbyte_per_row_ours"] < result["mbyte_per_row_plain"]
    for way in ("ours", "plain"):
        whole, parts = result[f"limit_share_{way}"], result[f"limit_share_parts_{way}"]
        assert {"history", "encoder", "decoder", "head", "backward", "optimizer"} <= set(parts)
        named = [parts[name] for name in ("history", "encoder", "decoder", "head", "backward", "optimizer")]
        assert min(named) < whole < max(named)
    assert len(result["top_operations"]) == 10
    (trace,) = (tmp_path / "trace").glob("ours*.pt.trace.json")
    assert json.loads(trace.read_text())["traceEvents"]


@pytest.mark.parametrize("make", [train_ours, train_plain])
def test_a_step_changes_the_weights_and_works_on_batches_in_turn(make: type[Work]) -> None:
    work = make(SETTING, HERE)
    seen = []
    ready = work.model.ready
    work.model.ready = lambda batch: (seen.append(batch), ready(batch))[1]
    before = {name: weight.detach().clone() for name, weight in work.model.module.named_parameters()}
    work.passes = 6
    work.round()
    assert seen == [*work.batches, work.batches[0]]
    same = {name for name, weight in work.model.module.named_parameters() if torch.equal(weight, before[name])}
    # No history is empty, and an answer of one token does not depend on scores of a single decoder position.
    independent = re.compile(r".*\.empty_D|.*decoder.*SelfAttention\.(q|k|relative_attention_bias)\.weight")
    assert [name for name in same if not independent.fullmatch(name)] == []
    assert work.times.seconds["backward"] > 0


@pytest.mark.parametrize("make", [score_ours, score_plain])
def test_scoring_keeps_the_weights_and_fills_a_round_with_passes(
    make: type[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make(SETTING, HERE)
    work.timed_pass()
    monkeypatch.setattr("gensr_dist.bench.ways._ROUND_S", 10 * work.timed_pass())
    before = [weight.detach().clone() for weight in work.model.module.parameters()]
    passes = work.warm_up()
    work.round()
    assert 1 < passes == work.passes < 100
    costs = work.costs(Limits(flops=1e9, bytes=1e9))
    assert (costs["encoder"] > costs["decoder"]).all()
    assert (costs["decoder"] > 0).all()
    assert all(map(torch.equal, before, work.model.module.parameters()))
    assert all(weight.grad is None for weight in work.model.module.parameters())
    assert not work.model.module.training


@NEEDS_COMPILER
def test_compiled_blocks_answer_as_they_did_and_one_program_serves_all_batches() -> None:
    eager, compiled = (score_ours(tiny_setting(history="tokens", compiled=done), HERE) for done in (False, True))
    with pytest.raises(RuntimeError, match="recompile"), torch.compiler.set_stance("fail_on_recompile"):
        compiled.timed_pass()
    compiled.timed_pass()
    with torch.no_grad(), torch.compiler.set_stance("fail_on_recompile"):
        for batch in eager.batches:
            scores = [work.model.score(work.model.ready(batch)) for work in (eager, compiled)]
            torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-6)
    counted = [work.costs(Limits(flops=1e9, bytes=1e9))["encoder"] for work in (eager, compiled)]
    np.testing.assert_allclose(*counted)


@pytest.mark.slow
@NEEDS_COMPILER
def test_compiled_blocks_have_the_same_gradients_and_drop_out() -> None:
    works = [train_ours(tiny_setting(history="tokens", compiled=done), HERE) for done in (False, True)]
    with pytest.raises(RuntimeError, match="recompile"), torch.compiler.set_stance("fail_on_recompile"):
        works[1].timed_pass()
    gradients = []
    for work in works:
        ready = work.model.ready(work.batches[0])
        assert not torch.equal(work.model.loss(ready), work.model.loss(ready))
        work.model.module.eval()
        work.model.loss(ready).backward()
        gradients.append({name: weight.grad for name, weight in work.model.module.named_parameters()})
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def lost(setting: Setting, rank: Rank) -> Work:
    raise MemoryError


def lost_later(work: Work) -> None:
    raise MemoryError


@pytest.mark.parametrize("make", [lost, score_ours])
def test_a_process_that_ends_is_one_line(make: type[Work]) -> None:
    way = Way(make)
    with pytest.raises(InputError, match=r"^gensr bench: one of its processes ended"), started([way], SETTING):
        way.ask(lost_later)


def test_wrong_settings_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="give one of nano"):
        check_setting("huge", "fp32", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="use it on a GPU"):
        check_setting("small", "bf16", None)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be the folder of the trace"):
        check_setting("small", "fp32", tmp_path / "file")
    check_setting("flan-t5-base", "fp32", tmp_path / "new" / "trace")
    assert (tmp_path / "new" / "trace").is_dir()


@pytest.mark.parametrize(
    ("on_gpu", "groups", "our_groups", "expected"),
    [
        (False, None, None, (12, 12)),
        (True, None, None, (128, 1_024)),
        (True, 7, None, (7, 7)),
        (False, 7, 9, (7, 9)),
        (True, None, 9, (128, 9)),
        (False, None, 9, (12, 9)),
    ],
)
def test_groups_of_a_batch_suit_the_device(
    on_gpu: bool,
    groups: int | None,
    our_groups: int | None,
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    assert GROUPS.of(groups, our_groups) == expected


def test_keys_and_spread() -> None:
    assert [field.name for field in dataclasses.fields(SpeedBench)][:8] == FIRST_KEYS
    assert Spread.of_ratios([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)


@pytest.mark.parametrize("history", ["tokens", "pooled"])
def test_both_ways_run_with_half_precision_weights(history: str) -> None:
    setting = dataclasses.replace(SETTING, precision="bf16", history=history)
    for make in (train_ours, train_plain, score_ours, score_plain):
        work: Work = make(setting, HERE)
        work.round()
        weights = list(work.model.module.parameters())
        assert {weight.dtype for weight in weights} == {torch.bfloat16}
        assert all(bool(weight.isfinite().all()) for weight in weights)
