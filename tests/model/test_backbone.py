"""The backbone against transformers' T5.

Dimensions: G groups, C candidates, S context, P block, N = S + P, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from gensr_dist.model.backbone import LATE_LAYERS, Backbone
from tests.model.builders import answer, tiny_t5

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
T5_KINDS = pytest.mark.parametrize(
    ("feed_forward", "untied"), [("gated-gelu", False), ("gated-gelu", True), ("relu", False), ("relu", True)]
)
SCORINGS = pytest.mark.parametrize("scoring", ["joint", "shared"])


def inputs(seed: int, *, groups: int = 3, candidates: int = 4, context: int = 6, block: int = 5) -> Inputs:
    """Contexts padded on the left, some of whose tokens are the query's, and blocks with padding and a hidden slot."""
    generator = torch.Generator().manual_seed(seed)
    context_GSD = torch.randn(groups, context, 16, generator=generator)
    block_GCPD = torch.randn(groups, candidates, block, 16, generator=generator)
    padding_G = torch.randint(0, context, (groups,), generator=generator)
    context_mask_GS = torch.arange(context) >= padding_G[:, None]
    query_mask_GS = context_mask_GS & (torch.rand(groups, context, generator=generator) < 0.5)
    query_mask_GS[0] = False
    block_mask_GP = torch.rand(groups, block, generator=generator) < 0.8
    block_mask_GP[:, 0] = True
    return context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP


def backbone_of(t5: T5ForConditionalGeneration, scoring: Literal["joint", "shared"]) -> Backbone:
    return Backbone(t5, scoring).eval()


def alone(arguments: Inputs, group: int, candidate: int) -> Inputs:
    context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP = arguments
    contexts = (x[group, None] for x in (context_GSD, context_mask_GS, query_mask_GS))
    return *contexts, block_GCPD[group, candidate][None, None], block_mask_GP[group, None]


def one_at_a_time(give: Callable[[Inputs], Tensor], arguments: Inputs) -> Tensor:
    """[G, C, V] of `give`, which answers a single candidate [1, 1, V]."""
    groups, candidates = arguments[3].shape[:2]
    rows = [torch.cat([give(alone(arguments, g, c)) for c in range(candidates)], dim=1) for g in range(groups)]
    return torch.cat(rows)


def shared_reference(t5: T5ForConditionalGeneration, arguments: Inputs) -> Tensor:
    """One candidate's whole prompt through transformers' own blocks under explicit masks.

    In late layers the query's tokens see the block, and nobody sees through them but the block: the instruction goes on
    to see the query as it is without a candidate, which is computed beside it.
    """
    context_1SD, context_mask_1S, query_mask_1S, block_11PD, block_mask_1P = arguments
    (S, _), P = context_1SD.shape[1:], block_11PD.shape[2]
    bias_1HNN = t5.encoder.block[0].layer[0].SelfAttention.compute_bias(S + P, S + P)
    kept_N = torch.cat([context_mask_1S, block_mask_1P], dim=1)[0]
    in_block_N = torch.arange(S + P) >= S
    asked_N = torch.nn.functional.pad(query_mask_1S[0], (0, P))
    early_NN = kept_N & (in_block_N[:, None] | ~in_block_N)
    late_NN = kept_N & ((in_block_N | asked_N)[:, None] | ~in_block_N)

    def run(block: Any, x_1ND: Tensor, sees_NN: Tensor) -> Tensor:
        mask_NN = torch.zeros(S + P, S + P).masked_fill(~sees_NN, torch.finfo(torch.float32).min)
        return block(x_1ND, mask_NN[None, None], bias_1HNN)[0]

    without_1ND = x_1ND = torch.cat([context_1SD, block_11PD[0]], dim=1)
    for number, block in enumerate(t5.encoder.block):
        late = number >= len(t5.encoder.block) - LATE_LAYERS
        alone_1ND = run(block, without_1ND, early_NN)
        x_1ND = run(block, x_1ND, late_NN if late else early_NN)
        instruction_N1 = ~(in_block_N | asked_N)[:, None]
        x_1ND, without_1ND = torch.where(instruction_N1, alone_1ND, x_1ND), alone_1ND
    return first_answer(t5, t5.encoder.final_layer_norm(x_1ND), kept_N[None])[None]


def first_answer(t5: T5ForConditionalGeneration, encoded_BND: Tensor, mask_BN: Tensor) -> Tensor:
    start = torch.zeros(len(encoded_BND), 1, dtype=torch.long)
    return t5(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded_BND),
        attention_mask=mask_BN.long(),
        decoder_input_ids=start,
    ).logits[:, 0]


@T5_KINDS
@torch.no_grad()
def test_joint_logits_are_those_of_transformers(feed_forward: str, untied: bool) -> None:
    t5 = tiny_t5(feed_forward=feed_forward, untied=untied)
    assert t5.config.scale_decoder_outputs is not untied
    arguments = inputs(1)
    actual_GCV = answer(backbone_of(t5, "joint"), *arguments)
    context_GSD, context_mask_GS, _, block_GCPD, block_mask_GP = arguments
    for c in range(block_GCPD.shape[1]):
        expected_GV = t5(
            inputs_embeds=torch.cat([context_GSD, block_GCPD[:, c]], dim=1),
            attention_mask=torch.cat([context_mask_GS, block_mask_GP], dim=1).long(),
            decoder_input_ids=torch.zeros(len(context_GSD), 1, dtype=torch.long),
        ).logits[:, 0]
        assert expected_GV.std() > 0.1
        torch.testing.assert_close(actual_GCV[:, c], expected_GV, rtol=1e-5, atol=1e-5)


