from dataclasses import replace

import numpy as np
import pytest
import torch

from gensr_dist.baselines.contract import REC, LogFacts
from gensr_dist.baselines.layers.textual_ids import textual_ids
from gensr_dist.baselines.models.idgenrec import IDGenRec
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.tokenizer import TextTokenizer, token_table
from tests.baselines.builders import batch_of, context_collator, rows_of, scores, small_facts
from tests.baselines.models.t5_reference import built, reference
from tests.model.builders import corpus_tokenizer

END = 1


@pytest.fixture(scope="module")
def facts(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> LogFacts:
    return small_facts(small_store, small_items, small_cf)


@pytest.fixture(scope="module")
def batch(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> ContextBatch:
    return batch_of(context_collator(small_store, small_items, small_cf), rows_of(small_store, REC, 4))


def spelled(id_IK: np.ndarray, tokenizer: TextTokenizer) -> list[str]:
    return [tokenizer.fast.decode([int(token) for token in id_K if token > END]) for id_K in id_IK]


def test_ids_are_telling_words_made_unique() -> None:
    tokenizer = corpus_tokenizer()
    titles = [
        "red lipstick",
        "red oil",
        "red hair oil",
        "matte red",
        "matte red",
        "",
        "red red brush",
        "",
        "matte red 1",
    ]
    title_IT = token_table(tokenizer, titles, 16)
    expected = ["lipstick red", "oil red", "hair oil", "matte red", "matte red 1", "1", "brush red", "2", "1 matte"]
    assert spelled(textual_ids(title_IT, tokenizer, 2, END), tokenizer) == expected


def test_ids_differ_and_are_the_same_again(facts: LogFacts) -> None:
    for words in (0, 1, 3):
        id_IK = textual_ids(facts.title_IT, facts.tokenizer, words, END)
        assert len(np.unique(id_IK, axis=0)) == facts.items
        assert ((id_IK == END).sum(1) == 1).all()
        np.testing.assert_array_equal(id_IK, textual_ids(facts.title_IT, facts.tokenizer, words, END))


@pytest.mark.parametrize("length_power", [0.0, 1.0])
def test_scores_are_log_probabilities_of_ids_token_by_token(
    facts: LogFacts, batch: ContextBatch, length_power: float
) -> None:
    """Against T5 of transformers, which is asked for one token after the other."""
    model = built("idgenrec", facts, length_power=length_power)
    assert isinstance(model, IDGenRec)
    t5 = reference(model.t5)
    score_GC = scores(model, batch)
    for row in range(2):
        history = [int(batch.item_U[slot]) for slot in batch.history_GL[row] if slot]
        read = [END] + [int(token) for item in history for token in model.id_IK[item] if token]
        for place, slot in enumerate(batch.candidate_GC[row]):
            spelling = [int(token) for token in model.id_IK[batch.item_U[slot]] if token]
            total = 0.0
            for k, token in enumerate(spelling):
                with torch.no_grad():
                    given = torch.tensor([[0, *spelling[:k]]])
                    logit_V = t5(input_ids=torch.tensor([read]), decoder_input_ids=given).logits[0, -1]
                total += float(logit_V.log_softmax(0)[token])
            expected = total / len(spelling) ** length_power
            torch.testing.assert_close(float(score_GC[row, place]), expected, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_positives_score(facts: LogFacts, batch: ContextBatch) -> None:
    model = built("idgenrec", facts)
    with torch.no_grad():
        torch.testing.assert_close(model(batch).total, -scores(model, batch)[:, 0].mean())


def test_many_candidates_are_scored_in_parts(facts: LogFacts, batch: ContextBatch) -> None:
    model = built("idgenrec", facts)
    together = scores(model, batch)
    model.candidates_a_pass = 8  # type: ignore[misc]
    torch.testing.assert_close(scores(model, batch), together, rtol=1e-4, atol=1e-4)
    one = replace(batch, candidate_GC=batch.candidate_GC[:, :1])
    torch.testing.assert_close(scores(model, one)[:, 0], together[:, 0], rtol=1e-4, atol=1e-4)
