"""Text to token ids: a tokenizer of a pretrained backbone, or one trained on the corpus.

Both kinds split at white space first and mark the start of every word, as T5 does. So the tokens of `a + " " + b` are
the tokens of `a` followed by those of `b`, and prompts can be put together from pieces that were tokenised once.

Both are folders that transformers opens. It takes seconds to import, so only fetching a pretrained one does.

Dimensions: I texts, T tokens a text, P tokens of all texts.
"""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from typing_extensions import Self

from gensr_dist.errors import InputError

_SPECIAL = ("<pad>", "</s>", "<unk>", *(f"<extra_id_{slot}>" for slot in range(10)))
_ANSWERS = ("Yes", "No")
_TOKENIZER = "tokenizer.json"
_PRINTABLE = [chr(code) for code in range(33, 127)]


class TextTokenizer:
    """Ids of texts as `tokenizer.json` makes them. Padding is 0.

    Args:
        files: contents of a tokenizer folder by name, kept to be saved again.

    Raises:
        ValueError: `tokenizer.json` is not among them, or is not one.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        try:
            self.fast = Tokenizer.from_buffer(files[_TOKENIZER])
        except Exception as error:  # the library raises nothing more special
            raise ValueError(f"expected a {_TOKENIZER} ({error!r})") from None
        self.fast.no_truncation()
        self.fast.no_padding()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a folder.

        Raises:
            OSError: a file cannot be read.
            ValueError: as the class.
        """
        return cls({path.name: path.read_bytes() for path in sorted(folder.iterdir())})

    def save(self, folder: Path) -> None:
        """Write a new folder."""
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def encode(self, text: str) -> list[int]:
        """Ids of a text, whose special tokens count as such; none at its end."""
        return self.fast.encode(text, add_special_tokens=False).ids

    def encode_many(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of texts whose special tokens are read as ordinary characters.

        Returns:
            The ids of all texts, one after the other (int32 [P]), and how many each has (int64 [I]).
        """
        self.fast.encode_special_tokens = True
        try:
            ids_of_I = [each.ids for each in self.fast.encode_batch_fast(texts, add_special_tokens=False)]
        finally:
            self.fast.encode_special_tokens = False
        length_I = np.fromiter(map(len, ids_of_I), dtype=np.int64, count=len(ids_of_I))
        return np.fromiter(chain.from_iterable(ids_of_I), dtype=np.int32, count=length_I.sum()), length_I

    def answers(self) -> tuple[int, int]:
        """The first tokens of No and Yes.

        Raises:
            InputError: they are the same.
        """
        yes, no = (self.encode(word)[0] for word in _ANSWERS)
        if yes == no:
            raise InputError(
                "data.tokenizer",
                "its first tokens of 'Yes' and 'No' are the same",
                "use a tokenizer that knows both words",
            )
        return no, yes

    @cached_property
    def vocabulary(self) -> Mapping[str, int]:
        """Id of each token."""
        return self.fast.get_vocab(with_added_tokens=True)

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Those that `encode` takes out of a text."""
        return tuple(token.content for token in self.fast.get_added_tokens_decoder().values() if token.special)

    def __len__(self) -> int:
        """Number of tokens."""
        return self.fast.get_vocab_size(with_added_tokens=True)


def load_tokenizer(name_or_folder: str) -> TextTokenizer:
    """Open a tokenizer folder of anybody's, or fetch one by its Hub name.

    Raises:
        InputError: there is none, or it is not a fast tokenizer with padding, end and whole-word pieces.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_folder)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            name_or_folder,
            f"expected a tokenizer folder (tokenizer.json) or a Hub name ({reason})",
            "set data.tokenizer to 'corpus', to a folder, or to a Hub name such as google/flan-t5-base",
        ) from None
    if not tokenizer.is_fast or tokenizer.pad_token_id != 0 or tokenizer.eos_token_id is None:
        raise InputError(
            name_or_folder,
            "expected a fast tokenizer whose padding id is 0 and which has an end token, as T5's",
            "set data.tokenizer to 'corpus' or to a T5 tokenizer",
        )
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        opened = TextTokenizer.open(Path(folder))
    if not _splits_at_blanks(opened):
        raise InputError(
            name_or_folder,
            "expected a tokenizer that splits at white space first and marks the start of every word, as T5's",
            "set data.tokenizer to 'corpus' or to a T5 tokenizer",
        )
    return opened


def _splits_at_blanks(tokenizer: TextTokenizer) -> bool:
    """Whether the tokens of a text are those of its words in turn."""
    added = tokenizer.fast.get_added_tokens_decoder().values()
    if any(" " in token.content for token in added if not token.special):
        return False
    words = [*_ANSWERS, "the", "5", "Recommend:", "the"]
    return tokenizer.encode(" ".join(words)) == [token for word in words for token in tokenizer.encode(word)]


def train_tokenizer(texts: pl.Series, vocabulary: int, phrases: Sequence[str] = ()) -> TextTokenizer:
    """Train byte-pair pieces on a corpus; the same texts give the same tokenizer.

    Ids 0, 1, 2 are `<pad>`, `</s>`, `<unk>`; `<extra_id_0>`.. follow. "Yes" and "No" are one token each, as is every
    word of `phrases`. Letters beyond the most frequent become `<unk>` when the vocabulary has no room for them.

    Args:
        texts: strings, counted as words; their order does not matter.
        vocabulary: number of tokens, at most.
        phrases: prompts whose words are to be whole tokens.
    """
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])  # users type as they like
    split = pre_tokenizers.WhitespaceSplit()
    words: Counter[str] = Counter()
    for text, count in texts.str.split(" ").explode().value_counts().iter_rows():  # a text is its words in turn
        for word in normalizer.normalize_str(text).split():
            words[word] += count
    letters: Counter[str] = Counter()
    for word, count in words.items():
        letters.update(dict.fromkeys(word, count))
    frequent = sorted(letters, key=lambda letter: (-letters[letter], letter))
    alphabet = ["▁", *dict.fromkeys([*_PRINTABLE, *frequent])][: max(vocabulary // 3, 1 + len(_PRINTABLE))]

    whole = [word for phrase in (*_ANSWERS, *phrases) for word in normalizer.normalize_str(phrase).split()]
    whole = [word for word in dict.fromkeys(whole) if set(word) <= set(alphabet)]
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))  # noqa: S106 (a token of text)
    trained.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Metaspace()])
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocabulary - sum(map(len, whole)), len(_SPECIAL) + len(alphabet)),
        special_tokens=list(_SPECIAL),
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    # Sorted and capped: no dependence on the order of texts, and time that grows with the words, not the corpus.
    trained.train_from_iterator((" ".join([word] * min(words[word], 1_000)) for word in sorted(words)), trainer)
    return _wrap(_with_whole_words(trained, whole), normalizer)


def token_table(tokenizer: TextTokenizer, texts: Sequence[str], width: int) -> np.ndarray:
    """Tokenise texts without end tokens: int32 [I, T], cut at `width` and padded with 0.

    Text that spells a special token, such as "</s>", is read as ordinary characters. A text without words is all
    padding.
    """
    piece_P, length_I = tokenizer.encode_many(texts)
    kept_I = np.minimum(length_I, width)
    table_IT = np.zeros((len(texts), width), dtype=np.int32)
    for row_T, kept, first in zip(table_IT, kept_I, np.cumsum(length_I) - length_I, strict=True):
        row_T[:kept] = piece_P[first : first + kept]
    return table_IT


def _with_whole_words(trained: Tokenizer, words: Sequence[str]) -> models.BPE:
    """Add merges that join the pieces of each word, after the learned ones, so that no other word changes its pieces.

    All of them start at a word's first piece, so none can stand in another's way.
    """
    model = json.loads(trained.to_str())["model"]
    vocabulary: dict[str, int] = model["vocab"]
    merges = [(left, right) for left, right in model["merges"]]
    known = set(merges)
    for word in words:
        first, *others = trained.encode(word).tokens
        for piece in others:
            if (first, piece) not in known:
                known.add((first, piece))
                merges.append((first, piece))
            first += piece
            vocabulary.setdefault(first, len(vocabulary))
    return models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True)  # noqa: S106


def _wrap(model: models.BPE, normalizer: normalizers.Normalizer) -> TextTokenizer:
    """Give the model T5's surroundings: normaliser, word marks, end token, special tokens."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(list(_SPECIAL))
    config = {  # as transformers 5 writes it, whose `AutoTokenizer` then reads the folder
        "backend": "tokenizers",
        "eos_token": "</s>",
        "extra_special_tokens": _SPECIAL[3:],
        "model_max_length": int(1e30),
        "pad_token": "<pad>",
        "tokenizer_class": "TokenizersBackend",
        "unk_token": "<unk>",
    }
    contents = {_TOKENIZER: tokenizer.to_str(pretty=True), "tokenizer_config.json": json.dumps(config, indent=2) + "\n"}
    return TextTokenizer({name: content.encode() for name, content in contents.items()})
