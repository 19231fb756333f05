"""Validation of CF vectors: recall over the whole catalogue.

Dimensions: P validation pairs, S validated users, K users of a chunk, N nodes (users first), I items, E width.
"""

import numpy as np
import torch
from torch import Tensor

from gensr_dist.graph.edges import Edges

TOP = 20
USERS = 2_000  # at most so many are validated
SCORES_AT_ONCE = 1 << 24  # float32: 64 MiB


class CatalogueRecall:
    """Recall@20 among all items without a user's training items, averaged over users.

    Users are those with a training edge and a new item in validation; of more than `USERS`, a seeded sample.
    """

    def __init__(self, train: Edges, valid: Edges, seed: int) -> None:
        new_P = ~train.contain(valid.user_Z, valid.item_Z)
        self.train = train
        self.valid = Edges(key_Z=valid.key_Z[new_P], users=valid.users, items=valid.items)
        user_S, count_S = np.unique(self.valid.user_Z, return_counts=True)
        known_S = np.isin(user_S, train.user_Z)
        user_S, count_S = user_S[known_S], count_S[known_S]
        if len(user_S) > USERS:
            kept = np.sort(np.random.default_rng([seed, 1]).choice(len(user_S), USERS, replace=False))
            user_S, count_S = user_S[kept], count_S[kept]
        self.user_S, self.count_S = user_S, count_S

    def __call__(self, out_NE: Tensor) -> float:
        """Mean recall of propagated vectors, by chunks of users: the users x items matrix never exists."""
        assert len(self.user_S), "no user to validate"
        chunks = -(-len(self.user_S) * self.train.items // SCORES_AT_ONCE)
        hits_S = np.concatenate([self._hits(out_NE, user_K) for user_K in np.array_split(self.user_S, chunks)])
        return float((hits_S / self.count_S).mean())

    def _hits(self, out_NE: Tensor, user_K: np.ndarray) -> np.ndarray:
        user_KE = out_NE[torch.from_numpy(user_K).to(out_NE.device)]
        score_KI = user_KE @ out_NE[self.train.users :].T
        place_M, item_M = self.train.of_users(user_K)
        score_KI[torch.from_numpy(place_M).to(out_NE.device), torch.from_numpy(item_M).to(out_NE.device)] = -torch.inf
        top_KT = score_KI.topk(min(TOP, self.train.items), dim=1).indices.cpu().numpy()
        return self.valid.contain(user_K[:, None], top_KT).sum(axis=1)
