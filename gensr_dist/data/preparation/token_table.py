"""Token ids of millions of texts: each distinct word is tokenised once, which is several times as fast.

A tokenizer splits at white space first (`data/tokenizer.py`), so the tokens of a text are those of its words in turn.

Dimensions: I texts, T tokens a text, N words of all texts, W distinct words, P pieces of distinct words, K kept tokens.
"""

import numpy as np
import polars as pl
from tqdm import tqdm

from gensr_dist.data.tokenizer import TextTokenizer

_TEXTS = 1 << 19  # a time: more would take memory, and share few words more


def fill_token_table(tokenizer: TextTokenizer, texts: pl.Series, table_IT: np.ndarray) -> None:
    """Write what `tokenizer.token_table` returns of texts into an array of zeros, possibly one on disk."""
    starts = range(0, len(texts), _TEXTS)
    for start in tqdm(starts, desc="tokenise", unit="batch", disable=None if len(starts) > 1 else True):
        _fill(tokenizer, texts.slice(start, _TEXTS), table_IT[start : start + _TEXTS])


def _fill(tokenizer: TextTokenizer, texts: pl.Series, table_IT: np.ndarray) -> None:
    words_of_I = texts.str.split(" ")
    count_I = words_of_I.list.len().to_numpy().astype(np.int64)
    word_N, distinct = _numbered(words_of_I.explode())
    piece_P, length_W = tokenizer.encode_many(distinct.to_list())
    first_W = np.cumsum(length_W) - length_W

    length_N = length_W[word_N]
    text_N = np.repeat(np.arange(len(count_I)), count_I)
    before_N = np.cumsum(length_N) - length_N  # tokens of all earlier words
    at_N = before_N - before_N[np.cumsum(count_I) - count_I][text_N]  # place in the text
    kept_N = np.clip(table_IT.shape[1] - at_N, 0, length_N)

    within_K = np.arange(kept_N.sum()) - np.repeat(np.cumsum(kept_N) - kept_N, kept_N)  # place in the word
    word_K, at_K, text_K = (np.repeat(of_N, kept_N) for of_N in (word_N, at_N, text_N))
    table_IT[text_K, at_K + within_K] = piece_P[first_W[word_K] + within_K]


def _numbered(words: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """The number of each word among the distinct ones [N], and these [W]."""
    distinct = words.unique()
    numbers = pl.DataFrame({words.name: distinct}).with_row_index("number")
    return words.to_frame().join(numbers, on=words.name, how="left", maintain_order="left")[
        "number"
    ].to_numpy(), distinct
