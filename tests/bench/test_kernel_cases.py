"""What the benchmark of the kernels computes and counts."""

import torch

from gensr_dist.bench.kernel_cases import GroupShape, kernel_cases

CPU = torch.device("cpu")


def test_the_bandwidth_counts_what_must_be_moved() -> None:
    shape = GroupShape(3, 2, 4, 5, 8)
    pool, layer, alone, norm, drop = kernel_cases(shape, torch.float32, CPU, "torch")
    assert pool.forward_elements == sum(x.numel() for x in pool.inputs) + pool.fused(*pool.inputs).numel()
    for case in (pool, layer, alone):
        out = case.fused(*case.inputs)
        assert case.forward_elements == sum(x.numel() for x in case.inputs) + out.numel()
        assert case.backward_elements == 2 * sum(x.numel() for x in case.inputs) + out.numel()
    assert (norm.forward_elements, norm.backward_elements) == (2 * 96 * 8, 3 * 96 * 8)  # weights are next to nothing
    assert (drop.forward_elements, drop.backward_elements) == (2 * 96 * 8, 2 * 96 * 8)


def test_both_ways_compute_the_same() -> None:
    for path in ("torch", "triton"):
        for case in kernel_cases(GroupShape(3, 2, 2, 5, 8), torch.float32, CPU, path):
            fused, plain = case.fused(*case.inputs), case.plain(*case.inputs)
            if case.op == "dropout":  # each drops others
                kept = (fused != 0) & (plain != 0)
                assert kept.float().mean() > 0.5
                fused, plain = fused[kept], plain[kept]
            torch.testing.assert_close(fused, plain, rtol=2e-5, atol=1e-5)
