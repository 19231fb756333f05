"""Settings of LightGCN."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from gensr_dist.config.marks import Mark
from gensr_dist.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LightGCNConfig:
    """BPR training on recommendation training events (footnote 1 of the paper)."""

    width: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Width of the CF vectors. Each rank has an equal part of it: the number of ranks must divide it."""
    layers: Annotated[int, Field(ge=0, le=100)] = 3
    """Number of layers of propagation."""
    epochs: Annotated[int, Field(ge=1)] = 100
    """Largest number of epochs."""
    batch: Annotated[int, Field(ge=1)] = 2_048
    """Edges per step. Each step propagates over the whole graph, so the batch should grow with the graph: 1/16 of its
    edges is a good size."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    """Learning rate of Adam."""
    l2: Annotated[float, Field(ge=0)] = 1e-3
    """Weight of the penalty: the squared layer-0 vectors of a step's nodes, divided by the number of its edges."""
    folds: Annotated[int, Field(ge=0)] = 2
    """Parts of the users for cross-fitting, 2 or more: each training row of GenSR reads CF vectors that were learnt
    without the part of its user, at the cost of one more training of LightGCN per part. 0 is the paper's way: vectors
    of the whole graph, which have seen the very edges that training rows ask for."""
    validate_every: Annotated[int, Field(ge=1)] = 5
    """Epochs between validations."""
    patience: Annotated[int, Field(ge=1)] = 3
    """Validations without a better recall@20 after which training stops."""
    checkpoint_minutes: Annotated[float, Field(ge=0), Mark.OPERATIONAL] = 10.0
    """Minutes between checkpoints; each validation writes one as well."""


def check_folds(folds: int) -> None:
    """Refuse one fold.

    Raises:
        InputError: it is one.
    """
    if folds == 1:
        raise InputError("lightgcn.folds", "one fold leaves no user to learn from", "set it to 0, or to 2 or more")
