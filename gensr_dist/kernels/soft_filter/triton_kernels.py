"""GPU programs of the soft filter.

Resident: a group's whole history fits one tile of positions, so the scores of a tile of queries stay in registers and
the width is walked in pieces: few registers a program, any width, many programs a multiprocessor. The second walk finds
its rows in the cache. Streamed: longer histories come tile by tile, under an online softmax.

Rows of masked positions are never loaded. Sums are float32; the factors of a product have the inputs' type.

Dimensions as in `op.py`. BM, BN, BD are tiles of M, N, D. All tensors are contiguous. Programs of one group stand side
by side in the grid, so that all but the first find its history in the cache.
"""

import triton
import triton.language as tl


@triton.jit
def _load_rows(matrix, row, column, keep_row, D: tl.constexpr):
    """Tile of a row-major matrix of width D, zeros in rows that are not kept."""
    inside = keep_row[:, None] & (column < D)[None, :]
    return tl.load(matrix + row[:, None] * D + column[None, :], mask=inside, other=0.0)


@triton.jit
def _store_rows(matrix, row, column, keep_row, tile, D: tl.constexpr):
    inside = keep_row[:, None] & (column < D)[None, :]
    tl.store(matrix + row[:, None] * D + column[None, :], tile.to(matrix.dtype.element_ty), mask=inside)


@triton.jit
def _dot(left, right, total, PRECISION: tl.constexpr):
    """Product of two tiles plus `total`, in float32. PRECISION: see `triton_path.py`."""
    if PRECISION == "widened":
        product = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    else:
        product = tl.dot(left, right, total, input_precision=PRECISION)
    return product


