"""Settings of candidate generation and of the order of answers."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """Channels propose candidates, GenSR scores them."""

    index: Literal["flat", "ivf", "hnsw"] = "flat"
    """FAISS index of the channels that compare vectors."""
    candidates: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Candidates that GenSR scores for one answer."""
    exclude_seen: bool = True
    """Whether items that the user already met are left out of answers."""
    fit_rows: Annotated[int, Field(ge=0)] = 2_000
    """Validation rows per task, whose candidates GenSR scores once to fit the fusion of the channels and the order of
    answers. 0: neither is fitted; channels are fused by reciprocal ranks, and GenSR's score alone orders answers."""
