"""Settings of evaluation."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Test protocol: one positive among the frozen negatives, then the whole catalogue through its candidates."""

    rows: Annotated[int, Field(ge=0)] = 0
    """Test rows per task, drawn with the run's seed; 0 is all of them."""
    prompts: Annotated[int, Field(ge=1)] = 6_400
    """Candidates that GenSR scores in one pass, of several rows."""
    compile: bool = False
    """T5's blocks under torch.compile: faster after a minute or two, for long evaluations."""
    bootstrap: Annotated[int, Field(ge=0, le=1_000_000)] = 1_000
    """Resamples of users, of the confidence intervals and tests."""
    catalogue_rows: Annotated[int, Field(ge=0)] = 5_000
    """Test rows per task that are ranked over the whole catalogue."""
