"""The reference computes what ours computes.

Dimensions: G groups, C candidates, B rows.
"""

import re
from dataclasses import replace

import pytest
import torch

from gensr_dist.bench.reference import ReferenceGenSR
from gensr_dist.bench.reference_rows import ReferenceCollator
from gensr_dist.bench.synthetic import CF_WIDTH, BatchShape, synthetic_batch, word_tokenizer
from gensr_dist.bench.workload import BACKBONES, Contender, SpeedSetting, our_model, reference_model
from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.errors import InputError
from gensr_dist.model.config import ModelConfig, PromptConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.prompt import SLOTS
from tests.bench.settings import tiny_setting

CPU = torch.device("cpu")
VOCABULARY = 80


def setting(history: str) -> SpeedSetting:
    return tiny_setting(history=history, groups=5, our_groups=5, vocabulary=VOCABULARY)


def twins(monkeypatch: pytest.MonkeyPatch, history: str) -> tuple[Contender, Contender]:
    """Both without dropout, ours with a prompt a candidate, biases and filters large enough to matter."""
    config = ModelConfig(backbone="nano", scoring="joint", semantic_history=history, dropout=0.0)
    monkeypatch.setattr(SpeedSetting, "model", config)
    build = GenSR.build.__func__  # type: ignore[attr-defined]

    def spread(cls: type[GenSR], *arguments: object, **named: object) -> GenSR:
        model = build(cls, *arguments, **named)
        for stack in (model.backbone.t5.encoder, model.backbone.t5.decoder):
            torch.nn.init.normal_(stack.block[0].layer[0].SelfAttention.relative_attention_bias.weight)
        for filter_ in (model.cf_filter, model.semantic_filter):
            torch.nn.init.normal_(filter_.empty_D)
        return model

    monkeypatch.setattr(GenSR, "build", classmethod(spread))
    return our_model(setting(history), CPU), reference_model(setting(history), CPU)


def batch_with_padding() -> Batch:
    """Also of recommendations and searches, whose titles have some of the asked words and lack others.

    A candidate is among the items of one history, at both its ends, and another is all that there is in one.
    """
    batch = synthetic_batch(setting("tokens").shape(5), 0)
    length_G = (batch.history_GL != 0).sum(1)
    shortest, _, longest = length_G.argsort()[-3:].tolist()
    assert length_G[longest] > 2
    for g, places in ((longest, [0, int(length_G[longest]) - 1]), (shortest, slice(int(length_G[shortest])))):
        batch.history_GL[g, places] = batch.candidate_GC[g, 1]
    assert (batch.history_GL == 0).all(1).any()
    assert set(batch.task_G.tolist()) == {0, 1}
    for g in (batch.task_G == Behaviour.SEARCH).nonzero().flatten():
        asked_Q = batch.query_GQ[g][batch.query_GQ[g] != 0]
        found_Q = torch.isin(asked_Q, batch.title_UT[batch.candidate_GC[g]])
        assert found_Q.any()
    assert (batch.query_GQ == 0).any(1).all()
    candidate_GC, label_GC = batch.candidate_GC.clone(), batch.label_GC.clone()
    candidate_GC[1, 2] = 0
    label_GC[1, 2] = IGNORED
    return replace(batch, candidate_GC=candidate_GC, label_GC=label_GC)


