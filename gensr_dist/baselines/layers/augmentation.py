"""Histories that are changed a little and mean the same: crop, hide, reorder, substitute.

Dimensions: G rows, L history, U items of the batch, S items of histories, E width of a CF vector, O = 4 changes, B
items of a block of S.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

CROP, HIDE, REORDER, SUBSTITUTE = 0.8, 0.5, 0.5, 0.2  # share of a history: kept, hidden, shuffled, replaced
_BLOCK = 1_024  # items that are compared with all others at a time


def changed(history_GL: Tensor, similar_U: Tensor) -> tuple[Tensor, Tensor]:
    """One of the four changes a row, drawn from torch's random state.

    Args:
        history_GL: slots, padded at the end with 0.
        similar_U: the slot that may take the place of each.

    Returns:
        history_GL: slots.
        seen_GL: which of them remain; at least one where there was any.
    """
    real_GL = history_GL > 0
    length_G1 = real_GL.sum(1, keepdim=True)
    rows = len(history_GL)
    place_L = torch.arange(history_GL.shape[1], device=history_GL.device)

    kept_G1 = (CROP * length_G1).ceil()
    cropped_GL = _stretch(place_L, length_G1, kept_G1)
    hidden_GL = real_GL & (_random_rank(real_GL) >= (HIDE * length_G1).floor())
    shuffled_GL = _stretch(place_L, length_G1, (REORDER * length_G1).ceil())
    # Within the stretch keys are random numbers between its ends, outside of it they are the places.
    first_G1 = torch.where(shuffled_GL, place_L, len(place_L)).amin(1, keepdim=True)
    within_GL = first_G1 + torch.rand(real_GL.shape, device=real_GL.device) * shuffled_GL.sum(1, keepdim=True)
    order_GL = torch.where(shuffled_GL, within_GL, place_L.float()).argsort(dim=1, stable=True)
    replaced_GL = real_GL & (_random_rank(real_GL) < (SUBSTITUTE * length_G1).ceil())

    slot_OGL = torch.stack(
        (
            history_GL,
            history_GL,
            history_GL.gather(1, order_GL),
            torch.where(replaced_GL, similar_U[history_GL], history_GL),
        )
    )
    seen_OGL = torch.stack((cropped_GL, hidden_GL, real_GL, real_GL))
    choice_G = torch.randint(len(slot_OGL), (rows,), device=history_GL.device)
    row_G = torch.arange(rows, device=history_GL.device)
    return slot_OGL[choice_G, row_G], seen_OGL[choice_G, row_G]


def nearest_items(history_GL: Tensor, item_U: Tensor, cf_UE: Tensor) -> Tensor:
    """Of each item of the histories the other one whose CF vector has the largest cosine with its own.

    Args:
        history_GL: slots.
        item_U: rows of the catalogue; several slots may have one item.
        cf_UE: CF vectors.

    Returns:
        Slots [U]; an item that has none other, or is in no history, has itself.
    """
    slot_S = history_GL.unique()
    slot_S = slot_S[slot_S > 0]
    similar_U = torch.arange(len(item_U), device=item_U.device)
    if not len(slot_S):
        return similar_U
    unit_SE, item_S = F.normalize(cf_UE[slot_S], dim=1), item_U[slot_S]
    for start in range(0, len(slot_S), _BLOCK):
        block = slice(start, start + _BLOCK)
        cosine_BS = (unit_SE[block] @ unit_SE.T).masked_fill(item_S[block, None] == item_S, -torch.inf)
        best_B, place_B = cosine_BS.max(1)
        similar_U[slot_S[block]] = torch.where(best_B > -torch.inf, slot_S[place_B], slot_S[block])
    return similar_U


def _stretch(place_L: Tensor, length_G1: Tensor, size_G1: Tensor) -> Tensor:
    """A run of places of a given size within each length, from a random one on; bool [G, L]."""
    spare_G1 = length_G1 - size_G1 + 1
    start_G1 = (torch.rand(length_G1.shape, device=length_G1.device) * spare_G1).floor()
    return (place_L >= start_G1) & (place_L < start_G1 + size_G1)


def _random_rank(real_GL: Tensor) -> Tensor:
    """Ranks of the real places in a random order, from 0 on; padding comes last."""
    key_GL = torch.rand(real_GL.shape, device=real_GL.device).masked_fill(~real_GL, 2.0)
    return key_GL.argsort(1).argsort(1)