@T5_KINDS
@pytest.mark.parametrize("layers", [1, 2, 4])
@torch.no_grad()
def test_shared_logits_are_those_of_transformers_under_its_masks(feed_forward: str, untied: bool, layers: int) -> None:
    t5 = tiny_t5(feed_forward=feed_forward, untied=untied, layers=layers)
    t5.set_attn_implementation("eager")
    arguments = inputs(2)
    assert arguments[2][1:].any(1).all(), "two groups ask"
    torch.testing.assert_close(
        answer(backbone_of(t5, "shared"), *arguments),
        one_at_a_time(lambda single: shared_reference(t5, single), arguments),
        rtol=1e-5,
        atol=1e-5,
    )


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    groups=st.integers(1, 3),
    candidates=st.integers(1, 4),
    context=st.integers(1, 40),
    block=st.integers(1, 30),
)
@torch.no_grad()
def test_a_group_gives_what_its_candidates_give_alone(
    seed: int, groups: int, candidates: int, context: int, block: int
) -> None:
    arguments = inputs(seed, groups=groups, candidates=candidates, context=context, block=block)
    for scoring in ("joint", "shared"):
        backbone = backbone_of(tiny_t5(), scoring)
        expected = one_at_a_time(lambda single, backbone=backbone: answer(backbone, *single), arguments)
        torch.testing.assert_close(answer(backbone, *arguments), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_only_in_joint_scoring_the_instruction_sees_the_candidate_and_in_both_the_query_does() -> None:
    """A T5 of one layer tells the two apart: where all of the context is asked, nothing is left that could differ."""
    joint, shared = (backbone_of(tiny_t5(layers=1), scoring) for scoring in ("joint", "shared"))
    context_GSD, context_mask_GS, query_mask_GS, *blocks = inputs(3)
    arguments = (context_GSD, context_mask_GS, query_mask_GS, *blocks)
    assert (answer(joint, *arguments) - answer(shared, *arguments)).abs().max() > 1e-3
    asked = (context_GSD, context_mask_GS, context_mask_GS, *blocks)
    torch.testing.assert_close(answer(joint, *asked), answer(shared, *asked), rtol=1e-5, atol=1e-5)


@SCORINGS
@torch.no_grad()
def test_padding_does_not_matter(scoring: Literal["joint", "shared"]) -> None:
    """Neither its content nor, on the outer sides of context and block, its length."""
    backbone = backbone_of(tiny_t5(), scoring)
    context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP = inputs(4)
    expected = answer(backbone, context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP)
    context_GSD = context_GSD.masked_fill(~context_mask_GS[..., None], 50.0)
    block_GCPD = block_GCPD.masked_fill(~block_mask_GP[:, None, :, None], -50.0)
    same = answer(backbone, context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP)
    torch.testing.assert_close(same, expected, rtol=1e-5, atol=1e-5)
    pad = torch.nn.functional.pad
    longer = answer(
        backbone,
        pad(context_GSD, (0, 0, 3, 0), value=9.0),
        pad(context_mask_GS, (3, 0)),
        pad(query_mask_GS, (3, 0)),
        pad(block_GCPD, (0, 0, 0, 2), value=9.0),
        pad(block_mask_GP, (0, 2)),
    )
    torch.testing.assert_close(longer, expected, rtol=1e-5, atol=1e-5)


@SCORINGS
def test_gradients_reach_context_and_blocks_and_stay_finite_without_any_context(
    scoring: Literal["joint", "shared"],
) -> None:
    context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP = inputs(5)
    context_mask_GS[0] = query_mask_GS[0] = False
    backbone = backbone_of(tiny_t5(), scoring)
    logit_GCV = answer(
        backbone,
        context_GSD.requires_grad_(),
        context_mask_GS,
        query_mask_GS,
        block_GCPD.requires_grad_(),
        block_mask_GP,
    )
    assert torch.isfinite(logit_GCV).all()
    logit_GCV.square().sum().backward()
    for gradient in (context_GSD.grad, block_GCPD.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0
    assert (context_GSD.grad[0] == 0).all()
    assert (block_GCPD.grad.transpose(1, 2)[~block_mask_GP] == 0).all()


@SCORINGS
@torch.no_grad()
def test_blocks_may_be_views(scoring: Literal["joint", "shared"]) -> None:
    backbone = backbone_of(tiny_t5(), scoring)
    context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP = inputs(6)
    strided_GCPD = block_GCPD.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(
        answer(backbone, context_GSD, context_mask_GS, query_mask_GS, strided_GCPD, block_mask_GP),
        answer(backbone, context_GSD, context_mask_GS, query_mask_GS, block_GCPD, block_mask_GP),
    )


@SCORINGS
def test_dropout_acts_in_training_only(scoring: Literal["joint", "shared"]) -> None:
    t5 = tiny_t5()
    arguments = inputs(7)
    backbone = backbone_of(t5, scoring)
    assert torch.equal(answer(backbone, *arguments), answer(backbone, *arguments))
    backbone.train()
    assert not torch.allclose(answer(backbone, *arguments), answer(backbone, *arguments))
