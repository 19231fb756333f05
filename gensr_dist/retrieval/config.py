"""Settings of the catalogue index."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """FAISS prefilter before GenSR rescoring."""

    index: Literal["flat", "ivf", "hnsw"] = "flat"
    candidates: Annotated[int, Field(ge=1)] = 200  # items the prefilter hands to GenSR
    exclude_seen: bool = True  # leave out items the user already met
