"""What a training step tells: one line for people, scalars for TensorBoard."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """A finished step, over all ranks; rates are means since the last report."""

    steps: int  # finished
    task: float  # eq. 9
    contrastive: float  # eq. 10
    total: float  # eq. 8
    learning_rate: float
    gradient_norm: float  # before clipping
    rows_per_second: float
    tokens_per_second: float
    wait_share: float  # of the time, spent waiting for the loader
    memory_gb: float  # of rank 0
    cuda_memory_gb: float  # of rank 0

    def line(self, steps: int, rows: int) -> str:
        """One dense line for a run of `steps` steps of `rows` rows."""
        left = (steps - self.steps) * rows / self.rows_per_second if self.rows_per_second else 0.0
        return (
            f"step {self.steps}/{steps}  loss {self.total:.4f}"
            f" (task {self.task:.4f}, contrastive {self.contrastive:.4f})"
            f"  lr {self.learning_rate:.2e}  grad {self.gradient_norm:.3f}  {self.rows_per_second:,.0f} rows/s"
            f"  wait {self.wait_share:.0%}  eta {timedelta(seconds=round(left))}"
        )
