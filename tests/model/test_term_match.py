"""Late interaction against loops in float64: groups, candidates, query tokens, title tokens; and within the model.

Dimensions: Z searching groups, C candidates, Q query tokens, T title tokens, W tokens of the batch, A of the queries,
K width of the comparison, D width of the backbone.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gensr_dist.data.events import Behaviour
from gensr_dist.model.term_match import HEADS, TermMatch
from tests.model.builders import corpus_tokenizer, groups_of, random_batch, texts_told, tiny_model

WIDTH = 6


def term_match(seed: int) -> TermMatch:
    """One whose heads weigh tokens unlike each other."""
    torch.manual_seed(seed)
    made = TermMatch(WIDTH).double()
    torch.nn.init.normal_(made.importance.weight, std=3.0)
    return made


def texts(seed: int, W: int, Z: int, Q: int, C: int, T: int) -> tuple[Tensor, list[list[int]], Tensor]:
    """Embeddings, the tokens of each query, at least one, and titles of 0 to T tokens; tokens often occur twice."""
    generator = torch.Generator().manual_seed(seed)
    token_WD = torch.randn(W, WIDTH, generator=generator, dtype=torch.float64)

    def drawn(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    queries = [drawn(1, W, int(drawn(1, Q + 1))).tolist() for _ in range(Z)]
    title_ZCT = drawn(1, W, Z, C, T) * (torch.arange(T) < drawn(0, T + 1, Z, C, 1))
    return token_WD, queries, title_ZCT


def weights(token_WD: Tensor) -> Tensor:
    """Of tokens in a text; the first one that is no padding weighs nothing."""
    return torch.linspace(-0.5, 3, len(token_WD), dtype=token_WD.dtype).clamp_min(0)


def numbered(queries: list[list[int]], Q: int) -> tuple[Tensor, Tensor]:
    """`term_A` and `query_ZQ`."""
    term = [0, *sorted({token for query in queries for token in query})]
    rows = [[term.index(token) for token in query] + [0] * (Q - len(query)) for query in queries]
    return torch.tensor(term), torch.tensor(rows, dtype=torch.int64).view(len(queries), Q)


def reference(terms: TermMatch, token_WD: Tensor, queries: list[list[int]], title_ZCT: Tensor) -> Tensor:
    def likeness(one: int, other: int) -> Tensor:
        a_K, b_K = terms.projection.weight @ token_WD[one], terms.projection.weight @ token_WD[other]
        return a_K @ b_K / (a_K.norm() * b_K.norm())

    idf_W = weights(token_WD).clamp_min(1e-3)
    found = []
    for query, title_CT in zip(queries, title_ZCT.tolist(), strict=True):
        unit_QK = [terms.projection.weight @ token_WD[token] for token in query]
        logit_QH = torch.stack(
            [
                terms.importance.weight @ (unit_K / unit_K.norm()) + idf_W[token].log()
                for token, unit_K in zip(query, unit_QK, strict=True)
            ]
        )
        for title_T in title_CT:
            best = []
            for token in query:
                likes = [likeness(token, other) for other in title_T if other]
                best.append(torch.stack(likes).max() if likes else token_WD.new_tensor(-1.0))
            heads = [
                sum(weight * like for weight, like in zip(logit_Q.softmax(0), best, strict=True))
                for logit_Q in logit_QH.T
            ]
            found.append(terms.out.weight @ torch.stack([*heads, torch.stack(best).min()]))
    return torch.stack(found).view(*title_ZCT.shape[:2], WIDTH)


SHAPES = {
    "seed": st.integers(0, 10_000),
    "W": st.integers(2, 8),
    "Z": st.integers(1, 3),
    "Q": st.integers(1, 4),
    "C": st.integers(1, 3),
    "T": st.integers(1, 4),
}


@settings(max_examples=40)
@given(**SHAPES)
def test_matches_the_loops(seed: int, W: int, Z: int, Q: int, C: int, T: int) -> None:
    terms = term_match(seed)
    token_WD, queries, title_ZCT = texts(seed, W, Z, Q, C, T)
    expected = reference(terms, token_WD, queries, title_ZCT)
    torch.testing.assert_close(
        terms(token_WD, weights(token_WD), *numbered(queries, Q), title_ZCT), expected, rtol=1e-10, atol=1e-10
    )
    single = terms.float()(token_WD.float(), weights(token_WD.float()), *numbered(queries, Q), title_ZCT)
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(**SHAPES)
def test_gradients_match_the_loops(seed: int, W: int, Z: int, Q: int, C: int, T: int) -> None:
    terms = term_match(seed)
    token_WD, queries, title_ZCT = texts(seed, W, Z, Q, C, T)
    variables = [token_WD.requires_grad_(), *terms.parameters()]
    outputs = [
        terms(token_WD, weights(token_WD), *numbered(queries, Q), title_ZCT),
        reference(terms, token_WD, queries, title_ZCT),
    ]
    weight_ZCD = torch.randn_like(outputs[0])
    gradients = [
        torch.autograd.grad((output * weight_ZCD).sum(), variables, allow_unused=True, materialize_grads=True)
        for output in outputs
    ]
    for actual, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    assert (gradients[0][0][0] == 0).all(), "of the padding's embedding"


@settings(max_examples=20)
@given(more=st.integers(1, 3), **SHAPES)
@torch.no_grad()
def test_padding_has_no_influence(seed: int, W: int, Z: int, Q: int, C: int, T: int, more: int) -> None:
    terms = term_match(seed)
    token_WD, queries, title_ZCT = texts(seed, W, Z, Q, C, T)
    expected = terms(token_WD, weights(token_WD), *numbered(queries, Q), title_ZCT)
    for padding_D in (1e3 * token_WD[0], 0 * token_WD[0], token_WD[1]):  # also one that is like a word
        other_WD = torch.cat([padding_D[None], token_WD[1:]])
        assert torch.equal(terms(other_WD, weights(other_WD), *numbered(queries, Q), title_ZCT), expected)
    wider_ZCT = torch.nn.functional.pad(title_ZCT, (0, more))
    torch.testing.assert_close(terms(token_WD, weights(token_WD), *numbered(queries, Q + more), wider_ZCT), expected)
    apart_ZCT = torch.nn.functional.pad(title_ZCT, (more, 0))
    torch.testing.assert_close(terms(token_WD, weights(token_WD), *numbered(queries, Q), apart_ZCT), expected)


def features(terms: TermMatch) -> TermMatch:
    """With the features themselves as the result: the match as each head sees it, and the worst one."""
    terms.out.weight = torch.nn.Parameter(torch.eye(HEADS + 1, dtype=torch.float64))
    return terms


@torch.no_grad()
def test_equal_tokens_have_likeness_one_before_anything_is_learnt() -> None:
    torch.manual_seed(0)
    terms = features(TermMatch(WIDTH).double())
    token_WD = torch.randn(9, WIDTH, dtype=torch.float64)
    titles = torch.tensor([[[4, 2, 3], [3, 2, 0], [4, 0, 0], [0, 0, 0]]])
    found_CF = terms(token_WD, weights(token_WD), *numbered([[2, 3]], 3), titles)[0]
    torch.testing.assert_close(found_CF[:2], torch.ones(2, HEADS + 1, dtype=torch.float64))
    assert (found_CF[2] < 1 - 1e-3).all()
    torch.testing.assert_close(found_CF[3], torch.full((HEADS + 1,), -1.0, dtype=torch.float64))


@torch.no_grad()
def test_one_missing_word_shows_in_the_worst_match_and_as_much_as_a_head_minds_it() -> None:
    terms = features(term_match(1))
    token_WD = torch.randn(9, WIDTH, dtype=torch.float64)
    queries = [[2, 3]]
    whole_F, missing_F = terms(token_WD, weights(token_WD), *numbered(queries, 2), torch.tensor([[[2, 3], [2, 4]]]))[0]
    torch.testing.assert_close(whole_F, torch.ones_like(whole_F))
    unit_WK = torch.nn.functional.normalize(token_WD @ terms.projection.weight.T, dim=1)
    like = max(unit_WK[3] @ unit_WK[2], unit_WK[3] @ unit_WK[4])
    idf_2 = weights(token_WD)[[2, 3]]
    weight_H = (unit_WK[[2, 3]] @ terms.importance.weight.T + idf_2.log()[:, None]).softmax(0)[1]
    torch.testing.assert_close(missing_F, torch.cat([1 - weight_H * (1 - like), like[None]]))
    assert weight_H.std() > 0.01


def test_an_empty_title_gives_its_tokens_no_gradient() -> None:
    terms = term_match(2)
    token_WD = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    found_ZCD = terms(token_WD, weights(token_WD), *numbered([[1, 2]], 2), torch.zeros(1, 2, 3, dtype=torch.int64))
    found_ZCD.sum().backward()
    assert token_WD.grad is not None
    torch.testing.assert_close(token_WD.grad, torch.zeros_like(token_WD), rtol=0, atol=1e-12)
    torch.testing.assert_close(found_ZCD, -terms.out.weight.sum(1).expand_as(found_ZCD))


def test_without_a_search_all_weights_have_gradients_of_zero() -> None:
    """Ranks average gradients of the same weights, whichever rank has a search."""
    terms = term_match(3)
    token_WD = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    found_ZCD = terms(token_WD, weights(token_WD), *numbered([], 4), torch.zeros(0, 3, 2, dtype=torch.int64))
    assert found_ZCD.shape == (0, 3, WIDTH)
    found_ZCD.sum().backward()
    for tensor in (token_WD, *terms.parameters()):
        assert tensor.grad is not None
        assert (tensor.grad == 0).all()


# Within the model.


@pytest.mark.parametrize("scoring", ["joint", "shared"])
def test_with_and_without_searches_the_same_weights_have_gradients(scoring: str) -> None:
    model = tiny_model(scoring=scoring)
    assert model.term_match is not None
    assert model.match is not None
    mixed = random_batch(5, groups=4)
    alone = replace(mixed, task_G=torch.full_like(mixed.task_G, Behaviour.RECOMMENDATION))
    names = []
    for batch, searches in ((mixed, True), (alone, False)):
        model.zero_grad()
        inputs = model.inputs(batch)
        assert (len(inputs.searching_Z) > 0) is searches
        model(inputs).nll_GC.sum().backward()
        names.append({name for name, weight in model.named_parameters() if weight.grad is not None})
        for weight in (*model.term_match.parameters(), model.match.query.weight):
            assert weight.grad is not None
            assert bool((weight.grad != 0).any()) is searches
    assert names[0] == names[1]


@torch.no_grad()
def test_searching_groups_are_told_which_words_their_candidates_have() -> None:
    model = tiny_model(query_evidence=False).double()
    terms = model.term_match
    assert terms is not None
    batch = random_batch(5, groups=8, candidates=3)
    told_GCD = texts_told(model, batch)
    searching = [
        g for g in range(len(batch.row_G)) if batch.task_G[g] == Behaviour.SEARCH and any(batch.query_GQ[g].tolist())
    ]
    assert 1 < len(searching) < int((batch.task_G == Behaviour.SEARCH).sum()), "a search without words, too"
    queries = [[token for token in batch.query_GQ[g].tolist() if token] for g in searching]
    title_ZCT = batch.title_UT[batch.candidate_GC[searching]]
    expected_GCD = model.item_semantic(batch.title_UT)[batch.candidate_GC]
    found_ZCD = terms(
        model.token_embeddings(), model.token_idf_V, *numbered(queries, batch.query_GQ.shape[1]), title_ZCT
    )
    expected_GCD[searching] += found_ZCD
    torch.testing.assert_close(told_GCD, expected_GCD)
    assert (found_ZCD.norm(dim=2) > 0.01).all()


@torch.no_grad()
def test_a_query_of_one_word_that_the_tokenizer_does_not_know() -> None:
    model, unknown = tiny_model(query_evidence=False).double(), corpus_tokenizer().vocabulary["<unk>"]
    assert unknown
    batch = random_batch(5, groups=4)
    query_GQ = torch.zeros_like(batch.query_GQ)
    query_GQ[:, 0] = unknown
    task_G = torch.full_like(batch.task_G, Behaviour.SEARCH)
    batch = replace(batch, task_G=task_G, query_GQ=query_GQ)
    assert model.inputs(batch).searching_Z.tolist() == [0, 1, 2, 3]
    assert torch.isfinite(model.score(batch)).all()
    titled = replace(batch, title_UT=torch.full_like(batch.title_UT, unknown).index_fill(0, torch.tensor(0), 0))
    assert model.term_match is not None
    expected_D = model.token_embeddings()[unknown] + model.term_match.out.weight.sum(1)  # the same token: likeness 1
    told_GCD = texts_told(model, titled)
    torch.testing.assert_close(told_GCD, expected_D.expand_as(told_GCD))


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), groups=st.integers(2, 5), title=st.integers(1, 4), query=st.integers(1, 4))
@torch.no_grad()
def test_what_a_group_is_told_does_not_depend_on_the_rest_of_the_batch(
    seed: int, groups: int, title: int, query: int
) -> None:
    model = tiny_model().double()
    batch = random_batch(seed, groups=groups, title=title, query=query)
    told_GCD = texts_told(model, batch)
    for g in range(groups):
        torch.testing.assert_close(texts_told(model, groups_of(batch, [g]))[0], told_GCD[g])


def test_without_it_there_are_none_of_its_weights() -> None:
    with_terms, without = tiny_model(query_evidence=False), tiny_model(term_match=False, query_evidence=False)
    assert with_terms.state_dict().keys() - without.state_dict().keys() == {
        f"term_match.{name}.weight" for name in ("projection", "importance", "out")
    }
    assert without.state_dict().keys() < with_terms.state_dict().keys()
    batch = random_batch(5, groups=8)
    told_GCD = texts_told(without, batch)
    torch.testing.assert_close(told_GCD, without.item_semantic(batch.title_UT)[batch.candidate_GC])