@pytest.mark.parametrize("history", ["tokens", "pooled"])
def test_both_give_the_same_scores_loss_and_gradients(monkeypatch: pytest.MonkeyPatch, history: str) -> None:
    product, reference = twins(monkeypatch, history)
    batch = batch_with_padding()
    real_B = (batch.label_GC != IGNORED).flatten()
    with torch.no_grad():
        our_B, reference_B = (each.score(each.ready(batch)) for each in (product, reference))
    torch.testing.assert_close(our_B[real_B], reference_B[real_B], rtol=1e-4, atol=1e-6)
    assert reference_B.std() > 1e-3

    whole = replace(batch, label_GC=batch.label_GC.clamp_min(0), candidate_GC=batch.candidate_GC.clamp_min(1))
    our_loss, reference_loss = (each.loss(each.ready(whole)) for each in (product, reference))
    torch.testing.assert_close(our_loss, reference_loss)
    our_loss.backward()
    reference_loss.backward()
    our_model, reference_model = product.module, reference.module
    pairs = [
        (our_model.token_embeddings(), reference_model.t5.shared.weight),
        (our_model.cf_projection.weight, reference_model.cf_projection.weight),
        (
            our_model.semantic_history.query_key_value.weight,
            reference_model.semantic_history.layer.self_attn.in_proj_weight,
        ),
        (our_model.cf_history.recency.weight, reference_model.cf_history.recency.weight),
        (our_model.semantic_filter.key_HKD, reference_model.semantic_filter.key_HKD),
        (our_model.cf_filter.empty_D, reference_model.cf_filter.empty_D),
        *(
            (our_model.get_parameter(name), reference_model.get_parameter(name))
            for name in (
                *(f"{view}_match.layers.{layer}.weight" for view in ("cf", "semantic") for layer in (0, 2)),
                *(f"match.{layer}.weight" for layer in ("user", "item", "query", "product")),
                *(f"term_match.{layer}.weight" for layer in ("projection", "importance", "out")),
            )
        ),
        *zip(
            (our_model.backbone.t5.get_parameter(name) for name in ENCODER_WEIGHTS),
            (reference_model.t5.get_parameter(name) for name in ENCODER_WEIGHTS),
            strict=True,
        ),
    ]
    for our_weight, reference_weight in pairs:
        largest = reference_weight.grad.abs().max()
        assert largest > 0
        torch.testing.assert_close(
            our_weight.grad.view_as(reference_weight.grad), reference_weight.grad, rtol=1e-3, atol=1e-4 * float(largest)
        )


ENCODER_WEIGHTS = (
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "encoder.block.1.layer.0.SelfAttention.q.weight",
    "encoder.block.1.layer.1.DenseReluDense.wo.weight",
    "decoder.block.1.layer.1.EncDecAttention.k.weight",
    "decoder.block.0.layer.0.layer_norm.weight",
)


def test_a_prompt_is_the_template_with_the_query_and_the_slots_in_their_places() -> None:
    tokenizer = word_tokenizer(VOCABULARY)
    batch = synthetic_batch(BatchShape(groups=2, candidates=2, vocabulary=VOCABULARY), 0)
    rows = ReferenceCollator(PromptConfig(), tokenizer)(batch)
    assert rows.prompt_BM.shape == (4, 95)
    for g, task in enumerate(batch.task_G.tolist()):
        template = PromptConfig().search if task == Behaviour.SEARCH else PromptConfig().recommendation
        expected: list[int] = []
        for name in re.findall(r"[^\s{}]+", template):
            if name == "query":
                expected += batch.query_GQ[g][batch.query_GQ[g] != 0].tolist()
            else:
                expected.append(-1 - SLOTS.index(name) if name in SLOTS else tokenizer.vocabulary[name])
        assert tokenizer.vocabulary["<unk>"] not in expected
        for row in (2 * g, 2 * g + 1):
            assert rows.prompt_BM[row].tolist() == expected + [0] * (95 - len(expected))


def test_what_the_baseline_cannot_do_is_refused() -> None:
    tokenizer = word_tokenizer(VOCABULARY)
    batch = synthetic_batch(BatchShape(groups=2, candidates=2, vocabulary=VOCABULARY), 0)
    with pytest.raises(InputError, match="tokens, 9 fit"):
        ReferenceCollator(PromptConfig(), tokenizer, width=9)(batch)
    for switch in ("soft_filter", "history_match", "match", "term_match", "query_evidence", "history_evidence"):
        model = GenSR.build(ModelConfig(backbone="nano", **{switch: False}), tokenizer, CF_WIDTH)
        with pytest.raises(ValueError, match="no ablations"):
            ReferenceGenSR(model)


def test_backbones_have_the_sizes_of_flan_t5() -> None:
    assert BACKBONES["flan-t5-small"] == "small"
    assert BACKBONES["flan-t5-base"] == "base"
