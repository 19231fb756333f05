import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from gensr_dist.data.shards.manifest import vocabulary_fingerprint
from gensr_dist.data.tokenizer import TextTokenizer, load_tokenizer, token_table, train_tokenizer
from gensr_dist.errors import InputError

T5 = Path(__file__).resolve().parents[3] / "shared" / "t5_tokenizer"
TEXTS = [f"kind {n % 7} w{n % 50} lip stick number {n}" for n in range(300)]


def corpus_tokenizer() -> TextTokenizer:
    return train_tokenizer(pl.Series(TEXTS, dtype=pl.String), 400, ["recommend. liked:", "will the user click?"])


@pytest.fixture(scope="module", params=["corpus", "t5"])
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    if request.param == "corpus":
        return corpus_tokenizer()
    if not T5.is_dir():
        pytest.skip("no ../shared/t5_tokenizer beside the repository")
    return load_tokenizer(str(T5))


@settings(max_examples=100)
@given(left=st.text(max_size=20), right=st.text(max_size=20))
@example(left="see </s> ", right="<pad> <extra_id_0>")
@example(left="Yes", right="No")
@example(left="", right="  lip\tstick\u00a0 ")
def test_tokens_of_a_joined_text_are_the_tokens_of_its_parts(tokenizer: TextTokenizer, left: str, right: str) -> None:
    whole, first, second = (
        row[row != 0].tolist() for row in token_table(tokenizer, [left + " " + right, left, right], 256)
    )
    assert whole == first + second


def test_table_cuts_pads_and_ignores_special_spellings(tokenizer: TextTokenizer) -> None:
    table = token_table(tokenizer, ["lip stick kind number lip stick", "", " \t", "</s><pad>"], 4)
    assert table.dtype == np.int32
    assert table.shape == (4, 4)
    assert table[0].tolist() == tokenizer.encode("lip stick kind number lip stick")[:4]
    assert not table[1:3].any()
    assert table[3, 0] > 1
    assert tokenizer.encode("a </s>")[-1] == 1, "the tokenizer itself is unchanged"


def test_answers_are_one_token(tokenizer: TextTokenizer) -> None:
    for answer in ("Yes", "No"):
        (token,) = tokenizer.encode(answer)
        assert token > 2
    assert tokenizer.special_tokens[:2] == ("<pad>", "</s>")


def test_corpus_tokenizer_layout() -> None:
    tokenizer = corpus_tokenizer()
    first = ("<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_9>")
    assert [tokenizer.vocabulary[token] for token in first] == [0, 1, 2, 3, 12]
    assert len(tokenizer) <= 400
    assert sorted(tokenizer.vocabulary.values()) == list(range(len(tokenizer)))
    assert tokenizer.fast.encode("recommend. liked: will click?", add_special_tokens=False).tokens == [
        "▁recommend.",
        "▁liked:",
        "▁will",
        "▁click?",
    ]
    assert tokenizer.fast.encode("lip stick", add_special_tokens=False).tokens == ["▁lip", "▁stick"]
    assert tokenizer.fast.decode(tokenizer.encode("lip stick 5")) == "lip stick 5"
    assert tokenizer.encode("\U0001f600")[-1] == 2, "an unknown letter is <unk>"


def test_same_texts_in_any_order_give_the_same_folder(tmp_path: Path) -> None:
    train_tokenizer(pl.Series(TEXTS, dtype=pl.String), 400).save(tmp_path / "a")
    train_tokenizer(pl.Series(TEXTS[::-1], dtype=pl.String), 400).save(tmp_path / "b")
    assert vocabulary_fingerprint(tmp_path / "a") == vocabulary_fingerprint(tmp_path / "b")
    train_tokenizer(pl.Series(TEXTS[:10], dtype=pl.String), 400).save(tmp_path / "c")
    assert vocabulary_fingerprint(tmp_path / "a") != vocabulary_fingerprint(tmp_path / "c")


@pytest.mark.parametrize("texts", [[], ["", " "], ["猫"], ["".join(chr(0x4E00 + n) for n in range(2_000))]])
def test_odd_corpora_keep_to_the_vocabulary(texts: list[str]) -> None:
    tokenizer = train_tokenizer(pl.Series(texts, dtype=pl.String), 300)
    assert len(tokenizer) <= 300
    assert tokenizer.fast.encode("Yes No", add_special_tokens=False).tokens == ["▁yes", "▁no"]


@settings(max_examples=100)
@given(
    text=st.text(max_size=40) | st.lists(st.sampled_from([*TEXTS[:9], "Yes", "</s>", "<extra_id_3>", " "])).map("".join)
)
def test_ids_are_those_of_transformers(tokenizer: TextTokenizer, theirs: PreTrainedTokenizerFast, text: str) -> None:
    ids = theirs(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(text) == ids


@pytest.fixture(scope="module")
def theirs(tokenizer: TextTokenizer, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = tmp_path_factory.mktemp("saved") / "tokenizer"
    tokenizer.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_a_saved_folder_is_that_of_transformers(tokenizer: TextTokenizer, theirs: PreTrainedTokenizerFast) -> None:
    assert (theirs.pad_token_id, theirs.eos_token_id, theirs.unk_token_id) == (0, 1, 2)
    assert len(theirs) == len(tokenizer)
    assert theirs.get_vocab() == tokenizer.vocabulary
    assert set(theirs.all_special_tokens) == set(tokenizer.special_tokens)
    assert theirs("kind 3")["input_ids"] == [*tokenizer.encode("kind 3"), 1]


def test_a_saved_folder_is_opened_byte_for_byte(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    tokenizer.save(tmp_path / "a")
    opened = TextTokenizer.open(tmp_path / "a")
    assert opened.files == tokenizer.files
    assert load_tokenizer(str(tmp_path / "a")).vocabulary == tokenizer.vocabulary


@pytest.mark.parametrize(
    ("splitter", "added"),
    [
        ({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True}, []),
        (None, []),
        ({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}]}, ["lip stick"]),
    ],
    ids=["marks blanks", "splits nothing", "a token of two words"],
)
def test_words_must_be_tokenised_alone(tmp_path: Path, splitter: object, added: list[str]) -> None:
    files = dict(corpus_tokenizer().files)
    tokenizer = json.loads(files["tokenizer.json"])
    fields = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"] += [{"id": 900, "content": content, **fields} for content in added]
    files["tokenizer.json"] = json.dumps({**tokenizer, "pre_tokenizer": splitter}).encode()
    TextTokenizer(files).save(tmp_path / "other")
    with pytest.raises(InputError, match="expected a tokenizer that splits at white space first"):
        load_tokenizer(str(tmp_path / "other"))


def test_no_such_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"absent: expected a tokenizer folder .*; set data\.tokenizer") as caught:
        load_tokenizer(str(tmp_path / "absent"))
    assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="expected a tokenizer folder"):
        load_tokenizer(str(tmp_path))
