"""Settings of `gensr paper`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """What its trainings may cost."""

    seeds: Annotated[int, Field(ge=1)] = 3
    """Trainings of GenSR, of each ablation and of each point of a sweep."""
    steps: Annotated[int, Field(ge=0)] = 0
    """Of each of those, with a warm-up that shrinks alike and one validation at their end; 0 is `train.steps`."""
    points: Annotated[int, Field(ge=3, le=5)] = 5
    """Of each of both sweeps."""
    peer: str = "item_input=id+cf"
    """Settings of UniSAR, the discriminative peer, apart from the published ones: KEY=VALUE with spaces between."""
