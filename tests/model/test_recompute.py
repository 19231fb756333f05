"""Blocks that are computed again in the backward pass."""

from typing import Literal

import pytest
import torch

from gensr_dist.model.backbone import Backbone
from gensr_dist.model.t5 import load_t5
from tests.model.builders import answer

G, C, S, P, V = 2, 3, 5, 4, 40


def gradients(scoring: Literal["joint", "shared"], recompute: bool) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    """Logits, gradient of every weight and of both inputs, and how often a block's layers ran."""
    torch.manual_seed(0)
    backbone = Backbone(load_t5("nano", V, dropout=0.2), scoring).train()
    backbone.recompute = recompute
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    for block in (*backbone.t5.encoder.block, *backbone.t5.decoder.block):
        block.layer[-1].register_forward_hook(count)
    context_GSD = torch.randn(G, S, backbone.width, requires_grad=True)
    block_GCPD = torch.randn(G, C, P, backbone.width, requires_grad=True)
    logit_GCV = answer(
        backbone, context_GSD, torch.ones(G, S, dtype=torch.bool), block_GCPD, torch.ones(G, P, dtype=torch.bool)
    )
    logit_GCV.log_softmax(-1)[..., 1].sum().backward()
    leaves = [context_GSD, block_GCPD, *(p for p in backbone.parameters() if p.grad is not None)]
    return logit_GCV.detach(), [leaf.grad for leaf in leaves if leaf.grad is not None], runs


@pytest.mark.parametrize("scoring", ["joint", "shared"])
def test_computing_blocks_again_changes_no_bit_with_dropout(scoring: Literal["joint", "shared"]) -> None:
    logit_GCV, kept, runs = gradients(scoring, recompute=False)
    again_GCV, recomputed, more_runs = gradients(scoring, recompute=True)
    assert more_runs == 2 * runs
    assert torch.equal(again_GCV, logit_GCV)
    assert len(recomputed) == len(kept) > 10
    for one, other in zip(kept, recomputed, strict=True):
        assert torch.equal(one, other)
    assert torch.count_nonzero(kept[0])


def test_nothing_is_computed_again_without_gradients() -> None:
    backbone = Backbone(load_t5("nano", V, dropout=0.0), "shared").eval()
    inputs = (
        torch.randn(G, S, backbone.width),
        torch.ones(G, S, dtype=torch.bool),
        torch.randn(G, C, P, backbone.width),
        torch.ones(G, P, dtype=torch.bool),
    )
    with torch.no_grad():
        plain = answer(backbone, *inputs)
        backbone.recompute = True
        assert torch.equal(answer(backbone, *inputs), plain)
