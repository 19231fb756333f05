"""Both views of a batch: CF vectors and texts of its items, and what the encoders make of its histories.

Dimensions: G groups, N history places, U distinct items and W distinct tokens of the batch, E width of a CF vector, D
width of the backbone.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Views:
    """A batch's items and histories, before any candidate is looked at."""

    cf_UE: Tensor  # scaled
    token_WD: Tensor
    weight_W: Tensor  # of tokens in pooled texts
    text_UD: Tensor
    cf_GNE: Tensor  # encoded
    text_GND: Tensor
    user_cf_GE: Tensor  # means of the encoded
    user_text_GD: Tensor
