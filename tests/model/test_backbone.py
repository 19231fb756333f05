"""The backbone against transformers' T5.

Dimensions: G groups, C candidates, S context, P block, M = S + C x P, D width, V vocabulary.
"""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from gensr_dist.model.attention import attend
from gensr_dist.model.backbone import Backbone
from gensr_dist.model.t5 import of_transformers
from tests.model.builders import answer, tiny_t5

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
T5_KINDS = pytest.mark.parametrize(
    ("feed_forward", "untied"), [("gated-gelu", False), ("gated-gelu", True), ("relu", False), ("relu", True)]
)
SCORINGS = pytest.mark.parametrize("scoring", ["joint", "shared"])


def inputs(seed: int, *, groups: int = 3, candidates: int = 4, context: int = 6, block: int = 5) -> Inputs:
    """Contexts padded on the left, blocks with padding and a hidden slot."""
    generator = torch.Generator().manual_seed(seed)
    context_GSD = torch.randn(groups, context, 16, generator=generator)
    block_GCPD = torch.randn(groups, candidates, block, 16, generator=generator)
    padding_G = torch.randint(0, context, (groups,), generator=generator)
    context_mask_GS = torch.arange(context) >= padding_G[:, None]
    block_mask_GP = torch.rand(groups, block, generator=generator) < 0.8
    block_mask_GP[:, 0] = True
    return context_GSD, context_mask_GS, block_GCPD, block_mask_GP


def backbone_of(t5: T5ForConditionalGeneration, scoring: Literal["joint", "shared"]) -> Backbone:
    return Backbone(of_transformers(t5), scoring).eval()


def one_at_a_time(backbone: Backbone, arguments: Inputs) -> Tensor:
    context_GSD, context_mask_GS, block_GCPD, block_mask_GP = arguments
    return torch.stack(
        [
            torch.cat(
                [
                    answer(
                        backbone,
                        context_GSD[g, None],
                        context_mask_GS[g, None],
                        block_CPD[None, None],
                        block_mask_GP[g, None],
                    )
                    for block_CPD in block_GCPD[g]
                ],
                dim=1,
            )[0]
            for g in range(len(context_GSD))
        ]
    )


def dense_shared_reference(t5: T5ForConditionalGeneration, arguments: Inputs) -> Tensor:
    """One sequence a group with every candidate's block in it, an explicit mask and explicit positions, through
    transformers' own encoder blocks; then transformers' decoder over the context and one block at a time."""
    context_GSD, context_mask_GS, block_GCPD, block_mask_GP = arguments
    C, P, S = block_GCPD.shape[1], block_GCPD.shape[2], context_GSD.shape[1]
    owner_M = torch.tensor([-1] * S + [c for c in range(C) for _ in range(P)])
    place_M = torch.tensor([*range(S), *[S + p for _ in range(C) for p in range(P)]])
    attention = t5.encoder.block[0].layer[0].SelfAttention
    bucket_MM = attention._relative_position_bucket(place_M[None, :] - place_M[:, None], bidirectional=True)
    bias_HMM = attention.relative_attention_bias(bucket_MM).permute(2, 0, 1)
    logits = []
    for g in range(len(context_GSD)):
        kept_M = torch.cat([context_mask_GS[g], block_mask_GP[g].repeat(C)])
        allowed_MM = ((owner_M[None, :] == -1) | (owner_M[None, :] == owner_M[:, None])) & kept_M[None, :]
        mask_MM = torch.zeros(allowed_MM.shape).masked_fill(~allowed_MM, torch.finfo(torch.float32).min)
        x_MD = torch.cat([context_GSD[g], block_GCPD[g].flatten(0, 1)])[None]
        for block in t5.encoder.block:
            x_MD = block(x_MD, mask_MM[None, None], bias_HMM[None])[0]
        x_MD = t5.encoder.final_layer_norm(x_MD)
        rows = []
        for c in range(C):
            visible_M = kept_M & ((owner_M == -1) | (owner_M == c))
            rows.append(first_answer(t5, x_MD, visible_M[None]))
        logits.append(torch.cat(rows))
    return torch.stack(logits)


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
    context_GSD, context_mask_GS, block_GCPD, block_mask_GP = inputs(1)
    actual_GCV = answer(backbone_of(t5, "joint"), context_GSD, context_mask_GS, block_GCPD, block_mask_GP)
    for c in range(block_GCPD.shape[1]):
        expected_GV = t5(
            inputs_embeds=torch.cat([context_GSD, block_GCPD[:, c]], dim=1),
            attention_mask=torch.cat([context_mask_GS, block_mask_GP], dim=1).long(),
            decoder_input_ids=torch.zeros(len(context_GSD), 1, dtype=torch.long),
        ).logits[:, 0]
        assert expected_GV.std() > 0.1
        torch.testing.assert_close(actual_GCV[:, c], expected_GV, rtol=1e-5, atol=1e-5)


