"""Validation of CF vectors: recall over the whole catalogue, by blocks of items.

Dimensions: P validation pairs, S validated users, M training edges of validated users, N nodes (users first), I items,
E width, e columns of this rank, R ranks, C items of a block, T best items, K users whose best items a block changes.
"""

import numpy as np
import torch
from torch import Tensor

from gensr_dist.graph.edges import Edges
from gensr_dist.graph.ranks import ColumnRanks

TOP = 20
USERS = 2_000  # at most so many are validated
SCORES_AT_ONCE = 1 << 24  # float32: 64 MiB


class CatalogueRecall:
    """Recall@20 among all items without a user's training items, averaged over users.

    Users are those with a training edge and a new item in validation; of more than `USERS`, a seeded sample.
    """

    def __init__(self, train: Edges, valid: Edges, seed: int, ranks: ColumnRanks) -> None:
        new_P = ~train.contain(valid.user_Z, valid.item_Z)
        self.users, self.items, self.ranks = train.users, train.items, ranks
        self.valid = Edges(key_Z=valid.key_Z[new_P], users=valid.users, items=valid.items)
        user_S, count_S = np.unique(self.valid.user_Z, return_counts=True)
        known_S = np.bincount(train.user_Z, minlength=train.users)[user_S] > 0
        user_S, count_S = user_S[known_S], count_S[known_S]
        if len(user_S) > USERS:
            kept = np.sort(np.random.default_rng([seed, 1]).choice(len(user_S), USERS, replace=False))
            user_S, count_S = user_S[kept], count_S[kept]
        self.user_S, self.count_S = user_S, count_S
        place_M, item_M = train.of_users(user_S)
        order_M = np.argsort(item_M, kind="stable")
        self.known_place_M, self.known_item_M = place_M[order_M], item_M[order_M]

    def __call__(self, out_Ne: Tensor) -> float:
        """Mean recall of propagated vectors, the same on all ranks, each of which scores a part of every block.

        The users x items matrix never exists, and only the items' vectors go from rank to rank, once.
        """
        assert len(self.user_S), "no user to validate"
        top_ST, item_ST = self._best_of_own_items(out_Ne)
        top_ST, item_ST = self.ranks.rows(top_ST), self.ranks.rows(item_ST)  # T of each rank
        top_ST, place_ST = top_ST.topk(min(TOP, top_ST.shape[1]), dim=1)
        item_ST = item_ST.gather(1, place_ST)
        hit_ST = self.valid.contain(self.user_S[:, None], item_ST.cpu().numpy())
        hit_ST &= (top_ST > -torch.inf).cpu().numpy()  # the others fill up
        return float((hit_ST.sum(axis=1) / self.count_S).mean())

    def _best_of_own_items(self, out_Ne: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and items [S, T] of the best among the items that this rank scores."""
        device, world = out_Ne.device, self.ranks.world
        user_SE = self.ranks.rows(out_Ne[torch.from_numpy(self.user_S).to(device)])
        block = max(1, SCORES_AT_ONCE // len(self.user_S))
        top_ST = torch.full((len(self.user_S), TOP), -torch.inf, device=device)
        item_ST = torch.zeros((len(self.user_S), TOP), dtype=torch.int64, device=device)
        for start in range(0, self.items, world * block):
            part_Ce = out_Ne[self.users + start : self.users + min(start + world * block, self.items)]
            first = start + self.ranks.rank * block
            count = min(max(self.items - first, 0), block)
            if world > 1 and len(part_Ce) < world * block:
                part_Ce = torch.nn.functional.pad(part_Ce, (0, 0, 0, world * block - len(part_Ce)))
            item_CE = self.ranks.exchange_rows(part_Ce.reshape(world, -1, part_Ce.shape[1]))[:count]
            if count:
                self._update(top_ST, item_ST, self._new_scores(user_SE, item_CE, first), first)
        return top_ST, item_ST

    def _new_scores(self, user_SE: Tensor, item_CE: Tensor, first: int) -> Tensor:
        """Scores [S, C] of the items from `first` on, -inf for training items."""
        score_SC = user_SE @ item_CE.T
        start, stop = np.searchsorted(self.known_item_M, [first, first + len(item_CE)])
        place = torch.from_numpy(self.known_place_M[start:stop]).to(score_SC.device)
        item = torch.from_numpy(self.known_item_M[start:stop] - first).to(score_SC.device)
        score_SC[place, item] = -torch.inf
        return score_SC

    @staticmethod
    def _update(top_ST: Tensor, item_ST: Tensor, score_SC: Tensor, first: int) -> None:
        """Put better ones of a block of items among the best, in place; soon only few users have any."""
        (user_K,) = torch.nonzero(score_SC.amax(dim=1) > top_ST[:, -1], as_tuple=True)
        new_KT, place_KT = score_SC[user_K].topk(min(TOP, score_SC.shape[1]), dim=1)
        both_K = torch.cat([top_ST[user_K], new_KT], dim=1)
        top_ST[user_K], kept_KT = both_K.topk(TOP, dim=1)
        item_ST[user_K] = torch.cat([item_ST[user_K], place_KT + first], dim=1).gather(1, kept_KT)
