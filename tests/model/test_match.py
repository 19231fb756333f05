"""Match towers against their equation, written as loops in float64, alone and within the model.

Dimensions: G groups, C candidates, U items of the batch, E width of a CF vector, D width of the backbone, H of
the towers.
"""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.match import Match, MatchTowers
from tests.model.builders import CF_WIDTH, groups_of, random_batch, tiny_model, widened

HISTORY_CF, HISTORY_TEXT = 0, 1  # places in prompt.SLOTS
Arguments = tuple[tuple[Tensor, Tensor], Tensor, tuple[Tensor, Tensor], Tensor]


def towers(seed: int, E: int, D: int) -> MatchTowers:
    """Towers that have learnt: no two weights are alike."""
    torch.manual_seed(seed)
    made = MatchTowers(E, D).double()
    for weight in made.parameters():
        torch.nn.init.normal_(weight)
    return made


def arguments(seed: int, G: int, C: int, U: int, E: int, D: int) -> Arguments:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    candidate_GC = torch.randint(0, U, (G, C), generator=generator)
    return (drawn(G, E), drawn(G, D)), drawn(G, D), (drawn(U, E), drawn(U, D)), candidate_GC


def both(
    match: MatchTowers, user: tuple[Tensor, Tensor], query_GD: Tensor, item: tuple[Tensor, Tensor], candidate_GC: Tensor
) -> tuple[Match, Tensor]:
    """The towers' vectors and products, as the model computes them."""
    return match(match.users(user, query_GD), match.items(item), candidate_GC)