@triton.jit
def _products(
    left, left_row, left_keep, right, right_row, right_keep,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Dot products over the width of BM rows of one matrix with BN of another."""
    product = tl.zeros([BM, BN], dtype=tl.float32)
    for start in range(0, D, BD):
        column = start + tl.arange(0, BD)
        left_tile = _load_rows(left, left_row, column, left_keep, D)
        right_tile = _load_rows(right, right_row, column, right_keep, D)
        product = _dot(left_tile, tl.trans(right_tile), product, PRECISION)
    return product


@triton.jit
def _shifted_exponentials(score, visible):
    """Numerators of a softmax over visible positions, what was subtracted from the scores, and the denominators."""
    score = tl.where(visible[None, :], score, float("-inf"))
    highest = tl.max(score, 1)
    highest = tl.where(highest == float("-inf"), 0.0, highest)  # nothing visible: all numerators are exp(-inf) = 0
    numerator = tl.exp(score - highest[:, None])
    total = tl.sum(numerator, 1)
    return numerator, highest, tl.where(total == 0.0, 1.0, total)


@triton.jit
def pool_resident(
    query, history, mask, pooled, highest_score, denominator,
    M, N,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Pooled rows of a tile of queries, and what normalises their scores. Grid: G x M tiles."""
    group = (tl.program_id(0) // tl.cdiv(M, BM)).to(tl.int64)
    m = tl.program_id(0) % tl.cdiv(M, BM) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    visible = tl.load(mask + group * N + n, mask=n < N, other=0) != 0
    score = _products(query, group * M + m, m < M, history, group * N + n, visible, D, BM, BN, BD, PRECISION)
    weight, highest, total = _shifted_exponentials(score, visible)
    tl.store(highest_score + group * M + m, highest, mask=m < M)
    tl.store(denominator + group * M + m, total, mask=m < M)
    weight = (weight / total[:, None]).to(history.dtype.element_ty)
    for start in range(0, D, BD):
        column = start + tl.arange(0, BD)
        history_tile = _load_rows(history, group * N + n, column, visible, D)
        pooled_tile = _dot(weight, history_tile, None, PRECISION)
        _store_rows(pooled, group * M + m, column, m < M, pooled_tile, D)


@triton.jit
def gradients_resident(
    query, history, mask, d_pooled, d_query, d_history,
    M, N,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Both gradients of a group whose queries, too, fit one tile. Grid: G."""
    group = tl.program_id(0).to(tl.int64)
    m, n = tl.arange(0, BM), tl.arange(0, BN)
    query_row, history_row = group * M + m, group * N + n
    visible = tl.load(mask + group * N + n, mask=n < N, other=0) != 0
    score = tl.zeros([BM, BN], dtype=tl.float32)
    d_weight = tl.zeros([BM, BN], dtype=tl.float32)
    for start in range(0, D, BD):
        column = start + tl.arange(0, BD)
        history_tile = tl.trans(_load_rows(history, history_row, column, visible, D))
        query_tile = _load_rows(query, query_row, column, m < M, D)
        score = _dot(query_tile, history_tile, score, PRECISION)
        d_pooled_tile = _load_rows(d_pooled, query_row, column, m < M, D)
        d_weight = _dot(d_pooled_tile, history_tile, d_weight, PRECISION)
    weight, _, total = _shifted_exponentials(score, visible)
    weight = weight / total[:, None]
    d_score = weight * (d_weight - tl.sum(weight * d_weight, 1)[:, None])
    weight = weight.to(history.dtype.element_ty)
    d_score = d_score.to(history.dtype.element_ty)
    for start in range(0, D, BD):
        column = start + tl.arange(0, BD)
        history_tile = _load_rows(history, history_row, column, visible, D)
        d_query_tile = _dot(d_score, history_tile, None, PRECISION)
        _store_rows(d_query, query_row, column, m < M, d_query_tile, D)
        d_pooled_tile = _load_rows(d_pooled, query_row, column, m < M, D)
        d_history_tile = _dot(tl.trans(weight), d_pooled_tile, None, PRECISION)
        query_tile = _load_rows(query, query_row, column, m < M, D)
        d_history_tile = _dot(tl.trans(d_score), query_tile, d_history_tile, PRECISION)
        _store_rows(d_history, history_row, column, n < N, d_history_tile, D)


@triton.jit
def pool_streamed(
    query, history, mask, pooled, highest_score, denominator,
    M, N,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, BW: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """As `pool_resident` for any N; a program writes BW columns of the pooled rows. Grid: G x M tiles x width tiles."""
    widths, queries = tl.cdiv(D, BW), tl.cdiv(M, BM)
    group = (tl.program_id(0) // (widths * queries)).to(tl.int64)
    m = tl.program_id(0) // widths % queries * BM + tl.arange(0, BM)
    own = tl.program_id(0) % widths * BW + tl.arange(0, BW)
    highest = tl.full([BM], float("-inf"), dtype=tl.float32)
    total = tl.zeros([BM], dtype=tl.float32)
    sum_tile = tl.zeros([BM, BW], dtype=tl.float32)
    if BW >= D:
        query_tile = _load_rows(query, group * M + m, own, m < M, D)
    for first in range(0, N, BN):
        n = first + tl.arange(0, BN)
        visible = tl.load(mask + group * N + n, mask=n < N, other=0) != 0
        history_tile = _load_rows(history, group * N + n, own, visible, D)
        if BW >= D:
            score = _dot(query_tile, tl.trans(history_tile), None, PRECISION)
        else:
            score = _products(query, group * M + m, m < M, history, group * N + n, visible, D, BM, BN, BD, PRECISION)
        score = tl.where(visible[None, :], score, float("-inf"))
        higher = tl.maximum(highest, tl.max(score, 1))
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        weight = tl.exp(score - shift[:, None])
        shrink = tl.exp(highest - shift)
        total = total * shrink + tl.sum(weight, 1)
        weight = weight.to(history.dtype.element_ty)
        sum_tile = _dot(weight, history_tile, sum_tile * shrink[:, None], PRECISION)
        highest = higher
    total = tl.where(total == 0.0, 1.0, total)
    _store_rows(pooled, group * M + m, own, m < M, sum_tile / total[:, None], D)
    if tl.program_id(0) % widths == 0:
        highest = tl.where(highest == float("-inf"), 0.0, highest)
        tl.store(highest_score + group * M + m, highest, mask=m < M)
        tl.store(denominator + group * M + m, total, mask=m < M)


@triton.jit
def weights_streamed(
    query, history, mask, pooled, highest_score, denominator, d_pooled, weights, d_scores,
    M, N, ONE_TILE: tl.constexpr,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Weights and gradients of the scores, [G, M, N] both, of a tile of queries. Grid: G x M tiles.

    ONE_TILE: the history is no longer than BN.
    """
    group = (tl.program_id(0) // tl.cdiv(M, BM)).to(tl.int64)
    m = tl.program_id(0) % tl.cdiv(M, BM) * BM + tl.arange(0, BM)
    query_row = group * M + m
    shift = tl.load(highest_score + query_row, mask=m < M, other=0.0)
    total = tl.load(denominator + query_row, mask=m < M, other=1.0)
    mean = tl.zeros([BM], dtype=tl.float32)  # of the weights' gradients, under the weights: also d_pooled . pooled
    if not ONE_TILE:
        for start in range(0, D, BD):
            column = start + tl.arange(0, BD)
            d_pooled_tile = _load_rows(d_pooled, query_row, column, m < M, D).to(tl.float32)
            mean += tl.sum(d_pooled_tile * _load_rows(pooled, query_row, column, m < M, D).to(tl.float32), 1)
    for first in range(0, N, BN):
        n = first + tl.arange(0, BN)
        history_row = group * N + n
        visible = tl.load(mask + history_row, mask=n < N, other=0) != 0
        score = _products(query, query_row, m < M, history, history_row, visible, D, BM, BN, BD, PRECISION)
        d_weight = _products(d_pooled, query_row, m < M, history, history_row, visible, D, BM, BN, BD, PRECISION)
        weight = tl.exp(tl.where(visible[None, :], score, float("-inf")) - shift[:, None]) / total[:, None]
        inside = (m < M)[:, None] & (n < N)[None, :]
        at = query_row[:, None] * N + n[None, :]
        tl.store(weights + at, weight.to(weights.dtype.element_ty), mask=inside)
        if ONE_TILE:
            mean = tl.sum(weight * d_weight, 1)
        d_score = weight * (d_weight - mean[:, None])
        tl.store(d_scores + at, d_score.to(d_scores.dtype.element_ty), mask=inside)


@triton.jit
def history_gradient_streamed(
    query, d_pooled, weights, d_scores, d_history,
    M, N,
    D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """weights^T d_pooled + d_scores^T query, a tile of positions and width. Grid: G x N tiles x width tiles."""
    widths, positions = tl.cdiv(D, BD), tl.cdiv(N, BN)
    group = (tl.program_id(0) // (widths * positions)).to(tl.int64)
    n = tl.program_id(0) // widths % positions * BN + tl.arange(0, BN)
    column = tl.program_id(0) % widths * BD + tl.arange(0, BD)
    d_history_tile = tl.zeros([BN, BD], dtype=tl.float32)
    for first in range(0, M, BM):
        m = first + tl.arange(0, BM)
        query_row = group * M + m
        d_pooled_tile = _load_rows(d_pooled, query_row, column, m < M, D)
        weight = _load_columns(weights, query_row, n, m < M, N)
        d_history_tile = _dot(tl.trans(weight), d_pooled_tile, d_history_tile, PRECISION)
        query_tile = _load_rows(query, query_row, column, m < M, D)
        d_score = _load_columns(d_scores, query_row, n, m < M, N)
        d_history_tile = _dot(tl.trans(d_score), query_tile, d_history_tile, PRECISION)
    _store_rows(d_history, group * N + n, column, n < N, d_history_tile, D)


@triton.jit
def _load_columns(matrix, row, column, keep_row, N):
    """As `_load_rows` for a width that is known only when it runs."""
    inside = keep_row[:, None] & (column < N)[None, :]
    return tl.load(matrix + row[:, None] * N + column[None, :], mask=inside, other=0.0)
