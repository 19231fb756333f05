"""Where tokens lie in shared scoring.

Dimensions: R requests, G groups, C candidates, S context, P block.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.model.prompt_layout import PromptLayout

C, S, P = 3, 30, 4


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=5),
    instruction=st.integers(0, 6),
    requests=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    seed=st.integers(0, 1_000),
)
def test_every_token_is_seen_once_and_groups_lie_by_their_queries(
    lengths: list[int], instruction: int, requests: list[int], seed: int
) -> None:
    length_R = torch.tensor(lengths)
    from_end_S = S - 2 - torch.arange(S)  # two tokens follow the query
    query_mask_RS = (from_end_S > 0) & (from_end_S <= length_R[:, None])
    context_mask_RS = from_end_S <= length_R[:, None] + instruction
    request_G = torch.tensor(requests) % len(lengths)
    block_mask_GCP = torch.rand(len(requests), C, P, generator=torch.Generator().manual_seed(seed)) < 0.7
    layout = PromptLayout.of(
        "shared",
        request_G=request_G,
        context_mask_RS=context_mask_RS,
        query_mask_RS=query_mask_RS,
        block_mask_GCP=block_mask_GCP,
    )
    assert torch.equal(layout.order_G[layout.place_G], torch.arange(len(requests)))
    assert torch.equal(layout.own.request_G[layout.place_G], request_G)
    assert torch.equal(layout.own.mask_GCN[layout.place_G], block_mask_GCP)
    assert torch.equal(torch.cat([own.request_G for own in layout.late]), layout.own.request_G)

    begin = 0
    for own in layout.late:
        group_G = layout.order_G[begin : begin + len(own.request_G)]
        begin += len(own.request_G)
        asked_G = length_R[own.request_G]
        assert own.queries == int(asked_G.max())
        assert int(asked_G.max() - asked_G.min()) < 8 or int(asked_G.max()) == 0
        assert own.packing.tokens == int(own.mask_GCN.sum())
        for g, group in enumerate(group_G.tolist()):
            query_S, context_S = query_mask_RS[own.request_G[g]], context_mask_RS[own.request_G[g]]
            assert torch.equal(own.context_mask_GS[g], context_S & ~query_S)
            for c in range(C):
                copies_S = torch.zeros(S, dtype=torch.bool)
                copies_S[own.first_query : own.first_query + own.queries] = own.mask_GCN[g, c, : own.queries]
                is_candidate = bool(block_mask_GCP[group, c].any())
                assert torch.equal(copies_S, query_S & is_candidate)
                assert torch.equal(own.mask_GCN[g, c, own.queries :], block_mask_GCP[group, c])


def test_from_places_takes_the_query_and_the_block() -> None:
    query_mask_RS = torch.tensor([[False, True, True, False]])
    layout = PromptLayout.of(
        "shared",
        request_G=torch.zeros(1, dtype=torch.long),
        context_mask_RS=torch.ones(1, 4, dtype=torch.bool),
        query_mask_RS=query_mask_RS,
        block_mask_GCP=torch.ones(1, 1, 2, dtype=torch.bool),
    )
    places = torch.arange(6).expand(2, 6)
    assert layout.own.from_places(places, 1).tolist() == [[4, 5]] * 2
    (late,) = layout.late
    assert late.from_places(places, 1).tolist() == [[1, 2, 4, 5]] * 2
    assert late.from_places(places.T, 0).T.tolist() == [[1, 2, 4, 5]] * 2
