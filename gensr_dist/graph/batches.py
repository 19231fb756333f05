"""The order of training edges and their negatives, a function of (seed, epoch, step).

Dimensions: Z edges, B edges of a step, V users.
"""

from collections.abc import Iterator

import numpy as np

from gensr_dist.graph.edges import Edges

_ORDER, _NEGATIVES = 0, 2  # name uses of random numbers


class EdgeBatches:
    """Every edge once an epoch, each with one negative; edges of users who saw every item have none and are left out.

    Args:
        train: edges.
        batch: edges a step.
        seed: of order and negatives.
    """

    def __init__(self, train: Edges, batch: int, seed: int) -> None:
        self.train, self.batch, self.seed = train, batch, seed
        degree_V = np.bincount(train.user_Z, minlength=train.users)
        met_all_V = degree_V == train.items
        self.key_Z = train.key_Z[~met_all_V[train.user_Z]] if met_all_V.any() else train.key_Z

    @property
    def steps(self) -> int:
        """Steps an epoch; the last batch may be short."""
        return -(-len(self.key_Z) // self.batch)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """User, positive item and negative item, int64 [B] each, of every step from `first_step` on."""
        key_Z = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(self.key_Z)
        for step in range(first_step, self.steps):
            # Their order inside a step is free; sorted ones are looked up and gathered from near places.
            key_B = np.sort(key_Z[step * self.batch : (step + 1) * self.batch])
            user_B, positive_B = np.divmod(key_B, self.train.items)
            rng = np.random.default_rng([self.seed, _NEGATIVES, epoch, step])
            yield user_B, positive_B, self.train.sample_negatives(user_B, rng)
