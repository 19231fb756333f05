"""What is known of a trained baseline, and the files that say it.

metrics.json   metrics of the test rows, the protocol, costs
curve.json     losses and validations during training
ranks/         ranks and users of the test rows, for `gensr compare`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gensr_dist.evaluation.metrics import short_name
from gensr_dist.evaluation.report import EvaluationProtocol
from gensr_dist.evaluation.significance import PairedTest

HEADLINE = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")  # of the paper's tables 2 and 3


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A validation during training."""

    step: int
    epoch: float
    loss: Mapping[str, float]  # means over the steps since the last one
    validation: Mapping[str, float]  # NDCG@10 by task
    training: Mapping[str, float]  # of as many training rows


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What it took."""

    parameters: int
    steps: int
    best_step: int
    epochs: float
    seconds: float  # of training, validations among them
    seconds_per_epoch: float  # of training steps alone
    candidates_per_second: float  # scored in the evaluation


@dataclass(frozen=True, kw_only=True)
class BaselineResult:
    """A baseline on the test rows. `metrics.json` holds it."""

    baseline: str
    title: str
    settings: Mapping[str, str | int | float | bool]
    protocol: EvaluationProtocol
    tasks: Mapping[str, Mapping[str, float]]  # metrics by task
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]  # of them, where there was a bootstrap
    catalogue: Mapping[str, Mapping[str, float]]  # the same among the whole catalogue, of fewer rows
    behind: Mapping[str, PairedTest]  # GenSR of the run minus this one, where the run is evaluated on the same rows
    validation: float  # best mean NDCG@10
    cost: Cost

    def lines(self) -> tuple[str, ...]:
        """For people."""
        lines = [
            f"{self.title}: validation NDCG@10 {self.validation:.4f} after step {self.cost.best_step:,} of "
            f"{self.cost.steps:,}, {self.cost.parameters:,} parameters, {self.cost.seconds_per_epoch:.1f} s an epoch"
        ]
        for task, metrics in self.tasks.items():
            rows = self.protocol.rows[task]
            lines.append(f"{task}, {rows:,} rows, {self.protocol.negatives} negatives: {_shown(metrics)}")
            if task in self.catalogue:
                lines.append(f"{task}, whole catalogue: {_shown(self.catalogue[task])}")
            if task in self.behind:
                test = self.behind[task]
                lines.append(
                    f"{task}: GenSR of this run is {test.difference:+.4f} NDCG@10 from it "
                    f"[{test.low:+.4f}, {test.high:+.4f}], p = {test.p_value:.3g}"
                )
        return tuple(lines)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """`curve.json`."""

    points: Sequence[CurvePoint] = ()


def _shown(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{short_name(name)} {metrics[name]:.4f}" for name in HEADLINE)
