"""What LightGCN training did."""

from collections.abc import Sequence
from dataclasses import dataclass

from gensr_dist.graph.leak import Leak


@dataclass(frozen=True, kw_only=True)
class GraphResult:
    """One training."""

    epochs: int
    best_epoch: int  # whose vectors were kept
    recall_at_20: float | None  # of that epoch; None where no validation event can be used
    recall_curve: tuple[tuple[int, float], ...]  # (epoch, recall@20)
    edges: int
    untouched_users: int  # without a training edge; their vector is zero
    untouched_items: int
    validated_users: int


@dataclass(frozen=True, kw_only=True)
class LightGCNResult(GraphResult):
    """The training on the whole graph, and those without each fold."""

    users: int
    items: int
    seconds: float  # of all trainings, over all resumptions
    without_fold: tuple[GraphResult, ...]
    leak: Leak | None  # None: not measured

    def lines(self) -> tuple[str, ...]:
        """Lines for people."""
        trained = (
            f"trained {self.epochs} epochs on {self.edges:,} edges in {self.seconds:.0f} s; "
            f"best recall@20 {_recall([self])} in epoch {self.best_epoch}"
        )
        lines = [trained]
        if self.without_fold:
            lines.append(
                f"with {len(self.without_fold)} more trainings, each without a part of the users; "
                f"best recall@20 {_recall(self.without_fold)}"
            )
        if self.leak is not None:
            lines.append(self.leak.sentence())
        return tuple(lines)


def _recall(results: Sequence[GraphResult]) -> str:
    found = [f"{result.recall_at_20:.4f}" for result in results if result.recall_at_20 is not None]
    if not found:
        return "unknown"
    return min(found) if min(found) == max(found) else f"{min(found)} to {max(found)}"
