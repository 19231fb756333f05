"""Textual ids of items: the most telling words of their titles, made unique.

Dimensions: I items, T title tokens, K tokens of the longest id, V vocabulary.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.items import UNKNOWN
from gensr_dist.data.tokenizer import TextTokenizer
from gensr_dist.errors import InputError

_WORD_START = "▁"  # begins the first token of every word

Word = tuple[int, ...]


def textual_ids(title_IT: NDArray[np.int32], tokenizer: TextTokenizer, words: int, end: int) -> NDArray[np.int64]:
    """Ids of all items, each of them followed by `end`; [I, K], 0 is padding.

    An id is the `words` words with the highest tf-idf, tf(w) log(I / holders of w), highest first, and of equal ones
    the earlier in the title. If an item before it has the same tokens, a number follows; an item without words has a
    number alone. The same titles give the same ids.

    Raises:
        InputError: the tokenizer does not know the digits.
    """
    _check_digits(tokenizer)
    starts_V = np.zeros(len(tokenizer), dtype=bool)
    starts_V[[number for token, number in tokenizer.vocabulary.items() if token.startswith(_WORD_START)]] = True
    titles = [_words(title_T[title_T != 0].tolist(), starts_V) for title_T in np.asarray(title_IT)]
    holders = Counter(word for title in titles for word in set(title))
    taken: set[Word] = set()
    tried: Counter[Word] = Counter()  # numbers that were given to an id, or were found to be taken
    ids = []
    for title in titles:
        frequency = Counter(title)  # in the order of the title, which sorting keeps among equals
        telling = sorted(frequency, key=lambda word: -frequency[word] * np.log(len(titles) / holders[word]))
        base = tuple(token for word in telling[:words] for token in word)
        name = base
        while name in taken or not name:
            tried[base] += 1
            name = base + tuple(tokenizer.encode(str(tried[base])))
        taken.add(name)
        ids.append(name)
    id_IK = np.zeros((len(ids), 1 + max(map(len, ids))), dtype=np.int64)
    for item, name in enumerate(ids):
        id_IK[item, : len(name) + 1] = (*name, end)
    return id_IK


def _words(tokens: list[int], starts_V: NDArray[np.bool_]) -> list[Word]:
    """The words of a title, but for those with an unknown token."""
    words: list[list[int]] = []
    for token in tokens:
        if starts_V[token] or not words:
            words.append([])
        words[-1].append(token)
    return [tuple(word) for word in words if UNKNOWN not in word]


def _check_digits(tokenizer: TextTokenizer) -> None:
    if len({tuple(tokenizer.encode(digit)) for digit in "0123456789"}) < 10:
        raise InputError("data.tokenizer", "it cannot tell the digits", "set data.tokenizer to 'corpus' or to T5's")
