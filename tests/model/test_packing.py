"""Tokens without padding, and back."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.model.packing import Packing


@given(seed=st.integers(0, 10_000), B=st.integers(1, 4), N=st.integers(1, 6), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_packing_and_padding_move_every_token_and_its_gradient(seed: int, B: int, N: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask_BN = torch.rand(B, N, generator=generator) < share
    x_BND = torch.randn(B, N, 3, generator=generator, dtype=torch.float64).requires_grad_()
    packing = Packing.of(mask_BN)
    packed_TD = packing.pack(x_BND)
    assert packing.tokens == len(packed_TD) == int(mask_BN.sum())
    assert torch.equal(packed_TD, x_BND[mask_BN])
    padded_BND = packing.pad(packed_TD)
    assert torch.equal(padded_BND, torch.where(mask_BN[..., None], x_BND, 0.0))
    weight_BND = torch.randn(B, N, 3, generator=generator, dtype=torch.float64)
    (padded_BND * weight_BND).sum().backward()
    assert torch.equal(x_BND.grad, torch.where(mask_BN[..., None], weight_BND, 0.0))


def test_without_padding_nothing_is_copied() -> None:
    x_BND = torch.randn(2, 3, 4)
    packing = Packing.of(torch.ones(2, 3, dtype=torch.bool))
    assert packing.place_T is None
    assert packing.pad(packing.pack(x_BND)).data_ptr() == x_BND.data_ptr()
