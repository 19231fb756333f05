"""History encoders, one a view (eq. 3 and 4): E' = FFN(MSA(E, E, E)).

Dimensions: G groups, B of them, N history positions (items in the CF view, title tokens in the semantic view), K
entries of all histories, T of some, D width of the view, H heads, X = 3 D, E width of a head.
"""

import math

import torch
from torch import Tensor, nn

from gensr_dist.model.attention import attend, mask_bias
from gensr_dist.model.dropout import Dropout
from gensr_dist.model.inputs import History, LengthBucket

EXACT_RECENCIES = 16
RECENCY_BUCKETS = 32
FARTHEST_RECENCY = 512
BEHAVIOURS = 4  # padding, recommendation, search, both


def recency_bucket(recency: Tensor) -> Tensor:
    """Bucket of "how many interactions ago", any shape, >= 0: exact up to 15, then logarithmic up to 512."""
    logarithmic = torch.log(recency.clamp_min(1) / EXACT_RECENCIES) / math.log(FARTHEST_RECENCY / EXACT_RECENCIES)
    coarse = EXACT_RECENCIES + (logarithmic * (RECENCY_BUCKETS - EXACT_RECENCIES)).long()
    return torch.where(recency < EXACT_RECENCIES, recency, coarse.clamp_max(RECENCY_BUCKETS - 1))


class HistoryEncoder(nn.Module):
    """One Transformer encoder layer over a history, told when and in which behaviour each interaction happened.

    Residuals and layer norms are the Transformer's (pre-norm); the paper's formula leaves them out.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.recency = nn.Embedding(RECENCY_BUCKETS, width)
        self.behaviour = nn.Embedding(BEHAVIOURS, width, padding_idx=0)
        for table in (self.recency, self.behaviour):
            nn.init.normal_(table.weight, std=0.1)
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.residual_dropout = Dropout(dropout)

    def forward(self, entry_KD: Tensor, history: History) -> Tensor:
        """Encode the histories of a batch.

        Args:
            entry_KD: embeddings of their items or tokens.
            history: when, in which behaviour and where each of them is.

        Returns:
            E' [G, N, D], zeros at padding.
        """
        x_KD = entry_KD + self.recency(recency_bucket(history.recency_K)) + self.behaviour(history.behaviour_K)
        x_KD = x_KD + self.residual_dropout(self._attend(self.attention_norm(x_KD), history))
        x_KD = x_KD + self.residual_dropout(self.feed_forward(self.feed_forward_norm(x_KD)))
        return history.packing.pad(x_KD)

    def _attend(self, x_KD: Tensor, history: History) -> Tensor:
        parts = self.query_key_value(x_KD).split([bucket.packing.tokens for bucket in history.buckets])
        outs = [self._attend_bucket(x_TX, bucket) for x_TX, bucket in zip(parts, history.buckets, strict=True)]
        return self.attention_out(torch.cat(outs))

    def _attend_bucket(self, x_TX: Tensor, bucket: LengthBucket) -> Tensor:
        query_BHNE, key_BHNE, value_BHNE = (
            bucket.packing.pad(x_TX).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )
        out_BHNE = attend(
            query_BHNE,
            key_BHNE,
            value_BHNE,
            mask_bias(bucket.mask_BN, x_TX)[:, None, None, :],
            scale=query_BHNE.shape[-1] ** -0.5,
            dropout_rate=self.dropout if self.training else 0.0,
        )
        return bucket.packing.pack(out_BHNE.transpose(1, 2).flatten(2))
