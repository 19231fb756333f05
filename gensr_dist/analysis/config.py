"""Settings of analyses."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """Analyses look at held-out rows, the same for GenSR and its peer."""

    rows: Annotated[int, Field(ge=1)] = 4_000
    """Test rows per task that are looked at, drawn with seed 0."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Number of trainings, each with its own seed, of every estimator."""
