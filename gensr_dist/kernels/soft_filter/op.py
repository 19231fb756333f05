"""Pooling of the soft filter: what every candidate and head takes out of its group's history.

Dimensions: G groups, M query rows of a group (candidates x heads), N history positions, D width.
"""

from torch import Tensor

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.dispatch import runs_triton
from gensr_dist.kernels.soft_filter.torch_path import pool_history


def soft_filter(query_GMD: Tensor, history_GND: Tensor, mask_GN: Tensor, path: KernelPath = "auto") -> Tensor:
    """o_m = sum_n softmax_n(q_m . h_n) h_n over the unmasked n (eq. 5 and 6 with keys and values absorbed).

    Differentiable in queries and history, once. On both paths products accumulate in float32 for half precisions.

    Args:
        query_GMD: scaled, with the key projection absorbed.
        history_GND: encoded history, of the queries' dtype.
        mask_GN: bool, True where there is an interaction. Masked rows must be finite.
        path: that runs, see `dispatch.check_path`.

    Returns:
        [G, M, D]; zeros for a group without any unmasked position.

    Raises:
        InputError: `path` is `triton`, which cannot run on these tensors.
        ValueError: shapes or dtypes do not fit together.
    """
    G, _, D = query_GMD.shape
    if history_GND.shape != (G, mask_GN.shape[1], D) or mask_GN.shape[0] != G:
        raise ValueError(
            f"query {tuple(query_GMD.shape)}, history {tuple(history_GND.shape)} and mask {tuple(mask_GN.shape)}"
        )
    if query_GMD.dtype != history_GND.dtype:
        raise ValueError(f"query is {query_GMD.dtype}, history {history_GND.dtype}")
    if runs_triton("soft_filter", path, query_GMD, history_GND, mask_GN):
        from gensr_dist.kernels.soft_filter.triton_path import pool_history_triton

        return pool_history_triton(query_GMD, history_GND, mask_GN)
    return pool_history(query_GMD, history_GND, mask_GN)