@T5_KINDS
@torch.no_grad()
def test_shared_logits_are_those_of_transformers_under_a_block_mask(feed_forward: str, untied: bool) -> None:
    t5 = tiny_t5(feed_forward=feed_forward, untied=untied)
    t5.set_attn_implementation("eager")
    arguments = inputs(2)
    torch.testing.assert_close(
        answer(backbone_of(t5, "shared"), *arguments),
        dense_shared_reference(t5, arguments),
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
        torch.testing.assert_close(
            answer(backbone, *arguments), one_at_a_time(backbone, arguments), rtol=1e-5, atol=1e-5
        )


@torch.no_grad()
def test_only_in_joint_scoring_the_context_sees_the_candidate() -> None:
    arguments = inputs(3)
    joint = answer(backbone_of(tiny_t5(), "joint"), *arguments)
    shared = answer(backbone_of(tiny_t5(), "shared"), *arguments)
    assert (joint - shared).abs().max() > 1e-3


@SCORINGS
@torch.no_grad()
def test_padding_does_not_matter(scoring: Literal["joint", "shared"]) -> None:
    """Neither its content nor, on the outer sides of context and block, its length."""
    backbone = backbone_of(tiny_t5(), scoring)
    context_GSD, context_mask_GS, block_GCPD, block_mask_GP = inputs(4)
    expected = answer(backbone, context_GSD, context_mask_GS, block_GCPD, block_mask_GP)
    context_GSD = context_GSD.masked_fill(~context_mask_GS[..., None], 50.0)
    block_GCPD = block_GCPD.masked_fill(~block_mask_GP[:, None, :, None], -50.0)
    same = answer(backbone, context_GSD, context_mask_GS, block_GCPD, block_mask_GP)
    torch.testing.assert_close(same, expected, rtol=1e-5, atol=1e-5)
    pad = torch.nn.functional.pad
    longer = answer(
        backbone,
        pad(context_GSD, (0, 0, 3, 0), value=9.0),
        pad(context_mask_GS, (3, 0)),
        pad(block_GCPD, (0, 0, 0, 2), value=9.0),
        pad(block_mask_GP, (0, 2)),
    )
    torch.testing.assert_close(longer, expected, rtol=1e-5, atol=1e-5)


@SCORINGS
def test_gradients_reach_context_and_blocks_and_stay_finite_without_any_context(
    scoring: Literal["joint", "shared"],
) -> None:
    context_GSD, context_mask_GS, block_GCPD, block_mask_GP = inputs(5)
    context_mask_GS[0] = False
    backbone = backbone_of(tiny_t5(), scoring)
    logit_GCV = answer(
        backbone, context_GSD.requires_grad_(), context_mask_GS, block_GCPD.requires_grad_(), block_mask_GP
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
    context_GSD, context_mask_GS, block_GCPD, block_mask_GP = inputs(6)
    strided_GCPD = block_GCPD.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(
        answer(backbone, context_GSD, context_mask_GS, strided_GCPD, block_mask_GP),
        answer(backbone, context_GSD, context_mask_GS, block_GCPD, block_mask_GP),
    )


@SCORINGS
def test_dropout_acts_in_training_only(scoring: Literal["joint", "shared"]) -> None:
    t5 = tiny_t5()
    arguments = inputs(7)
    backbone = backbone_of(t5, scoring)
    assert torch.equal(answer(backbone, *arguments), answer(backbone, *arguments))
    backbone.train()
    assert not torch.allclose(answer(backbone, *arguments), answer(backbone, *arguments))


@SCORINGS
@pytest.mark.parametrize("training", [False, True])
def test_dropout_reaches_the_weights_of_every_attention(
    scoring: Literal["joint", "shared"], training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    t5 = tiny_t5()
    t5.config.dropout_rate = 0.3
    given: dict[str, list[float]] = {"whole": [], "weights": []}

    def attended(*tensors: Tensor, scale: float, dropout_rate: float) -> Tensor:
        given["whole"].append(dropout_rate)
        return attend(*tensors, scale=scale, dropout_rate=dropout_rate)

    def dropped(weight: Tensor, rate: float) -> Tensor:
        given["weights"].append(rate)
        return weight

    monkeypatch.setattr("gensr_dist.model.backbone.attend", attended)
    monkeypatch.setattr("gensr_dist.model.backbone.dropout", dropped)
    answer(backbone_of(t5, scoring).train(training), *inputs(8))
    encoder, decoder = len(t5.encoder.block), len(t5.decoder.block)
    rate = 0.3 if training else 0.0
    assert given["whole"] == [rate] * encoder
    assert given["weights"] == [rate] * (encoder * (scoring == "shared") + decoder)


@SCORINGS
@torch.no_grad()
def test_a_compiled_program_serves_sizes_that_were_equal_by_chance(
    scoring: Literal["joint", "shared"], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.compile
    # What torch.compile traces, without a compiler's part.
    monkeypatch.setattr(torch, "compile", lambda block, dynamic: real(block, dynamic=dynamic, backend="eager"))
    torch._dynamo.reset()
    backbone = backbone_of(tiny_t5(), scoring)

    def padded(groups: int, candidates: int, context: int, block: int) -> Inputs:
        arguments = inputs(0, groups=groups, candidates=candidates, context=context, block=block)
        arguments[1][0, 0] = arguments[3][0, -1] = False
        return arguments

    others = [padded(7, 4, 5, 3), padded(5, 9, 4, 6), padded(3, 2, 8, 5)]
    expected = [answer(backbone, *arguments) for arguments in others]
    first = padded(*[backbone.heads] * 4)
    backbone.compile_blocks()
    with pytest.raises(RuntimeError, match="recompile"), torch.compiler.set_stance("fail_on_recompile"):
        answer(backbone, *first)
    answer(backbone, *first)
    with torch.compiler.set_stance("fail_on_recompile"):
        for arguments, logit_GCV in zip(others, expected, strict=True):
            torch.testing.assert_close(answer(backbone, *arguments), logit_GCV)
