import torch

from gensr_dist.model.pooling import masked_mean

VECTOR_GLD = torch.arange(18, dtype=torch.float64).view(3, 3, 2)
MASK_GL = torch.tensor([[True, False, True], [False, False, False], [False, True, True]])


def test_it_is_the_mean_of_the_kept_and_zero_for_none() -> None:
    found_GD = masked_mean(VECTOR_GLD, MASK_GL)
    assert found_GD.tolist() == [[2.0, 3.0], [0.0, 0.0], [15.0, 16.0]]
    assert torch.equal(masked_mean(VECTOR_GLD[:, None], MASK_GL[:, None]), found_GD[:, None])


def test_gradients_are_finite_and_reach_the_kept_alone() -> None:
    vector_GLD = (VECTOR_GLD + 1).requires_grad_()
    (gradient_GLD,) = torch.autograd.grad(masked_mean(vector_GLD, MASK_GL).square().sum(), vector_GLD)
    assert torch.isfinite(gradient_GLD).all()
    assert ((gradient_GLD != 0).any(2) == MASK_GL).all()
