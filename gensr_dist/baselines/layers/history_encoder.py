"""One of a user's histories, read by itself.

Dimensions: G rows, L history, D width.
"""

from torch import Tensor, nn

from gensr_dist.baselines.layers.behaviours import places
from gensr_dist.baselines.layers.encoder import Activation, Encoder, padding_mask


class BidirectionalEncoder(nn.Module):
    """Blocks with layer norm behind residuals over entries and learnt positions, in both directions.

    Args:
        length: entries at most.
        width: D, of the feed-forward networks too.
        layers: blocks.
        heads: of attention.
        dropout: of what is added to residuals.
        activation: of the feed-forward networks.
        inside_dropout: of attention's weights and within the feed-forward networks; None: as `dropout`.
    """

    def __init__(
        self,
        length: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        activation: Activation,
        *,
        inside_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.position = nn.Embedding(length, width)
        nn.init.normal_(self.position.weight, std=0.02)
        inside = {"attention_dropout": inside_dropout, "inner_dropout": inside_dropout}
        self.encoder = Encoder(width, layers, heads, width, dropout, "post", activation, **inside)

    def forward(self, entry_GLD: Tensor, mask_GL: Tensor) -> Tensor:
        """Encode the entries at which the mask is True, [G, L, D]; at others stands nothing of meaning."""
        encoded_GLD: Tensor = self.encoder(entry_GLD + self.position(places(mask_GL)), padding_mask(mask_GL))
        return encoded_GLD
