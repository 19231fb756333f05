"""`gensr bench step` and `gensr bench score` at a size of seconds."""

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from gensr_dist.bench import interleaved
from gensr_dist.bench.interleaved import RatioRange, Variant, Worker, running
from gensr_dist.bench.speed import STEP_GROUPS, check_setting, workload
from gensr_dist.bench.workload import SpeedSetting, Workload
from gensr_dist.errors import InputError
from tests.bench.forked_commands import FORKED
from tests.bench.settings import tiny_setting

HERE = Worker(0, 1, torch.device("cpu"))
SETTING = tiny_setting()
FIRST_KEYS = ["ours_per_s", "plain_per_s", "ratio_median", "ratio_min", "ratio_max", "flops_ratio"]
FIRST_KEYS += ["peak_gb_ours", "peak_gb_plain"]
NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++")
ABSENT = ("deepspeed", "webdataset", "faiss")
PROGRAM = """
import json
from pathlib import Path
from gensr_dist.bench.speed import bench_speed
import gensr_dist.cli.bench
from tests.bench.settings import tiny_setting

if __name__ == "__main__":
    result = bench_speed(tiny_setting(candidates=5), training=True, rounds=1, profile=Path("trace"))
    print(json.dumps(result.flat()))
"""


def test_both_are_interleaved_where_libraries_of_the_cluster_are_absent(tmp_path: Path) -> None:
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
    assert result["mflop_per_row_ours"] < result["mflop_per_row_plain"]
    assert set(tiny_keys()) <= result.keys()
    assert len(result["top_operations"]) == 10
    (trace,) = (tmp_path / "trace").glob("ours*.pt.trace.json")
    assert json.loads(trace.read_text())["traceEvents"]


def tiny_keys() -> list[str]:
    setting = ["backbone", "history", "lengths", "groups", "our_groups", "candidates", "precision", "compiled"]
    measured = ["idle_gb", "first_pass_s", "tokens_per_s", "mfu", "mfu_plain", "peak_tflops", "top_operations"]
    return [*setting, *measured, "parameters", "mean_history", "rounds", "passes_of_a_round", "device", "seconds"]


@pytest.mark.parametrize("product", [True, False])
def test_a_step_changes_the_weights_and_works_on_batches_in_turn(product: bool) -> None:
    work = workload(SETTING, HERE, training=True, product=product)
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


@pytest.mark.parametrize("product", [True, False])
def test_scoring_keeps_the_weights_and_fills_a_round_with_passes(
    product: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    work = workload(SETTING, HERE, training=False, product=product)
    work.timed_pass()
    monkeypatch.setattr("gensr_dist.bench.workload._ROUND_S", 10 * work.timed_pass())
    before = [weight.detach().clone() for weight in work.model.module.parameters()]
    passes = work.warm_up()
    work.round()
    assert 1 < passes == work.passes < 100
    operations = work.operations()
    assert operations["encoder"] > operations["decoder"] > 0
    assert operations["history"] > 0
    assert torch.backends.mha.get_fastpath_enabled() == fast_path
    assert all(map(torch.equal, before, work.model.module.parameters()))
    assert all(weight.grad is None for weight in work.model.module.parameters())
    assert not work.model.module.training


@NEEDS_COMPILER
def test_compiled_blocks_answer_as_they_did_and_one_program_serves_all_batches() -> None:
    eager, compiled = (
        workload(tiny_setting(history="tokens", compiled=done), HERE, training=False, product=True)
        for done in (False, True)
    )
    with pytest.raises(RuntimeError, match="recompile"), torch.compiler.set_stance("fail_on_recompile"):
        compiled.timed_pass()
    compiled.timed_pass()
    with torch.no_grad(), torch.compiler.set_stance("fail_on_recompile"):
        for batch in eager.batches:
            scores = [work.model.score(work.model.ready(batch)) for work in (eager, compiled)]
            torch.testing.assert_close(*scores, rtol=1e-5, atol=1e-6)
    assert eager.operations()["encoder"] == compiled.operations()["encoder"]


@pytest.mark.slow
@NEEDS_COMPILER
def test_compiled_blocks_have_the_same_gradients_and_drop_out() -> None:
    works = [
        workload(tiny_setting(history="tokens", compiled=done), HERE, training=True, product=True)
        for done in (False, True)
    ]
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


def lost(setting: SpeedSetting, worker: Worker) -> Workload:
    raise MemoryError


def lost_later(work: Workload) -> None:
    raise MemoryError


@pytest.mark.parametrize("make", [lost, partial(workload, training=False, product=True)])
def test_a_process_that_ends_is_one_line(
    make: Callable[[SpeedSetting, Worker], Workload], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interleaved, "multiprocessing", FORKED)
    variant = Variant(make)
    with pytest.raises(InputError, match=r"^gensr bench: one of its processes ended"), running([variant], SETTING):
        variant.ask(lost_later)


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
    assert STEP_GROUPS.of(groups, our_groups) == expected


def test_spread() -> None:
    assert RatioRange.of_ratios([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]) == RatioRange(median=2.0, low=1.0, high=3.0)


@pytest.mark.parametrize("history", ["tokens", "pooled"])
def test_both_run_with_half_precision_weights(history: str) -> None:
    setting = dataclasses.replace(SETTING, precision="bf16", history=history)
    for training, product in itertools.product((True, False), repeat=2):
        work = workload(setting, HERE, training=training, product=product)
        work.round()
        weights = list(work.model.module.parameters())
        assert {weight.dtype for weight in weights} == {torch.bfloat16}
        assert all(bool(weight.isfinite().all()) for weight in weights)
