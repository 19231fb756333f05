"""What training tells: one line a step for people, scalars for TensorBoard, and at the end where the time went."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.train.diagnostics import TaskDiagnosis
from gensr_dist.train.meter import PhaseClock
from gensr_dist.train.objective import LossValues


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """A finished step, over all ranks; rates are means since the last report."""

    steps: int  # finished
    losses: LossValues
    total: float  # what is minimised (eq. 8, and the match loss)
    learning_rate: float
    gradient_norm: float  # before clipping
    candidates_per_second: float
    tokens_per_second: float
    wait_share: float  # of the time, spent waiting for the inputs of a step
    memory_gb: float  # of rank 0
    cuda_memory_gb: float  # of rank 0
    tasks: Mapping[Behaviour, TaskDiagnosis] = field(default_factory=dict)
    flops_utilisation: float | None = None  # of a GPU's bf16 peak; None where it is not known

    def short(self) -> str:
        """What stands beside a progress bar."""
        losses = self.losses
        parts = f"task {losses.task:.3f}, contrastive {losses.contrastive:.2f}, match {losses.match:.2f}"
        return f"loss {self.total:.3f} ({parts}), {self.candidates_per_second:,.0f} candidates/s"

    def line(self, steps: int, candidates: int) -> str:
        """One dense line for a run of `steps` steps of `candidates` candidates."""
        rate = self.candidates_per_second
        left = (steps - self.steps) * candidates / rate if rate else 0.0
        return (
            f"step {self.steps}/{steps}  loss {self.total:.4f}"
            f" (task {self.losses.task:.4f}, contrastive {self.losses.contrastive:.4f}, match {self.losses.match:.4f})"
            f"  lr {self.learning_rate:.2e}  grad {self.gradient_norm:.3f}  {rate:,.0f} candidates/s"
            f"  wait {self.wait_share:.0%}  eta {timedelta(seconds=round(left))}"
        )


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """Where the seconds of one start of a run went on this rank; `PhaseClock` says what the phases hold."""

    data: float  # waiting for the inputs of a step
    forward: float
    backward: float
    update: float  # gradient norm, clipping, optimizer
    communication: float  # standing still for collectives of a step; those of the other two are in them
    validation: float
    checkpoint: float
    other: float  # everything else since the start: opening the log, building the model, reports
    total: float

    @classmethod
    def of(cls, clock: PhaseClock) -> Self:
        """What a clock shows now."""
        seconds, total = clock.seconds(), clock.total()
        rounded: dict[str, float] = {phase: round(value, 3) for phase, value in seconds.items()}
        return cls(**rounded, other=round(max(0.0, total - sum(seconds.values())), 3), total=round(total, 3))

    def line(self) -> str:
        """`time 12.3 s: data 0.1 s (1 %), forward ...`."""
        parts = [
            f"{name} {value:.1f} s ({value / self.total if self.total else 0.0:.0%})"
            for name, value in vars(self).items()
            if name != "total"
        ]
        return f"time {self.total:.1f} s: {', '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Outcome of a training run."""

    steps: int  # finished optimizer steps
    best_step: int  # steps behind the weights in the model folder
    best_ndcg: float  # their mean NDCG@10 on the validation samples of both tasks
    stopped_early: bool
    seconds: float  # all resumptions together
    candidates_per_second: float  # through training steps, without validations and checkpoints
    ranks: int
    warnings: tuple[str, ...] = field(compare=False)  # known on rank 0: see `fit_warnings`
    time: TimeReport = field(compare=False)  # of the last start, on rank 0

    def lines(self) -> tuple[str, ...]:
        """For people."""
        trained = (
            f"trained {self.steps} steps in {self.seconds:.0f} s, {self.candidates_per_second:,.0f} candidates/s; "
            f"best validation NDCG@10 {self.best_ndcg:.4f} at step {self.best_step}"
        )
        return (trained, *(f"warning: {line}" for line in self.warnings))
