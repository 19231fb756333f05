"""SeqRec: SASRec where nobody searched, else items and queries in the order that tells no target its query."""

from dataclasses import replace

import torch

from gensr_dist.baselines.layers.encoder import causal_mask
from gensr_dist.data.batches.sequences import SequenceBatch, sequence_of
from tests.baselines.builders import small_model
from tests.baselines.planted import FACTS, LENGTH, as_sequence, hits_after_training, planted


def sequences(rows: int = 6) -> SequenceBatch:
    """Of all behaviours, searches with queries; every position is a target of a later moment."""
    sequence = as_sequence(planted("last item", rows, seed=3))
    generator = torch.Generator().manual_seed(3)
    behaviour_SL = torch.randint(1, 4, (rows, LENGTH), generator=generator)
    query_SL = torch.randint(1, len(sequence.query_KQ), (rows, LENGTH), generator=generator) * (behaviour_SL > 1)
    next_SL = torch.cat((sequence.item_SL[:, 1:], sequence.next_SL[:, -1:]), 1)
    return replace(
        sequence,
        behaviour_SL=behaviour_SL,
        history_query_SL=query_SL,
        next_SL=next_SL,
        is_target_SL=torch.ones_like(next_SL, dtype=torch.bool),
        step_targets=next_SL.numel(),
    )


def test_without_queries_it_is_sasrec_with_cross_entropy() -> None:
    model = small_model("seqrec", FACTS, history=LENGTH)
    sasrec = small_model("sasrec", FACTS, history=LENGTH, loss="ce")
    weights = {name: value for name, value in model.state_dict().items() if name in sasrec.state_dict()}
    sasrec.load_state_dict({**weights, "position_LD": model.position_LD[:LENGTH].detach() + model.type_2D[0].detach()})
    batch = planted("last item", 6, seed=3)
    batch.history_GL[1, 2:] = 0
    batch = replace(batch, history_query_GL=batch.history_query_GL * 0)
    torch.testing.assert_close(model.score(batch), sasrec.score(batch))
    sequence = replace(sequences(), history_query_SL=torch.zeros(6, LENGTH, dtype=torch.int64))
    torch.testing.assert_close(model(sequence).total, sasrec(sequence).total)


@torch.no_grad()
def test_tokens_stand_query_first_for_a_search_and_item_first_for_twins() -> None:
    """With all moments apart, the states are those of the plain sequence of tokens."""
    model = small_model("seqrec", FACTS, history=LENGTH).double()
    batch = sequences()
    item_UD, query_KD = model.items(batch), model.words.weight[batch.query_KQ[:, 0]]
    found_SLD = model.states(batch, item_UD)
    for s in range(len(batch.item_SL)):
        tokens, ends = [], []
        for place in range(LENGTH):
            item_D = item_UD[batch.item_SL[s, place]] + model.type_2D[0]
            query_D = query_KD[batch.history_query_SL[s, place]] + model.type_2D[1]
            tokens += {1: [item_D], 2: [query_D, item_D], 3: [item_D, query_D]}[int(batch.behaviour_SL[s, place])]
            ends.append(len(tokens) - 1)
        input_XD = model.norm(torch.stack(tokens) + model.position_LD[: len(tokens)])
        state_XD = model.encoder(input_XD[None], causal_mask(len(tokens)))[0]
        torch.testing.assert_close(found_SLD[s], state_XD[ends])


@torch.no_grad()
def test_no_position_sees_a_query_of_its_targets_moment() -> None:
    """Targets 1 and 2 are of the moment of item 0 and item 1, the last one is of a later moment."""
    model = small_model("seqrec", FACTS, history=LENGTH)
    later_SL = torch.tensor([[False, False, True, True]]).expand(6, -1)
    for behaviour in (2, 3):
        asked = replace(
            sequences(),
            next_is_later_SL=later_SL,
            behaviour_SL=torch.full((6, LENGTH), behaviour),
            history_query_SL=torch.tensor([[1, 2, 3, 4]]).expand(6, -1),
        )
        other = replace(asked, history_query_SL=torch.tensor([[5, 6, 7, 4]]).expand(6, -1))
        before_SLD, after_SLD = (model.states(each, model.items(each)) for each in (asked, other))
        torch.testing.assert_close(before_SLD[:, :2], after_SLD[:, :2])
        assert (before_SLD[:, 2:] - after_SLD[:, 2:]).abs().amax(2).min() > 1e-3


def test_a_history_to_score_lies_before_its_row() -> None:
    assert sequence_of(planted("last item", 2, seed=0)).next_is_later_SL.all()


def test_it_learns_from_past_queries_and_from_the_last_item() -> None:
    assert hits_after_training("seqrec", "past query", until=0.9) > 0.9
    assert hits_after_training("seqrec", "last item", until=0.9) > 0.9
