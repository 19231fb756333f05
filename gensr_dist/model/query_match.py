"""How exactly a candidate answers a query, counted over the log, told to T5 as numbers.

Embeddings of tokens say what is alike (`term_match`); whether a title has the very words, and whether those who asked
with them took the item, are counts, and counts alone search well.

Dimensions: Z searching groups, C candidates, F features, D width of the backbone.
"""

from torch import Tensor, nn

from gensr_dist.data.batches.batch import FEATURES

HIDDEN = 32


class QueryMatch(nn.Module):
    """Two layers over the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, width))

    def forward(self, evidence_ZCF: Tensor) -> Tensor:
        """What the slot of each candidate's text gets.

        Args:
            evidence_ZCF: as `QueryEvidence.features` has them.

        Returns:
            [Z, C, D].
        """
        told_ZCD: Tensor = self.layers(evidence_ZCF)
        return told_ZCD
