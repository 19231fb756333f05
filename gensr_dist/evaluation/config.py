"""Settings of evaluation."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Test protocol: one positive among the frozen negatives, then the whole catalogue through its candidates."""

    rows: Annotated[int, Field(ge=0)] = 0
    """Test rows per task, drawn with the run's seed. 0: all."""
    prompts: Annotated[int, Field(ge=1)] = 6_400
    """Candidates, of several rows together, that GenSR scores in one pass."""
    compile: bool = False
    """Whether T5's blocks run under torch.compile: faster, but for a minute or two at first; for long evaluations."""
    bootstrap: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    """Bootstrap resamples of users for the confidence intervals and tests."""
    catalogue_rows: Annotated[int, Field(ge=0)] = 5_000
    """Test rows per task that are ranked over the whole catalogue."""
