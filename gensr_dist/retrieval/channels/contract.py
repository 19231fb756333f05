"""What a channel of candidates is: it scores items for requests, and proposes the best of them.

Dimensions: G groups (a history at a moment, perhaps with a query), K proposals, C candidates, I items.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.requests import Requests

Int = NDArray[np.int64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Proposals:
    """Distinct allowed items of each group, best first."""

    item_GK: Int  # padded at the end with -1
    score_GK: Float32  # falling; -inf pads


class Scores(Protocol):
    """A channel's scores of all items for some requests; what it gives a group must not depend on the other groups."""

    def best(self, k: int) -> Proposals:
        """Up to k items a group. Items that were already met may be among them."""

    def of(self, item_GC: Int) -> Float32:
        """The scores of these items, -1 pads; [G, C]. Those of `best` agree with it but for the last bits."""


class Channel(Protocol):
    """One way to find candidates."""

    @property
    def empty(self) -> str | None:
        """Why this channel never proposes anything; None where it does."""

    def scores(self, requests: Requests) -> Scores:
        """Look at histories and queries."""
