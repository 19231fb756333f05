"""Two ranks train like one process: every ZeRO stage, offload, activation checkpointing, precision and token budget."""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.runs.folder import RunFolder
from tests.forked_ranks import run_forked
from tests.integration.zero_matrix_driver import FACTS
from tests.train.small_runs import BUDGET

STEPS = 4
SECONDS = 550
LOSSES = ("loss/task", "loss/contrastive", "loss/match", "loss/total", "optimizer/gradient_norm")
METRICS = tuple(
    f"{rows}_{task}/{metric}"
    for rows in ("validation", "training")
    for task in ("rec", "search")
    for metric in ("ndcg@10", "loss")
)
# Two ranks round other sums than one process does. In bf16 gradients and weights are rounded to 2**-8 of their size; a
# step's loss moved by 2e-3 at most, its gradient norm by 5e-3.
TOLERANCE = {"fp32": 1e-5, "bf16": 2**-6}
CONFLICT = ("conflict/all", "conflict/token_table", "conflict/encoder.block.0")  # cosines of both tasks' gradients


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a run is to be compared in."""

    zero_stage: int = 0
    offload: str = "none"
    activation_checkpointing: bool = False
    precision: str = "fp32"
    micro_tokens: int = 0
    likelihood: str = "vocabulary"
    dropout: float = 0.0
    conflict_every: int = 0
    resumed: bool = False  # halfway, from its checkpoint

    @property
    def name(self) -> str:
        parts = [f"zero{self.zero_stage}", self.offload, self.precision, f"micro{self.micro_tokens}"]
        return "_".join(
            [
                *parts,
                self.likelihood,
                "recomputed" * self.activation_checkpointing,
                "dropout" * bool(self.dropout),
                "conflict" * bool(self.conflict_every),
                "resumed" * self.resumed,
            ]
        )

    @property
    def works(self) -> bool:
        """Whether a config may say so."""
        return self.zero_stage >= {"none": 0, "optimizer": 1, "parameters": 3}[self.offload]

    @property
    def plain(self) -> "Case":
        """The same training without anything to save memory."""
        return Case(
            precision=self.precision,
            micro_tokens=self.micro_tokens,
            likelihood=self.likelihood,
            dropout=self.dropout,
            conflict_every=self.conflict_every,
        )


@dataclass(frozen=True)
class Outcome:
    """Tag -> value of each step or validation; and what the driver saw."""

    curves: Mapping[str, Sequence[float]]
    facts: Mapping[str, Any]


def train_all(run: RunFolder, cases: Sequence[Case], ranks: int, name: str) -> dict[Case, Outcome]:
    """Train the cases one after the other in the same processes."""
    folders = [run.root.parent / name / case.name for case in cases]
    for case, folder in zip(cases, folders, strict=True):
        folder.mkdir(parents=True)
        (folder / "shards").symlink_to(run.root / "shards")
        (folder / "cf").symlink_to(run.cf)
        (folder / "channels").symlink_to(run.channels)
        switches = dataclasses.asdict(case)
        resumed = switches.pop("resumed")
        settings = {
            "run": str(folder),
            "data": {"history": 4, "train_negatives": 2},
            "lightgcn": {"width": 8},
            "model": {"cf_heads": 2, "semantic_history": "pooled", "dropout": switches.pop("dropout")},
            "train": {
                "steps": STEPS,
                "batch": 8,
                "warmup_steps": 1,
                "validate_every": STEPS,
                "validate_rows": 7,  # odd: the ranks have unequal shares
                "checkpoint_every": STEPS // 2 if resumed else STEPS,
                "log_every": 1,
                "workers": 0,
                "contrastive_weight": 0.5,
                **switches,
            },
        }
        (folder / "given.yaml").write_text(yaml.safe_dump(settings))
    configs = [str(folder / "given.yaml") for folder in folders]
    done = run_forked(["tests.integration.zero_matrix_driver", *configs], ranks=ranks, timeout=SECONDS)
    print(done.stdout)  # seconds of each case, where a test fails
    assert done.returncode == 0, done.stdout[-1_000:] + done.stderr[-4_000:]
    return {case: outcome(folder) for case, folder in zip(cases, folders, strict=True)}


def outcome(folder: Path) -> Outcome:
    events = EventAccumulator(str(RunFolder(folder).tensorboard))
    events.Reload()
    conflict = [tag for tag in CONFLICT if tag in events.Tags()["scalars"]]
    curves = {tag: [point.value for point in events.Scalars(tag)] for tag in (*LOSSES, *METRICS, *conflict)}
    lengths = [STEPS] * len(LOSSES) + [1] * len(METRICS) + [STEPS // 2] * len(conflict)
    assert list(map(len, curves.values())) == lengths
    return Outcome(curves, json.loads((folder / FACTS).read_text()))


def check(run: RunFolder, cases: Sequence[Case]) -> None:
    """Train the cases on two ranks and hold them against one process."""
    one = train_all(run, sorted({case.plain for case in cases if not case.dropout}, key=str), 1, "one")
    two = train_all(run, cases, 2, "two")
    for case in cases:
        facts, curves = two[case].facts, two[case].curves
        assert facts["dtype"] == {"fp32": "torch.float32", "bf16": "torch.bfloat16"}[case.precision]
        assert facts["optimizer offloaded"] == (case.offload != "none"), case.name
        assert facts["parameters offloaded"] == (case.offload == "parameters"), case.name
        assert facts["blocks recomputed"] == case.activation_checkpointing
        if case.zero_stage == 3:
            assert facts["whole"] == 0, case.name  # between passes a rank has no whole parameter
        elif case.zero_stage:
            assert facts["masters"] == pytest.approx(facts["elements"] / 2, rel=1e-3), case.name
        kept = dataclasses.replace(case, activation_checkpointing=False)
        if case.activation_checkpointing and kept in two:
            assert curves == two[kept].curves, case.name  # to the last bit, dropout included
        if case.dropout:
            continue  # each rank draws its own
        expected = one[case.plain].curves
        for tag in LOSSES:
            assert curves[tag] == pytest.approx(expected[tag], rel=TOLERANCE[case.precision]), (case.name, tag)
        if case.precision == "fp32":
            for tag in METRICS:
                assert curves[tag] == pytest.approx(expected[tag], rel=TOLERANCE["fp32"]), (case.name, tag)
        if case.conflict_every:
            for tag in CONFLICT:
                assert curves[tag] == pytest.approx(expected[tag], abs=1e-4), (case.name, tag)


def every_case() -> list[Case]:
    """The whole product, as far as a config may say so."""
    product = itertools.product(
        range(4), ("none", "optimizer", "parameters"), (False, True), ("fp32", "bf16"), (0, BUDGET)
    )
    cases = [
        Case(zero_stage=s, offload=o, activation_checkpointing=a, precision=p, micro_tokens=n)
        for s, o, a, p, n in product
    ]
    return [case for case in cases if case.works]


def test_stages_offloads_recomputation_and_precisions_train_like_one_process(small_run: RunFolder) -> None:
    check(
        small_run,
        [
            Case(activation_checkpointing=True, micro_tokens=BUDGET),
            Case(zero_stage=1, offload="optimizer", activation_checkpointing=True),
            Case(zero_stage=1, precision="bf16", micro_tokens=BUDGET),
            Case(zero_stage=2, offload="optimizer", micro_tokens=BUDGET, resumed=True),
            Case(zero_stage=2, offload="optimizer", precision="bf16", activation_checkpointing=True),
            Case(zero_stage=2, conflict_every=2),
            Case(zero_stage=3, activation_checkpointing=True, micro_tokens=BUDGET),
            Case(zero_stage=3, offload="optimizer", likelihood="answers"),
            Case(zero_stage=3, offload="parameters", resumed=True),
            Case(
                zero_stage=3, offload="parameters", precision="bf16", activation_checkpointing=True, micro_tokens=BUDGET
            ),
            Case(zero_stage=3, dropout=0.1),
            Case(zero_stage=3, dropout=0.1, activation_checkpointing=True),
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
def test_every_combination_trains_like_one_process(small_run: RunFolder, stage: int) -> None:
    dropout = [Case(zero_stage=stage, dropout=0.1, activation_checkpointing=again) for again in (False, True)]
    check(small_run, [case for case in every_case() if case.zero_stage == stage] + dropout)
