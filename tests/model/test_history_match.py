"""Likeness to single interactions, against loops in float64: groups, candidates, interactions; and within the model.

Dimensions: G groups, C candidates, L history, U items of the batch (and the padding), X width of the view, D width of
the backbone, F = 4 features.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gensr_dist.data.batches.batch import Batch
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.history_match import HistoryMatch
from tests.model.builders import CF_WIDTH, corpus_tokenizer, groups_of, random_batch, tiny_model

WIDTH = 6  # D of the modules alone
HISTORY_CF, HISTORY_TEXT = 0, 1  # places in prompt.SLOTS
Batched = tuple[Tensor, Tensor, Tensor]


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Weights by age are powers in fp32."""
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def learnt(seed: int) -> HistoryMatch:
    """A module whose layers are large enough for every feature to matter."""
    torch.manual_seed(seed)
    made = HistoryMatch(WIDTH).double()
    for weight in made.parameters():
        nn.init.normal_(weight)
    return made


def likeness() -> HistoryMatch:
    """A module with the features themselves as its result."""
    made = HistoryMatch(WIDTH)
    made.layers = nn.Sequential()
    return made


def arguments(seed: int, G: int, C: int, L: int, U: int, X: int, *, empty_vectors: bool = False) -> Batched:
    """Histories of 0 to L items, few enough that they repeat and hold candidates; a padding unlike zero."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    item_UX = torch.randn(U + 1, X, generator=generator, dtype=torch.float64)
    if empty_vectors:
        item_UX[drawn(0, 2, U + 1) == 0] = 0
    history_GL = drawn(1, U + 1, G, L) * (torch.arange(L) < drawn(0, L + 1, G, 1))
    return item_UX, history_GL, drawn(1, U + 1, G, C)


def reference_likeness(item_UX: Tensor, history_GL: Tensor, candidate_GC: Tensor) -> Tensor:
    """The features, one pair at a time."""

    def cosine(one: int, other: int) -> Tensor:
        a_X, b_X = item_UX[one], item_UX[other]
        if not a_X.any() or not b_X.any():
            return item_UX.new_zeros(())
        return a_X @ b_X / (a_X.norm() * b_X.norm())

    found = []
    for history_L, candidate_C in zip(history_GL.tolist(), candidate_GC.tolist(), strict=True):
        kept = [item for item in history_L if item]
        for candidate in candidate_C:
            decayed = newest = total = item_UX.new_zeros(())
            others = []
            for age, item in enumerate(reversed(kept)):
                if item == candidate:
                    continue
                like = cosine(candidate, item)
                decayed, total = decayed + 0.85**age * like, total + like
                newest = like if age == 0 else newest
                others.append(like)
            greatest = torch.stack(others).max() if others else item_UX.new_tensor(-1.0)
            found.append(torch.stack([decayed, newest, total / max(len(kept), 1), greatest]))
    return torch.stack(found).view(*candidate_GC.shape, 4)


def reference(match: HistoryMatch, *given_: Tensor) -> Tensor:
    first, last = match.layers[0], match.layers[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    hidden = reference_likeness(*given_) @ first.weight.T + first.bias
    gated = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return gated @ last.weight.T + last.bias


SHAPES = {
    "seed": st.integers(0, 10_000),
    "G": st.integers(1, 4),
    "C": st.integers(1, 4),
    "L": st.integers(1, 7),
    "U": st.integers(1, 6),
    "X": st.integers(2, 5),
}


@settings(max_examples=40)
@given(empty_vectors=st.booleans(), **SHAPES)
@torch.no_grad()
def test_matches_the_loops(seed: int, G: int, C: int, L: int, U: int, X: int, empty_vectors: bool) -> None:
    given_ = arguments(seed, G, C, L, U, X, empty_vectors=empty_vectors)
    likeness_GCF = reference_likeness(*given_)
    assert_close(likeness()(*given_), likeness_GCF)
    match = learnt(seed)
    expected_GCD = reference(match, *given_)
    assert_close(match(*given_), expected_GCD)
    item_UX, *numbers = given_
    single_GCD = match.float()(item_UX.float(), *numbers)
    assert single_GCD.dtype == torch.float32
    torch.testing.assert_close(single_GCD.double(), expected_GCD, rtol=1e-4, atol=1e-4)


@settings(max_examples=25)
@given(**SHAPES)
def test_gradients_match_the_loops(seed: int, G: int, C: int, L: int, U: int, X: int) -> None:
    match = learnt(seed)
    item_UX, *numbers = arguments(seed, G, C, L, U, X)
    variables = [item_UX.requires_grad_(), *match.parameters()]
    outputs = [match(item_UX, *numbers), reference(match, item_UX, *numbers)]
    weight_GCD = torch.randn_like(outputs[0])
    gradients = [
        torch.autograd.grad((output * weight_GCD).sum(), variables, allow_unused=True, materialize_grads=True)
        for output in outputs
    ]
    for actual, expected in zip(*gradients, strict=True):
        assert_close(actual, expected)
    assert (gradients[0][0][0] == 0).all(), "of the padding's vector"


def test_likenesses_written_down() -> None:
    item_UX = torch.tensor([[9.0, 9.0], [2.0, 0.0], [0.0, 0.5], [3.0, 4.0], [-1.0, 0.0]], dtype=torch.float64)
    history_GL = torch.tensor([[2, 3, 1, 0], [1, 4, 1, 4], [0, 0, 0, 0]])
    found_GCF = likeness()(item_UX, history_GL, torch.tensor([[1, 3], [1, 2], [3, 4]]))
    expected_GCF = [
        [[0.85 * 0.6, 0, 0.6 / 3, 0.6], [0.6 + 0.85**2 * 0.8, 0.6, 1.4 / 3, 0.8]],
        [[-1 - 0.85**2, -1, -0.5, -1], [0, 0, 0, 0]],
        [[0, 0, 0, -1], [0, 0, 0, -1]],
    ]
    torch.testing.assert_close(found_GCF, torch.tensor(expected_GCF, dtype=torch.float64))


@settings(max_examples=25)
@given(more=st.integers(1, 3), **SHAPES)
@torch.no_grad()
def test_padding_has_no_influence(seed: int, G: int, C: int, L: int, U: int, X: int, more: int) -> None:
    match = learnt(seed)
    item_UX, history_GL, candidate_GC = arguments(seed, G, C, L, U, X)
    expected = match(item_UX, history_GL, candidate_GC)
    for padding_X in (1e3 * item_UX[0], 0 * item_UX[0], item_UX[1]):  # also one that is like an item
        other_UX = torch.cat([padding_X[None], item_UX[1:]])
        assert torch.equal(match(other_UX, history_GL, candidate_GC), expected)
    wider_GL = nn.functional.pad(history_GL, (0, more))
    torch.testing.assert_close(match(item_UX, wider_GL, candidate_GC), expected)
    padded_GC = nn.functional.pad(candidate_GC, (0, more))
    with_padded = match(item_UX, history_GL, padded_GC)
    torch.testing.assert_close(with_padded[:, :C], expected)
    assert torch.isfinite(with_padded).all()


@settings(max_examples=25)
@given(own=st.sampled_from([-1.0, 0.3, 1.0, 1e3]), **SHAPES)
@torch.no_grad()
def test_how_a_candidate_is_like_its_own_occurrences_tells_nothing(
    seed: int, G: int, C: int, L: int, U: int, X: int, own: float
) -> None:
    given_ = arguments(seed, G, C, L, U, X)
    _, history_GL, candidate_GC = given_
    own_GCL = history_GL[:, None] == candidate_GC[..., None]
    expected = likeness()(*given_)
    product = torch.bmm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "bmm", lambda a, b: product(a, b).masked_fill(own_GCL, own))
        assert torch.equal(likeness()(*given_), expected)
        patch.setattr(torch, "bmm", lambda a, b: product(a, b).masked_fill(~own_GCL, own))
        others_GC = ((history_GL != 0)[:, None] & ~own_GCL).any(2)
        assert torch.equal((likeness()(*given_) != expected).any(2), others_GC)


@torch.no_grad()
def test_a_candidates_own_occurrence_is_a_stranger_to_it() -> None:
    """Sums are those with an item at a right angle in its place, the greatest likeness that without it."""
    item_UX = torch.cat([torch.zeros(1, 8), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))]).double()
    item_UX[:, 7] = 0
    item_UX[5] = torch.eye(8)[7]
    candidate_GC = torch.tensor([[1]])
    for place in range(4):
        history_L = [2, 3, 4, 2]
        history_L[place] = 1
        own_F = likeness()(item_UX, torch.tensor([history_L]), candidate_GC)[0, 0]
        history_L[place] = 5
        stranger_F = likeness()(item_UX, torch.tensor([history_L]), candidate_GC)[0, 0]
        torch.testing.assert_close(own_F[:3], stranger_F[:3], rtol=0, atol=1e-15)
        history_L.pop(place)
        without_F = likeness()(item_UX, torch.tensor([history_L]), candidate_GC)[0, 0]
        assert own_F[3] == without_F[3] < 1 - 1e-3


# Within the model.


def learnt_model(**changes: Any) -> GenSR:
    """A float64 model whose likenesses matter and whose tokens weigh unlike each other."""
    model = tiny_model(**changes).double()
    for each in (model.cf_match, model.semantic_match):
        if each is not None:
            for weight in each.parameters():
                nn.init.normal_(weight, std=0.5)
    model.token_idf_V.uniform_(0.1, 3.0)
    return model


def batch_with_repeats(seed: int, groups: int = 6) -> Batch:
    """Histories hold candidates; the first one is empty, some titles are too."""
    batch = random_batch(seed, groups=groups, history=6, items=5)
    first = torch.tensor([0])
    batch = replace(
        batch,
        history_GL=batch.history_GL.index_fill(0, first, 0),
        behaviour_GL=batch.behaviour_GL.index_fill(0, first, 0),
    )
    own_GCL = (batch.history_GL[:, None] == batch.candidate_GC[..., None]) & (batch.history_GL != 0)[:, None]
    assert own_GCL.any()
    return batch


def slots_told(model: GenSR, batch: Batch) -> Tensor:
    """The slots that T5 is told [G, C, X, D]."""
    slots: list[Tensor] = []
    whole = GenSR._answer

    def answer(self: GenSR, *given_: Any) -> Tensor:
        slots.append(given_[2])
        return whole(self, *given_)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GenSR, "_answer", answer)
        model(model.inputs(batch))
    return slots[0]


def silenced(model: GenSR, *names: str) -> GenSR:
    """The model with modules that tell zeros."""
    for name in names:
        for weight in getattr(model, name).layers[-1].parameters():
            nn.init.zeros_(weight)
    return model


@pytest.mark.parametrize("history", ["tokens", "pooled"])
@torch.no_grad()
def test_each_view_tells_its_likenesses_in_the_slot_of_its_history(history: str) -> None:
    model = learnt_model(semantic_history=history)
    model.shape = replace(model.shape, cf_scale=2.5)
    batch = batch_with_repeats(5)
    told_GCXD = slots_told(model, batch)
    numbers = batch.history_GL, batch.candidate_GC
    assert model.cf_match is not None
    assert model.semantic_match is not None
    expected_GCXD = torch.zeros_like(told_GCXD)
    expected_GCXD[:, :, HISTORY_CF] = reference(model.cf_match, batch.cf_UE.double(), *numbers)
    expected_GCXD[:, :, HISTORY_TEXT] = reference(model.semantic_match, model.item_semantic(batch.title_UT), *numbers)
    silent_GCXD = slots_told(silenced(model, "cf_match", "semantic_match"), batch)
    assert_close(told_GCXD - silent_GCXD, expected_GCXD)
    assert (expected_GCXD[:, :, :2].std(1).mean(-1)[1:] > 0.01).any(0).all(), "candidates are told apart"


@torch.no_grad()
def test_an_own_occurrence_is_told_as_an_item_at_a_right_angle_would_be() -> None:
    model, silent = learnt_model(), silenced(learnt_model(), "cf_match", "semantic_match")
    batch = random_batch(3, groups=1, candidates=3, items=6)
    cf_UE = torch.eye(7, CF_WIDTH) + torch.eye(7, CF_WIDTH).roll(1, 1)  # neighbours have a likeness of a half
    cf_UE[0] = 0
    told = []
    for third in (2, 5):  # the first candidate, and one at a right angle to it
        planted = replace(
            batch,
            cf_UE=cf_UE,
            history_GL=torch.tensor([[1, 4, third, 3]]),
            behaviour_GL=torch.ones(1, 4, dtype=torch.int64),
            candidate_GC=torch.tensor([[2, 4, 1]]),
        )
        told.append((slots_told(model, planted) - slots_told(silent, planted))[0, :, HISTORY_CF])
    own_CD, stranger_CD = told
    torch.testing.assert_close(own_CD[0], stranger_CD[0])
    assert ((own_CD[1:] - stranger_CD[1:]).abs().amax(1) > 1e-3).all(), "others see what it was"


@pytest.mark.parametrize(
    ("hidden", "deaf", "heard"),
    [("cf_view", "cf_match", "semantic_match"), ("semantic_view", "semantic_match", "cf_match")],
)
def test_likenesses_of_a_hidden_view_have_no_influence(hidden: str, deaf: str, heard: str) -> None:
    model, batch = learnt_model(**{hidden: False}), batch_with_repeats(5)
    model(model.inputs(batch)).nll_GC.sum().backward()
    assert all((weight.grad == 0).all() for weight in getattr(model, deaf).parameters())  # not None: ranks agree
    assert all(weight.grad.abs().sum() > 0 for weight in getattr(model, heard).parameters())
    with torch.no_grad():
        score_GC = model.score(batch)
        assert torch.equal(silenced(model, deaf).score(batch), score_GC)
        assert ((silenced(model, heard).score(batch) - score_GC).abs().amax(1) > 1e-7).all()


@torch.no_grad()
def test_switched_off_there_is_nothing_of_it() -> None:
    model, without = learnt_model(), learnt_model(history_match=False)
    assert without.cf_match is None
    assert without.semantic_match is None
    names = {
        f"{view}_match.layers.{layer}.{weight}"
        for view in ("cf", "semantic")
        for layer in (0, 2)
        for weight in ("weight", "bias")
    }
    assert model.state_dict().keys() - without.state_dict().keys() == names
    assert without.state_dict().keys() < model.state_dict().keys()
    without.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if name not in names})
    batch = batch_with_repeats(5)
    score_GC = without.score(batch)
    assert ((model.score(batch) - score_GC).abs().amax(1) > 1e-7).all()
    assert torch.equal(silenced(model, "cf_match", "semantic_match").score(batch), score_GC)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000), groups=st.integers(2, 5), history=st.integers(1, 6), title=st.integers(1, 4))
@torch.no_grad()
def test_what_a_group_is_told_does_not_depend_on_the_rest_of_the_batch(
    seed: int, groups: int, history: int, title: int
) -> None:
    model = learnt_model()
    batch = random_batch(seed, groups=groups, history=history, title=title, items=5)
    whole_GCXD = slots_told(model, batch)
    pad = nn.functional.pad
    wider = replace(
        batch,
        history_GL=pad(batch.history_GL, (0, 2)),
        behaviour_GL=pad(batch.behaviour_GL, (0, 2)),
        title_UT=pad(batch.title_UT, (0, 3)),
    )
    torch.testing.assert_close(slots_told(model, wider), whole_GCXD)
    for g in range(groups):
        torch.testing.assert_close(slots_told(model, groups_of(batch, [g]))[0], whole_GCXD[g])


def test_items_without_a_vector_leave_gradients_as_they_are() -> None:
    """A length of zero has no direction: what the likeness would tear at must not reach the weights."""
    model = learnt_model(semantic_history="pooled", term_match=False).float()
    unknown = corpus_tokenizer().vocabulary["<unk>"]
    model.token_idf_V[unknown] = 0
    batch = batch_with_repeats(5)
    title_UT = batch.title_UT.clone()
    title_UT[1], title_UT[2] = 0, unknown
    batch = replace(
        batch,
        title_UT=title_UT,
        cf_UE=batch.cf_UE.index_fill(0, torch.tensor([1]), 0),
        history_GL=torch.where(batch.history_GL == 0, 0, 1 + torch.arange(batch.history_GL.shape[1]) % 5),
        candidate_GC=torch.tensor([1, 2, 3, 4]).expand_as(batch.candidate_GC),
    )
    model(model.inputs(batch), "answers").nll_GC.sum().backward()
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            assert torch.isfinite(weight.grad).all(), name
            assert weight.grad.abs().max() < 1e3, name
    gradient_VD = model.token_embeddings().grad
    assert gradient_VD is not None
    assert (gradient_VD[unknown] == 0).all()
