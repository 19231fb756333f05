"""The whole model: scores, ablations, building.

Dimensions: G groups, C candidates, U items of the batch, E width of a CF vector.
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from torch import Tensor

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError
from gensr_dist.model.config import Likelihood
from gensr_dist.model.gensr import GenSR, GenSROutput
from tests.model.builders import (
    CF_WIDTH,
    corpus_tokenizer,
    groups_of,
    random_batch,
    tiny_config,
    tiny_model,
    widened,
)

SCORINGS = pytest.mark.parametrize("scoring", ["joint", "shared"])


@pytest.fixture(scope="module")
def model() -> GenSR:
    return tiny_model()


@functools.cache
def cached_model(scoring: str) -> GenSR:
    return tiny_model(scoring=scoring)


def answered(model: GenSR, batch: Batch) -> GenSROutput:
    return model(model.inputs(batch))


def logits(model: GenSR, batch_seed: int = 0) -> tuple[Tensor, GenSROutput]:
    """Full-vocabulary logits of the answer, caught where the head makes them."""
    caught: list[Tensor] = []
    hook = model.backbone.t5.lm_head.register_forward_hook(lambda _m, _i, output: caught.append(output))
    with torch.no_grad():
        output = answered(model, random_batch(batch_seed, padded_candidates=True))
    hook.remove()
    return caught[0], output


@SCORINGS
def test_score_is_the_full_softmax_restricted_to_the_two_answers(scoring: str) -> None:
    model = tiny_model(scoring=scoring)
    logit_GCV, _ = logits(model)
    probability_GCV = logit_GCV.double().softmax(-1)
    ids = corpus_tokenizer().encode("Yes No")
    yes_GC, no_GC = probability_GCV[..., ids[0]], probability_GCV[..., ids[1]]
    with torch.no_grad():
        score_GC = model.score(random_batch(0, padded_candidates=True))
    torch.testing.assert_close(score_GC.double(), yes_GC / (yes_GC + no_GC), rtol=1e-5, atol=1e-6)
    assert score_GC.std() > 1e-4


def test_likelihood_is_over_the_whole_vocabulary_and_zero_for_padded_candidates(model: GenSR) -> None:
    logit_GCV, output = logits(model)
    batch = random_batch(0, padded_candidates=True)
    yes, no = corpus_tokenizer().encode("Yes No")
    log_probability_GCV = logit_GCV.double().log_softmax(-1)
    assert (batch.label_GC == IGNORED).any()
    for g, c in torch.cartesian_prod(*map(torch.arange, batch.label_GC.shape)).tolist():
        label = batch.label_GC[g, c].item()
        expected = 0.0 if label == IGNORED else -log_probability_GCV[g, c, yes if label else no].item()
        assert output.nll_GC[g, c].item() == pytest.approx(expected, rel=1e-5)


def test_likelihood_of_the_answers_is_that_of_the_score(model: GenSR) -> None:
    batch = random_batch(0, padded_candidates=True)
    with torch.no_grad():
        score_GC = model.score(batch).double()
        output = model(model.inputs(batch), "answers")
    right_GC = torch.where(batch.label_GC == 1, score_GC, 1 - score_GC)
    expected_GC = torch.where(batch.label_GC == IGNORED, 0.0, -right_GC.log())
    torch.testing.assert_close(output.nll_GC.double(), expected_GC, rtol=1e-4, atol=1e-6)
    assert {*batch.label_GC.flatten().tolist()} == {IGNORED, 0, 1}


@pytest.mark.parametrize("likelihood", ["vocabulary", "answers"])
def test_only_the_whole_vocabulary_pulls_at_words_that_no_text_holds(likelihood: Likelihood) -> None:
    model = tiny_model()
    inputs = model.inputs(random_batch(0), training=True)
    model(inputs, likelihood).nll_GC.sum().backward()
    table_VD = model.token_embeddings()
    unseen_V = torch.ones(len(table_VD), dtype=torch.bool)
    unseen_V[inputs.token_W] = unseen_V[model.answers] = False
    pulled_V = (table_VD.grad != 0).any(1)
    assert unseen_V.any()
    assert (pulled_V[unseen_V] == (likelihood == "vocabulary")).all()
    assert pulled_V[model.answers].all()


@SCORINGS
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10_000),
    groups=st.integers(2, 4),
    candidates=st.integers(2, 4),
    history=st.integers(1, 6),
    title=st.integers(1, 4),
)
@torch.no_grad()
def test_scores_do_not_depend_on_the_rest_of_the_batch(
    scoring: str, seed: int, groups: int, candidates: int, history: int, title: int
) -> None:
    model = cached_model(scoring)
    batch = random_batch(seed, groups=groups, candidates=candidates, history=history, title=title)
    whole_GC = model.score(batch)
    assert torch.isfinite(whole_GC).all()
    for g in range(groups):
        alone = groups_of(batch, [g])
        torch.testing.assert_close(model.score(alone)[0], whole_GC[g], rtol=1e-4, atol=1e-6)
        names = ("candidate_GC", "label_GC", "query_evidence_GCF", "history_evidence_GCF")
        first = replace(alone, **{name: getattr(alone, name)[:, :1] for name in names})
        torch.testing.assert_close(model.score(first)[0], whole_GC[g, :1], rtol=1e-4, atol=1e-6)
    wider = widened(batch)
    torch.testing.assert_close(model.score(wider), whole_GC, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_query_matters_to_search_only(model: GenSR) -> None:
    batch = random_batch(5, groups=6)
    is_search_G = batch.task_G == Behaviour.SEARCH
    assert is_search_G.any()
    assert not is_search_G.all()
    query_GQ = torch.full_like(batch.query_GQ, 20)
    changed_G = (model.score(replace(batch, query_GQ=query_GQ)) - model.score(batch)).abs().amax(1) > 1e-6
    assert torch.equal(changed_G, is_search_G)


@torch.no_grad()
def test_empty_histories_titles_and_queries_score_finitely_in_value_and_gradient(model: GenSR) -> None:
    batch = random_batch(6)
    batch = replace(
        batch,
        history_GL=0 * batch.history_GL,
        behaviour_GL=0 * batch.behaviour_GL,
        title_UT=0 * batch.title_UT,
        query_GQ=0 * batch.query_GQ,
    )
    trained = copy.deepcopy(model).train()
    with torch.enable_grad():
        output = answered(trained, batch)
        vectors = (output.user_cf_GD, output.user_semantic_GD, *(output.match or ()))
        (output.nll_GC.sum() + sum(each.sum() for each in vectors)).backward()
    assert torch.isfinite(output.nll_GC).all()
    assert not output.has_history_G.any()
    assert all(torch.isfinite(p.grad).all() for p in trained.parameters() if p.grad is not None)


@torch.no_grad()
def test_a_history_whose_items_have_no_text_has_no_semantic_view() -> None:
    batch = random_batch(7)
    batch = replace(batch, title_UT=0 * batch.title_UT, history_GL=batch.history_GL.clamp_min(1))
    assert not answered(tiny_model(), batch).has_history_G.any()


def test_item_vectors_of_the_index_are_mean_token_embeddings(model: GenSR) -> None:
    title_UT = torch.tensor([[0, 0, 0], [20, 0, 0], [20, 21, 0], [22, 22, 23]])
    table_VD = model.token_embeddings()
    rows = [torch.zeros_like(table_VD[0]), table_VD[20], table_VD[[20, 21]].mean(0), table_VD[[22, 22, 23]].mean(0)]
    torch.testing.assert_close(model.item_semantic(title_UT), torch.stack(rows))


# Ablations.


def with_other_cf(batch_seed: int) -> Callable[[GenSR], Tensor]:
    batch = random_batch(batch_seed)
    cf_UE = batch.cf_UE.roll(1, 1)
    return lambda model: (model.score(replace(batch, cf_UE=cf_UE)) - model.score(batch)).abs().max()


def with_other_titles(batch_seed: int) -> Callable[[GenSR], Tensor]:
    batch = random_batch(batch_seed)
    title_UT = torch.where(batch.title_UT == 0, 0, 13 + (batch.title_UT + 7) % 200)
    return lambda model: (model.score(replace(batch, title_UT=title_UT)) - model.score(batch)).abs().max()


@SCORINGS
@torch.no_grad()
def test_each_view_acts_unless_switched_off(scoring: str) -> None:
    other_cf, other_titles = with_other_cf(1), with_other_titles(1)
    both = tiny_model(scoring=scoring)
    without_cf = tiny_model(scoring=scoring, cf_view=False)
    without_semantic = tiny_model(scoring=scoring, semantic_view=False)
    assert other_cf(both) > 1e-5
    assert other_titles(both) > 1e-5
    assert other_cf(without_cf) == 0
    assert other_titles(without_cf) > 1e-5
    assert other_cf(without_semantic) > 1e-5
    assert other_titles(without_semantic) == 0


@pytest.mark.parametrize(
    "switch",
    [
        {"cf_view": False},
        {"semantic_view": False},
        {"scoring": "joint"},
        {"semantic_history": "pooled"},
    ],
)
@torch.no_grad()
def test_switches_change_the_scores_and_not_the_weights(model: GenSR, switch: dict[str, object]) -> None:
    switched = tiny_model(**switch)
    before, after = model.state_dict(), switched.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    batch = random_batch(1)
    assert (model.score(batch) - switched.score(batch)).abs().max() > 1e-6


@torch.no_grad()
def test_without_soft_filter_the_history_is_the_same_for_every_candidate(model: GenSR) -> None:
    caught: dict[str, list[Tensor]] = {"soft": [], "mean": []}
    mean = tiny_model(soft_filter=False)
    for name, one in (("soft", model), ("mean", mean)):
        hooks = [
            view.register_forward_hook(lambda _m, _i, output, name=name: caught[name].append(output))
            for view in (one.cf_filter, one.semantic_filter)
        ]
        batch = random_batch(1)
        answered(one, replace(batch, history_GL=batch.history_GL.clamp_min(1)))
        for hook in hooks:
            hook.remove()
    for filtered_GCD in caught["mean"]:
        assert torch.equal(filtered_GCD, filtered_GCD[:, :1].expand_as(filtered_GCD))
    for filtered_GCD in caught["soft"]:
        assert not torch.allclose(filtered_GCD, filtered_GCD[:, :1].expand_as(filtered_GCD))
    removed = model.state_dict().keys() - mean.state_dict().keys()
    assert removed == {
        f"{view}_filter.{weight}_HKD" for view in ("cf", "semantic") for weight in ("query", "key", "value")
    }
    assert mean.state_dict().keys() < model.state_dict().keys()


@torch.no_grad()
def test_titles_of_one_token_make_tokens_and_pooled_histories_equal(model: GenSR) -> None:
    pooled = tiny_model(semantic_history="pooled")
    batch = random_batch(2, title=1)
    batch = replace(batch, title_UT=batch.title_UT.clamp_min(13).index_fill(0, torch.tensor(0), 0))
    torch.testing.assert_close(model.score(batch), pooled.score(batch))


@SCORINGS
@torch.no_grad()
def test_cf_scale_multiplies_the_vectors(scoring: str) -> None:
    batch = random_batch(3)
    models_ = []
    for scale in (1.0, 2.5):
        torch.manual_seed(0)
        models_.append(GenSR.build(tiny_config(scoring=scoring), corpus_tokenizer(), CF_WIDTH, scale).eval())
    torch.testing.assert_close(models_[0].score(replace(batch, cf_UE=2.5 * batch.cf_UE)), models_[1].score(batch))


# Building.


def test_weights_do_not_grow_with_the_catalogue(model: GenSR) -> None:
    small, large = random_batch(0, items=5), random_batch(0, items=500)
    weights = sum(tensor.numel() for tensor in model.state_dict().values())
    for batch in (small, large):
        assert model.score(batch).shape == batch.candidate_GC.shape
        assert sum(tensor.numel() for tensor in model.state_dict().values()) == weights


def test_the_seed_decides_the_weights_and_the_dropout() -> None:
    def train_once(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = GenSR.build(tiny_config(), corpus_tokenizer(), CF_WIDTH).train()
        output = answered(model, random_batch(0))
        output.nll_GC.sum().backward()
        return model.cf_projection.weight.grad

    assert torch.equal(train_once(3), train_once(3))
    assert not torch.allclose(train_once(3), train_once(4))


def test_every_weight_learns(model: GenSR) -> None:
    trained = copy.deepcopy(model)
    batch = random_batch(1, groups=6)
    one_empty = batch.history_GL.index_fill(0, torch.tensor(0), 0)
    output = answered(trained, replace(batch, history_GL=one_empty))
    (output.nll_GC.sum() + output.user_cf_GD.square().sum() + output.user_semantic_GD.square().sum()).backward()
    idle = {name for name, p in trained.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    # One decoded position attends to itself alone: its self attention has no use for queries, keys and distances.
    attention = "backbone.t5.decoder.block.{}.layer.0.SelfAttention.{}.weight"
    expected = {attention.format(layer, weight) for layer in (0, 1) for weight in "qk"}
    assert idle == expected | {attention.format(0, "relative_attention_bias")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cf_heads": 3}, "model.cf_heads: 3 heads do not divide a width of 8"),
        ({"semantic_heads": 3}, "model.semantic_heads: 3 heads do not divide a width of 128"),
    ],
)
def test_heads_that_do_not_divide_are_an_error(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as error:
        GenSR.build(tiny_config(**changes), corpus_tokenizer(), CF_WIDTH)
    assert str(error.value).startswith(message)


def test_a_tokenizer_that_cannot_tell_the_answers_apart_is_an_error() -> None:
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    with pytest.raises(InputError, match=r"^data\.tokenizer: its first tokens of 'Yes' and 'No' are the same; "):
        GenSR.build(tiny_config(), TextTokenizer({"tokenizer.json": words.to_str().encode()}), CF_WIDTH)


@SCORINGS
@torch.no_grad()
def test_bf16_is_finite_and_near(scoring: str) -> None:
    batch = random_batch(1)
    model = tiny_model(scoring=scoring)
    expected = model.score(batch)
    half = model.bfloat16()
    output = answered(half, batch)
    assert output.match is not None
    found = (output.nll_GC, output.user_cf_GD, output.user_semantic_GD, *output.match)
    assert all(torch.isfinite(tensor).all() for tensor in found)
    torch.testing.assert_close(half.score(batch), expected, rtol=0.1, atol=0.1)


@SCORINGS
@torch.no_grad()
def test_bf16_tells_candidates_apart(scoring: str) -> None:
    model, batch = tiny_model(scoring=scoring), random_batch(1, groups=6, candidates=100, items=400)
    full = model(model.inputs(batch), "answers").yes_log_odds_GC
    half = model.bfloat16()(model.inputs(batch), "answers").yes_log_odds_GC
    assert half.dtype == torch.float32
    for full_C, half_C in zip(full, half, strict=True):
        assert len(half_C.unique()) >= 0.95 * len(full_C.unique())


@SCORINGS
@pytest.mark.parametrize("task", list(Behaviour))
@torch.no_grad()
def test_groups_share_nothing_of_what_dropout_leaves(scoring: str, task: Behaviour) -> None:
    """The mean of equal groups varies over passes as that of independent ones: by 1/G of the variance of one."""
    model = tiny_model(scoring=scoring, dropout=0.1).train()
    batch = random_batch(4, groups=12)
    chosen = int(((batch.task_G == task) & (batch.history_GL != 0).any(1)).nonzero()[0])
    equal = groups_of(batch, [chosen] * 64)
    inputs = model.inputs(equal, training=True)
    torch.manual_seed(0)
    log_odds_RG = torch.stack([model(inputs, "answers").yes_log_odds_GC[:, 0] for _ in range(30)])
    assert log_odds_RG.var(1).mean() > 0
    assert log_odds_RG.mean(1).var() * 64 / log_odds_RG.var(1).mean() < 3
