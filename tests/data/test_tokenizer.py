from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from gensr_dist.data.shards.manifest import vocabulary_fingerprint
from gensr_dist.data.tokenizer import load_tokenizer, token_table, train_tokenizer
from gensr_dist.errors import InputError

T5 = Path(__file__).resolve().parents[3] / "shared" / "t5_tokenizer"
TEXTS = [f"kind {n % 7} w{n % 50} lip stick number {n}" for n in range(300)]


def corpus_tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(iter(TEXTS), 400, ["recommend. liked:", "will the user click?"])


@pytest.fixture(scope="module", params=["corpus", "t5"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
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
def test_tokens_of_a_joined_text_are_the_tokens_of_its_parts(
    tokenizer: PreTrainedTokenizerFast, left: str, right: str
) -> None:
    whole, first, second = (
        row[row != 0].tolist() for row in token_table(tokenizer, [left + " " + right, left, right], 256)
    )
    assert whole == first + second


def test_table_cuts_pads_and_ignores_special_spellings(tokenizer: PreTrainedTokenizerFast) -> None:
    table = token_table(tokenizer, ["lip stick kind number lip stick", "", " \t", "</s><pad>"], 4)
    assert table.dtype == np.int32
    assert table.shape == (4, 4)
    assert table[0].tolist() == tokenizer("lip stick kind number lip stick", add_special_tokens=False)["input_ids"][:4]
    assert not table[1:3].any()
    assert table[3, 0] > 1
    assert tokenizer("a </s>", add_special_tokens=False)["input_ids"][-1] == 1, "the tokenizer itself is unchanged"


def test_answers_are_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    for answer in ("Yes", "No"):
        first, end = tokenizer(answer)["input_ids"]
        assert first > 2
        assert end == tokenizer.eos_token_id == 1
    assert tokenizer.pad_token_id == 0


def test_corpus_tokenizer_layout() -> None:
    tokenizer = corpus_tokenizer()
    assert tokenizer.convert_tokens_to_ids(["<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_9>"]) == [
        0,
        1,
        2,
        3,
        12,
    ]
    assert len(tokenizer) <= 400
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.tokenize("recommend. liked: will click?") == ["▁recommend.", "▁liked:", "▁will", "▁click?"]
    assert tokenizer.tokenize("lip stick") == ["▁lip", "▁stick"]
    assert tokenizer.decode(tokenizer("lip stick 5")["input_ids"], skip_special_tokens=True) == "lip stick 5"
    assert tokenizer("\U0001f600", add_special_tokens=False)["input_ids"][-1] == 2, "an unknown letter is <unk>"


def test_same_texts_in_any_order_give_the_same_folder(tmp_path: Path) -> None:
    train_tokenizer(iter(TEXTS), 400).save_pretrained(tmp_path / "a")
    train_tokenizer(iter(TEXTS[::-1]), 400).save_pretrained(tmp_path / "b")
    assert vocabulary_fingerprint(tmp_path / "a") == vocabulary_fingerprint(tmp_path / "b")
    train_tokenizer(iter(TEXTS[:10]), 400).save_pretrained(tmp_path / "c")
    assert vocabulary_fingerprint(tmp_path / "a") != vocabulary_fingerprint(tmp_path / "c")


@pytest.mark.parametrize("texts", [[], ["", " "], ["猫"], ["".join(chr(0x4E00 + n) for n in range(2_000))]])
def test_odd_corpora_keep_to_the_vocabulary(texts: list[str]) -> None:
    tokenizer = train_tokenizer(iter(texts), 300)
    assert len(tokenizer) <= 300
    assert tokenizer.tokenize("Yes No") == ["▁yes", "▁no"]


def test_saved_folders_open_with_transformers(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.save_pretrained(tmp_path)
    for opened in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(str(tmp_path))):
        assert opened("kind 3 w7 Yes")["input_ids"] == tokenizer("kind 3 w7 Yes")["input_ids"]
        assert opened.get_vocab() == tokenizer.get_vocab()


def test_no_such_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"absent: expected a tokenizer folder .*; set data\.tokenizer") as caught:
        load_tokenizer(str(tmp_path / "absent"))
    assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="expected a tokenizer folder"):
        load_tokenizer(str(tmp_path))