def reference(
    match: MatchTowers, user: tuple[Tensor, Tensor], query_GD: Tensor, item: tuple[Tensor, Tensor], candidate_GC: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """User vectors, item vectors and products, one group and one candidate at a time."""
    users, items, products = [], [], []
    for g, candidate_C in enumerate(candidate_GC.tolist()):
        users.append(match.user.weight @ torch.cat([view[g] for view in user]) + match.query.weight @ query_GD[g])
        for slot in candidate_C:
            items.append(match.item.weight @ torch.cat([view[slot] for view in item]))
            products.append(match.product.weight @ (users[-1] * items[-1]))
    shape = (*candidate_GC.shape, -1)
    return torch.stack(users), torch.stack(items).view(shape), torch.stack(products).view(shape)


SHAPES = {
    "seed": st.integers(0, 10_000),
    "G": st.integers(1, 4),
    "C": st.integers(1, 4),
    "U": st.integers(1, 6),
    "E": st.integers(1, 5),
    "D": st.integers(1, 6),
}


@settings(max_examples=30)
@given(**SHAPES)
def test_towers_and_product_are_those_of_the_equation(seed: int, G: int, C: int, U: int, E: int, D: int) -> None:
    match, given_ = towers(seed, E, D), arguments(seed, G, C, U, E, D)
    vectors, product_GCD = both(match, *given_)
    actual, expected = (vectors.user_GH, vectors.item_GCH, product_GCD), reference(match, *given_)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    single = both(match.float(), *_float(given_))
    for one, other in zip((*single[0], single[1]), expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


@settings(max_examples=15)
@given(**SHAPES)
def test_gradients_are_those_of_the_equation(seed: int, G: int, C: int, U: int, E: int, D: int) -> None:
    match = towers(seed, E, D)
    user, query_GD, item, candidate_GC = arguments(seed, G, C, U, E, D)
    variables = [*user, query_GD, *item, *match.parameters()]
    for variable in variables:
        variable.requires_grad_()
    found, product_GCD = both(match, user, query_GD, item, candidate_GC)
    outputs = [
        (found.user_GH, found.item_GCH, product_GCD),
        reference(match, user, query_GD, item, candidate_GC),
    ]
    weight = [torch.randn_like(output) for output in outputs[0]]
    gradients = [
        torch.autograd.grad(sum((o * w).sum() for o, w in zip(output, weight, strict=True)), variables)
        for output in outputs
    ]
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


def test_both_towers_begin_alike_and_are_free_afterwards() -> None:
    torch.manual_seed(0)
    match = MatchTowers(3, 5)
    assert match.item.weight.abs().min() > 0
    assert torch.equal(match.user.weight, match.item.weight)
    assert torch.equal(match.query.weight, match.item.weight[:, 3:])
    weights = match.item.weight, match.user.weight, match.query.weight
    before = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.SGD(match.parameters(), lr=1.0)
    (0.5 * match.user.weight.sum() + 2.0 * match.query.weight.sum()).backward()
    optimizer.step()
    for weight, was, moved in zip(weights, before, (0.0, 0.5, 2.0), strict=True):
        torch.testing.assert_close(weight.detach(), was - moved)


def test_the_product_is_a_likeness_before_anything_is_learnt() -> None:
    """Users whose mean, or query, is an item's vector are nearest to that item among others as large."""
    torch.manual_seed(0)
    match, U, E, D = MatchTowers(8, 32), 20, 8, 32
    item = torch.randn(U, E), torch.randn(U, D)
    everything_UC = torch.arange(U).expand(U, U)
    by_history, _ = both(match, item, torch.zeros(U, D), item, everything_UC)
    assert torch.equal(by_history.user_GH, by_history.item_GCH[0])
    nothing = torch.zeros(U, E), torch.zeros(U, D)
    by_query, _ = both(match, nothing, item[1], (nothing[0], item[1]), everything_UC)
    for found in (by_history, by_query):
        cosine_UU = torch.cosine_similarity(found.user_GH[:, None], found.item_GCH, dim=2)
        assert torch.equal(cosine_UU.argmax(1), torch.arange(U))
        torch.testing.assert_close(cosine_UU.diagonal(), torch.ones(U))


# Within the model.


def learnt_model(**changes: object) -> GenSR:
    """A float64 model whose towers have left each other."""
    model = tiny_model(**changes).double()
    assert model.match is not None
    for weight in model.match.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def seen(model: GenSR, batch: Batch) -> tuple[Match, Tensor, dict[str, Tensor]]:
    """The towers' vectors, the slots that T5 is told [G, C, X, D], and the encoded histories of both views."""
    slots: list[Tensor] = []
    encoded: dict[str, Tensor] = {}
    whole, hooks = model._answer, []
    for name in ("cf_history", "semantic_history"):
        module = getattr(model, name)
        hooks.append(module.register_forward_hook(lambda _m, _i, output, name=name: encoded.update({name: output})))
    model._answer = lambda *given_: (slots.append(given_[2]), whole(*given_))[1]  # type: ignore[method-assign]
    try:
        output = model(model.inputs(batch))
    finally:
        del model._answer  # type: ignore[method-assign]
        for hook in hooks:
            hook.remove()
    assert output.match is not None
    return output.match, slots[0], encoded


def mean_token(model: GenSR, tokens: Iterable[int]) -> Tensor:
    """Mean embedding of the tokens that are not padding."""
    table_VD = model.token_embeddings()
    kept = [table_VD[token] for token in tokens if token]
    return torch.stack(kept).mean(0) if kept else torch.zeros_like(table_VD[0])


def with_one_empty_history(batch: Batch) -> Batch:
    first = torch.tensor([0])
    return replace(
        batch,
        history_GL=batch.history_GL.index_fill(0, first, 0),
        behaviour_GL=batch.behaviour_GL.index_fill(0, first, 0),
    )


@pytest.mark.parametrize("history", ["tokens", "pooled"])
@pytest.mark.parametrize("views", [(True, True), (False, True), (True, False)])
@torch.no_grad()
def test_the_model_matches_means_of_histories_and_queries_with_items(history: str, views: tuple[bool, bool]) -> None:
    model = learnt_model(semantic_history=history, cf_view=views[0], semantic_view=views[1])
    match, scale = model.match, 2.5
    assert match is not None
    model.shape = replace(model.shape, cf_scale=scale)
    batch = with_one_empty_history(random_batch(5, groups=6))
    found, slot_GCXD, encoded = seen(model, batch)
    product_DD = match.product.weight.clone()
    match.product.weight.zero_()
    _, without_GCXD, _ = seen(model, batch)
    assert {*batch.task_G.tolist()} == {Behaviour.RECOMMENDATION, Behaviour.SEARCH}
    for g in range(len(batch.row_G)):
        history_L = [slot for slot in batch.history_GL[g].tolist() if slot]
        entries = len(history_L)
        if history == "tokens":
            entries = sum(int((batch.title_UT[slot] != 0).sum()) for slot in history_L)
        means = []
        for name, width, count, visible in (
            ("cf_history", CF_WIDTH, len(history_L), views[0]),
            ("semantic_history", model.backbone.width, entries, views[1]),
        ):
            kept = [encoded[name][g, n] for n in range(count)]
            means.append(torch.stack(kept).mean(0) if kept and visible else torch.zeros(width, dtype=torch.float64))
        query_Q = batch.query_GQ[g].tolist() if batch.task_G[g] == Behaviour.SEARCH else []
        user_D = match.user.weight @ torch.cat(means) + match.query.weight @ mean_token(model, query_Q)
        torch.testing.assert_close(found.user_GH[g], user_D)
        for c, slot in enumerate(batch.candidate_GC[g].tolist()):
            cf_E, text_D = scale * batch.cf_UE[slot].double(), mean_token(model, batch.title_UT[slot].tolist())
            item_D = match.item.weight @ torch.cat([cf_E * views[0], text_D * views[1]])
            torch.testing.assert_close(found.item_GCH[g, c], item_D)
            expected_XD = torch.zeros_like(slot_GCXD[g, c])
            expected_XD[HISTORY_CF if views[0] else HISTORY_TEXT] = product_DD @ (user_D * item_D)
            torch.testing.assert_close(slot_GCXD[g, c] - without_GCXD[g, c], expected_XD)


@torch.no_grad()
def test_who_has_no_history_is_known_by_the_query_alone() -> None:
    model = learnt_model()
    assert model.match is not None
    batch = random_batch(5, groups=6)
    batch = replace(batch, history_GL=0 * batch.history_GL, behaviour_GL=0 * batch.behaviour_GL)
    found, _, _ = seen(model, batch)
    asks_G = (batch.task_G == Behaviour.SEARCH) & (batch.query_GQ != 0).any(1)
    assert 0 < asks_G.sum() < len(asks_G)
    assert (found.user_GH[~asks_G] == 0).all()
    for g in asks_G.nonzero().flatten().tolist():
        expected_D = model.match.query.weight @ mean_token(model, batch.query_GQ[g].tolist())
        torch.testing.assert_close(found.user_GH[g], expected_D)


@pytest.mark.parametrize("hidden", ["cf_view", "semantic_view"])
def test_a_hidden_view_reaches_neither_towers_nor_slots_nor_scores(hidden: str) -> None:
    model = learnt_model(**{hidden: False})
    assert model.match is not None
    batch = random_batch(5, groups=6)
    title_UT = torch.where(batch.title_UT == 0, 0, 13 + (batch.title_UT + 7) % 200)
    changed = {"cf_view": {"cf_UE": batch.cf_UE.roll(1, 1)}, "semantic_view": {"title_UT": title_UT}}[hidden]
    with torch.no_grad():
        one, other = (seen(model, b)[0] for b in (batch, replace(batch, **changed)))
        for vectors, others in zip(one, other, strict=True):
            torch.testing.assert_close(vectors, others, rtol=0, atol=0)
        assert torch.equal(model.score(batch), model.score(replace(batch, **changed)))
    output = model(model.inputs(batch))
    (output.nll_GC.sum() + sum(vectors.square().sum() for vectors in output.match or ())).backward()
    columns = slice(None, CF_WIDTH) if hidden == "cf_view" else slice(CF_WIDTH, None)
    for tower in (model.match.user, model.match.item):
        assert tower.weight.grad is not None
        assert (tower.weight.grad[:, columns] == 0).all()
        assert tower.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("views", [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("scoring", ["joint", "shared"])
@torch.no_grad()
def test_t5_is_told_of_the_product_in_a_view_that_it_sees(scoring: str, views: tuple[bool, bool]) -> None:
    model, batch = learnt_model(scoring=scoring, cf_view=views[0], semantic_view=views[1]), random_batch(5, groups=6)
    assert model.match is not None
    vectors, _, _ = seen(model, batch)
    there_GC = (vectors.user_GH[:, None] * vectors.item_GCH != 0).any(2)
    score_GC = model.score(batch)
    model.match.product.weight.zero_()
    assert torch.equal((model.score(batch) - score_GC).abs() > 1e-7, there_GC)
    assert there_GC.float().mean() > 0.5


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), groups=st.integers(2, 5), history=st.integers(1, 6), title=st.integers(1, 4))
@torch.no_grad()
def test_vectors_of_a_group_do_not_depend_on_the_rest_of_the_batch(
    seed: int, groups: int, history: int, title: int
) -> None:
    model = learnt_model()
    batch = random_batch(seed, groups=groups, history=history, title=title, padded_candidates=True)
    whole = model(model.inputs(batch)).match
    wider = widened(batch)
    for vectors, expected in zip(model(model.inputs(wider)).match, whole, strict=True):
        torch.testing.assert_close(vectors, expected)
    for g in range(groups):
        alone = model(model.inputs(groups_of(batch, [g]))).match
        for vectors, expected in zip(alone, whole, strict=True):
            torch.testing.assert_close(vectors[0], expected[g])


@torch.no_grad()
def test_vectors_of_both_towers_can_be_had_without_candidates() -> None:
    """What candidate generation indexes and asks is what training aligned."""
    model = learnt_model()
    model.shape = replace(model.shape, cf_scale=2.5)
    batch = with_one_empty_history(random_batch(5, groups=6))
    found = model(model.inputs(batch)).match
    torch.testing.assert_close(model.match_users(model.inputs(batch)), found.user_GH)
    no_candidate = replace(
        batch, candidate_GC=0 * batch.candidate_GC[:, :1], label_GC=torch.full_like(batch.label_GC[:, :1], IGNORED)
    )
    torch.testing.assert_close(model.match_users(model.inputs(no_candidate)), found.user_GH)
    item_UH = model.match_items(batch.cf_UE, batch.title_UT)
    torch.testing.assert_close(item_UH[batch.candidate_GC], found.item_GCH)


def test_without_towers_there_is_nothing_of_them() -> None:
    with_towers, without = tiny_model(), tiny_model(match=False)
    batch = random_batch(5)
    assert without(without.inputs(batch)).match is None
    assert with_towers.state_dict().keys() - without.state_dict().keys() == {
        f"match.{name}.weight" for name in ("item", "user", "query", "product")
    }
    assert without.state_dict().keys() < with_towers.state_dict().keys()


def _float(given_: Arguments) -> Arguments:
    (user_cf, user_text), query_GD, (item_cf, item_text), candidate_GC = given_
    return (user_cf.float(), user_text.float()), query_GD.float(), (item_cf.float(), item_text.float()), candidate_GC
