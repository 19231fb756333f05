"""Settings of `gensr paper`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """Cost of the trainings of `gensr paper`, and the peer."""

    seeds: Annotated[int, Field(ge=1)] = 3
    """Number of trainings, each with its own seed, of GenSR, of each ablation and of each point of a sweep."""
    steps: Annotated[int, Field(ge=0)] = 0
    """Steps of each of those trainings; the warm-up is shortened in proportion, with one validation at the end. 0:
    `train.steps`."""
    points: Annotated[int, Field(ge=3, le=5)] = 5
    """Points of each of the two sweeps."""
    peer: str = "item_input=id+cf"
    """Settings of UniSAR, the discriminative peer, where they differ from the published ones: KEY=VALUE, separated by
    spaces."""
