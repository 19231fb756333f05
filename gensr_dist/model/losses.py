"""Training losses (eq. 8, 9, 10): any number of ranks gives the same value and gradient.

Each function returns this rank's share for one micro-batch. A step adds up its micro-batches, and DeepSpeed averages
gradients over ranks: shares are scaled so that this gives values and gradients of the whole optimizer step.

Dimensions: G groups of this rank, A groups of all ranks, C candidates, M = A (C - 1) negatives of all ranks, D width.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def task_loss(nll_GC: Tensor, *, candidates: int, step_groups: int, world: int = 1) -> Tensor:
    """Mean of -log P(answer | prompt) over the candidates of the optimizer step (eq. 9).

    Args:
        nll_GC: 0 for padded candidates.
        candidates: candidates of an unpadded group.
        step_groups: unpadded groups of the step, all ranks and micro-batches together.
        world: ranks that average their gradients.
    """
    return nll_GC.sum() * (world / (step_groups * candidates))


def contrastive_loss(
    user_cf_GD: Tensor,
    user_semantic_GD: Tensor,
    user_G: Tensor,
    has_history_G: Tensor,
    *,
    temperature: float,
    step_groups: int,
    world: int = 1,
) -> Tensor:
    """Symmetric InfoNCE between the two views of each user, over the rows of all ranks (eq. 10), their mean.

    A row's negatives are the rows of other users; rows of the same user are left out of its denominator. Rows without
    history have no views and take no part. Each rank computes the loss of the whole batch with gradients to its own
    rows only, so that no gradient needs to be sent back.
    """
    cf_AD = _gather(F.normalize(user_cf_GD.float(), dim=-1), world)
    semantic_AD = _gather(F.normalize(user_semantic_GD.float(), dim=-1), world)
    user_A = _gather(user_G, world)
    valid_A = _gather(has_history_G, world)
    A = user_A.numel()
    logit_AA = cf_AD @ semantic_AD.T / temperature
    same_user_AA = user_A[:, None] == user_A[None, :]
    itself_AA = torch.eye(A, dtype=torch.bool, device=user_A.device)
    left_out_AA = (same_user_AA & ~itself_AA) | ~valid_A[None, :] | ~valid_A[:, None]
    # The diagonal stays, so that a left-out row is finite; `valid_A` drops it from the mean.
    logit_AA = logit_AA.masked_fill(left_out_AA & ~itself_AA, -torch.inf)
    target_A = torch.arange(A, device=user_A.device)
    cf_to_semantic_A = F.cross_entropy(logit_AA, target_A, reduction="none")
    semantic_to_cf_A = F.cross_entropy(logit_AA.T, target_A, reduction="none")
    loss_A = 0.5 * (cf_to_semantic_A + semantic_to_cf_A)
    return of_own_rows((loss_A * valid_A).sum() / step_groups, world)


def match_loss(
    user_GD: Tensor,
    item_GCD: Tensor,
    item_GC: Tensor,
    log_chance_GC: Tensor | None = None,
    *,
    step_groups: int,
    world: int = 1,
) -> Tensor:
    """Sampled softmax of the match towers: each group's positive against the negatives of all groups of all ranks.

    mean_g [logsumexp over {i_g} and N of u_g . v_j  -  u_g . v_{i_g}], N without copies of i_g. Gradients go to own
    rows only, as in `contrastive_loss`.

    Args:
        user_GD: of the user tower.
        item_GCD: of the item tower; candidate 0 is the positive.
        item_GC: int64 rows of the catalogue, -1 at padding.
        log_chance_GC: log of how much likelier than by uniform draws each is a negative, which its logit is corrected
            by (logQ; Bengio and Senecal 2008); infinity leaves it out. None: draws are uniform.
        step_groups: unpadded groups of the step, all ranks and micro-batches together.
        world: ranks that average their gradients.
    """
    user_AD, item_ACD = _gather(user_GD.float(), world), _gather(item_GCD.float(), world)
    item_AC = _gather(item_GC, world)
    positive_A, negative_M = item_AC[:, 0], item_AC[:, 1:].flatten()
    right_A = (user_AD * item_ACD[:, 0]).sum(1)
    logit_AM = user_AD @ item_ACD[:, 1:].flatten(0, 1).T
    if log_chance_GC is not None:
        logit_AM = logit_AM - _gather(log_chance_GC, world)[:, 1:].flatten()
    logit_AM = logit_AM.masked_fill((negative_M < 0) | (negative_M == positive_A[:, None]), -torch.inf)
    loss_A = torch.cat([right_A[:, None], logit_AM], dim=1).logsumexp(1) - right_A
    return of_own_rows((loss_A * (positive_A >= 0)).sum() / step_groups, world)


def of_own_rows(whole: Tensor, world: int) -> Tensor:
    """The same value with a gradient `world` times as large.

    Every rank has the whole value but only its rows' gradient, which averaging would divide by `world`.
    """
    return whole * world - whole.detach() * (world - 1)


def _gather(rows: Tensor, world: int) -> Tensor:
    """Rows of all ranks in rank order; gradients flow to this rank's own."""
    if world == 1:
        return rows
    everyone = [torch.empty_like(rows) for _ in range(world)]
    dist.all_gather(everyone, rows.detach().contiguous())
    everyone[dist.get_rank()] = rows
    return torch.cat(everyone)
