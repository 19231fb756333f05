from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gensr_dist.data.preparation import token_table as by_words
from gensr_dist.data.tokenizer import TextTokenizer, load_tokenizer, token_table, train_tokenizer

T5 = Path(__file__).resolve().parents[4] / "shared" / "t5_tokenizer"
TEXTS = [f"kind {n % 7} w{n % 50} lip stick number {n}" for n in range(300)]


@pytest.fixture(scope="module", params=["corpus", "t5"])
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    if request.param == "corpus":
        return train_tokenizer(pl.Series(TEXTS), 400)
    if not T5.is_dir():
        pytest.skip("no ../shared/t5_tokenizer beside the repository")
    return load_tokenizer(str(T5))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_words, "_TEXTS", 3)


@settings(max_examples=100)
@given(texts=st.lists(st.text(max_size=20) | st.sampled_from(TEXTS), max_size=8), width=st.integers(1, 6))
@example(texts=["", " a  b ", "a", "b\ta </s>", "\u00a8 \u0308 x"], width=2)
def test_a_table_by_words_is_that_of_whole_texts(tokenizer: TextTokenizer, texts: list[str], width: int) -> None:
    table_IT = np.zeros((len(texts), width), dtype=np.int32)
    by_words.fill_token_table(tokenizer, pl.Series(texts, dtype=pl.String), table_IT)
    assert table_IT.tolist() == token_table(tokenizer, texts, width).tolist()
