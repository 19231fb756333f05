"""Lists of items that fit each query of the log: what training draws its hard negatives of searches from.

Dimensions: Q queries, B of them in a block, W words, I items, M listed items.
"""

import dataclasses
import math

import numpy as np
from scipy.sparse import csr_array
from tqdm import tqdm

from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.retrieval.channels.lexical import Lexical
from gensr_dist.retrieval.channels.query_clicks import ClickGraph
from gensr_dist.retrieval.channels.word_search import scaled_to_best
from gensr_dist.storage.sparse_lists import float32_rows, heaviest

LONGEST = 300  # items of a query
_SHARE = 1 / 40  # of a small catalogue at most: beyond it items fit a query no better than others
_WORD_ITEMS = 2_000  # of a word's list of texts: common words alone put an item into no query's list
_WORK = 4 * 10**9  # entries of words' click lists that are read, all queries together: longer lists are cut
_BLOCK = 256  # queries at a time


def query_items(word_QW: csr_array, clicks: ClickGraph, bm25_WI: csr_array) -> QueryItems:
    """The first items of each query by match in the click graph + match of texts, each as a share of the best.

    Args:
        word_QW: 0 and 1, words of each query.
        clicks: of the training searches.
        bm25_WI: of the items' texts.
    """
    lexical = Lexical(float32_rows(heaviest(bm25_WI, _WORD_ITEMS)))
    cut = _WORK // max(1, word_QW.nnz)
    clicks = dataclasses.replace(
        clicks,
        found_WI=float32_rows(heaviest(clicks.found_WI, cut)),
        query_WQ=float32_rows(heaviest(clicks.query_WQ, cut)),
    )
    queries, longest = word_QW.shape[0], min(LONGEST, math.ceil(_SHARE * bm25_WI.shape[1]))
    start_Q, parts = [0], [np.empty(0, dtype=np.uint32)]
    for first in tqdm(range(0, queries, _BLOCK), desc="items of queries", unit="block", disable=None):
        word_BW = float32_rows(word_QW[first : first + _BLOCK])
        clicked_BI = scaled_to_best(clicks.match(word_BW), 1)
        match_BI = heaviest(csr_array(clicked_BI + scaled_to_best(lexical.match(word_BW), 1)), longest)
        start_Q.extend((start_Q[-1] + match_BI.indptr[1:].astype(np.int64)).tolist())
        parts.append(match_BI.indices.astype(np.uint32))
    return QueryItems(np.array(start_Q, dtype=np.int64), np.concatenate(parts))
