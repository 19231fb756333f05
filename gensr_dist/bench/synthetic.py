"""Batches and a tokenizer made in memory, for benchmarks of the model that need no shards.

Lengths are those of a real log: Amazon Beauty (5-core, 2014), prepared by `configs/amazon_beauty.yaml` with its
307,552 training rows. Histories hold 5.7 of 20 items on average, 15 % none and 10 % 20 or more; titles in
histories 17.2 of 20 tokens; queries 5.7 tokens. Every batch draws its lengths from equal shares of the distribution
(one history from each G-th of it, in random order), so that batches cost alike.

Dimensions: G groups, C candidates, L history, Q query tokens, U items of the batch, T title tokens, E width of a CF
vector, V vocabulary, N any number of lengths.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from gensr_dist.data.batches.batch import HISTORY_FEATURES, QUERY_FEATURES, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.model.config import PromptConfig
from gensr_dist.model.prompt import SENTINELS

Lengths = Literal["log", "full"]  # as in the log; all histories of L items and all titles of T tokens

HISTORY = 20  # L
TITLE = 20  # T
QUERY = 16  # Q
CF_WIDTH = 64  # E
BEHAVIOURS = 4  # of an interaction; 0 is padding
_SPECIAL = ("<pad>", "</s>", "<unk>")  # tokens 0, 1 and 2
_LARGEST_IDF = 8.7  # of a token of one title among Amazon Beauty's 12,101
# Share of Amazon Beauty's training rows whose history has 0, 1, ..., 20 items.
_HISTORY_SHARES = np.array(
    (
        *(0.1454, 0.1454, 0.1454, 0.0989, 0.0714, 0.0540, 0.0422, 0.0333, 0.0276, 0.0231, 0.0194),
        *(0.0166, 0.0142, 0.0125, 0.0112, 0.0098, 0.0089, 0.0081, 0.0074, 0.0066, 0.0985),
    )
)
# Deciles of tokens, of titles in histories and of queries in search rows.
_TITLE_DECILES = np.array([4, 13, 15, 16, 17, 18, 19, 20, 20, 20, 20])
_QUERY_DECILES = np.array([2, 4, 5, 5, 5, 6, 6, 6, 7, 8, 16])

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """Sizes of a batch."""

    groups: int
    candidates: int
    vocabulary: int
    lengths: Lengths = "log"


def synthetic_batch(shape: BatchShape, seed: int) -> Batch:
    """Half recommendation, half search (the odd group is a search), candidate 0 the positive, items seldom twice."""
    random = np.random.default_rng([seed, shape.groups, shape.candidates])
    G, C = shape.groups, shape.candidates
    full, history_shares = shape.lengths == "full", _HISTORY_SHARES.cumsum() / _HISTORY_SHARES.sum()
    length_G = np.full(G, HISTORY) if full else random.permutation(np.searchsorted(history_shares, _spread(G)))
    items = int(length_G.sum()) + G * C
    length_U = np.full(items + 1, TITLE) if full else random.permutation(_lengths(_TITLE_DECILES, items + 1))
    length_U[0] = 0
    # Tasks alternate along the sorted lengths, so that both have all of them.
    task_G = np.empty(G, dtype=np.int64)
    task_G[length_G.argsort(kind="stable")] = (np.arange(G) + 1) % 2
    query_length_G, search_G = np.zeros(G, dtype=np.int64), task_G == Behaviour.SEARCH
    query_length_G[search_G] = random.permutation(_lengths(_QUERY_DECILES, int(search_G.sum())))
    item_K = 1 + random.permutation(items)
    slot_GL = np.zeros((G, HISTORY), dtype=np.int64)
    seen_GL = np.arange(HISTORY) < length_G[:, None]
    slot_GL[seen_GL] = item_K[: length_G.sum()]
    cf_UE = random.normal(size=(items + 1, CF_WIDTH)).astype(np.float32)
    cf_UE[0] = 0
    label_GC = np.zeros((G, C), dtype=np.int64)
    label_GC[:, 0] = 1
    arrays = {
        "row_G": np.arange(G),
        "user_G": np.arange(G),
        "task_G": task_G,
        "query_GQ": _tokens(random, query_length_G, QUERY, shape.vocabulary),
        "history_GL": slot_GL,
        "behaviour_GL": np.where(seen_GL, random.integers(1, BEHAVIOURS, (G, HISTORY)), 0),
        "candidate_GC": item_K[length_G.sum() :].reshape(G, C),
        "label_GC": label_GC,
        "item_U": np.arange(-1, items),
        "cf_UE": cf_UE,
        "title_UT": _tokens(random, length_U, TITLE, shape.vocabulary),
        "log_chance_GC": np.zeros((G, C), dtype=np.float32),
        "query_evidence_GCF": random.random((G, C, QUERY_FEATURES), dtype=np.float32) * search_G[:, None, None],
        "history_evidence_GCF": random.random((G, C, HISTORY_FEATURES), dtype=np.float32),
    }
    return Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()}, step_groups=G)


def synthetic_idf(vocabulary: int) -> NDArray[np.float32]:
    """A weight of each token in a pooled text, [V], as far apart as in a real log; special tokens weigh nothing."""
    idf_V = np.random.default_rng(vocabulary).uniform(0, _LARGEST_IDF, vocabulary).astype(np.float32)
    idf_V[: len(_SPECIAL)] = 0
    return idf_V


def word_tokenizer(vocabulary: int) -> TextTokenizer:
    """A tokenizer of exactly `vocabulary` whole words: those of the default prompts, the answers, and made-up ones.

    Prompts have the lengths that a tokenizer trained on the corpus gives them: one token a word.
    """
    prompts = PromptConfig()
    words = [word for word in f"{prompts.recommendation} {prompts.search}".split() if not word.startswith("{")]
    known = list(dict.fromkeys([*_SPECIAL, *SENTINELS.values(), "Yes", "No", *words]))
    assert vocabulary > len(known), "no room for titles"
    known += [f"word{number}" for number in range(vocabulary - len(known))]
    tokenizer = Tokenizer(models.WordLevel({word: id_ for id_, word in enumerate(known)}, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([*_SPECIAL, *SENTINELS.values()])
    return TextTokenizer({"tokenizer.json": tokenizer.to_str().encode()})


def _spread(count: int) -> NDArray[np.float64]:
    """The middles of `count` equal shares of the interval from 0 to 1."""
    return (np.arange(count) + 0.5) / max(count, 1)


def _lengths(deciles: Int, count: int) -> Int:
    return np.rint(np.interp(_spread(count), np.linspace(0, 1, len(deciles)), deciles)).astype(np.int64)


def _tokens(random: np.random.Generator, length_N: Int, width: int, vocabulary: int) -> Int:
    """Random words, none of the special tokens, padded with 0."""
    value_NT = random.integers(vocabulary // 2, vocabulary, (len(length_N), width))
    return np.where(np.arange(width) < length_N[:, None], value_NT, 0)
