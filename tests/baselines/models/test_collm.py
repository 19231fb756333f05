from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gensr_dist.baselines.contract import REC, LogFacts
from gensr_dist.baselines.models.collm import CoLLM
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from tests.baselines.builders import batch_of, context_collator, rows_of, scores, small_facts
from tests.baselines.models.t5_reference import built, reference

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def facts(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> LogFacts:
    return small_facts(small_store, small_items, small_cf)


@pytest.fixture(scope="module")
def batch(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> ContextBatch:
    return batch_of(context_collator(small_store, small_items, small_cf), rows_of(small_store, REC, 6))


@pytest.fixture
def model(facts: LogFacts) -> CoLLM:
    model = built("collm", facts)
    assert isinstance(model, CoLLM)
    return model


def test_zero_slots_are_the_model_of_texts_alone(model: CoLLM, facts: LogFacts, batch: ContextBatch) -> None:
    alone = built("collm", facts, collaborative=False)
    alone.load_state_dict({name: value for name, value in model.state_dict().items() if name.startswith("t5.")})
    assert (scores(model, batch) - scores(alone, batch)).abs().max() > 1e-3
    for mapping in (model.user_slot, model.item_slot):
        assert isinstance(mapping, nn.Sequential)
        nn.init.zeros_(mapping[2].weight)
        nn.init.zeros_(mapping[2].bias)
    torch.testing.assert_close(scores(model, batch), scores(alone, batch))


def test_candidates_that_share_a_prefix_score_what_they_score_alone(model: CoLLM, batch: ContextBatch) -> None:
    together = scores(model, batch)
    for place in range(batch.candidate_GC.shape[1]):
        alone = scores(model, replace(batch, candidate_GC=batch.candidate_GC[:, [place]]))
        torch.testing.assert_close(alone[:, 0], together[:, place], **CLOSE)
    model.candidates_a_pass = 3 * len(together)  # type: ignore[misc]
    torch.testing.assert_close(scores(model, batch), together, **CLOSE)


def test_the_prompt_is_titles_user_title_and_item(model: CoLLM, batch: ContextBatch) -> None:
    """Against T5 of transformers, which sees the prompt from the left to the right of the item's slot as one text.

    Its encoder is told, layer by layer, that the prefix does not see the candidate.
    """
    t5, end = reference(model.t5), model.t5.end
    assert model.user_slot is not None
    assert model.item_slot is not None
    score_GC = scores(model, batch)
    for row, place in ((0, 0), (1, 3), (2, 1)):
        history = [slot for slot in batch.history_GL[row].tolist() if slot]
        prefix = [token for slot in history for token in (*_title(batch, slot), end)]
        candidate = int(batch.candidate_GC[row, place])
        title = _title(batch, candidate)
        with torch.no_grad():
            user_1D = model.user_slot(batch.cf_UE[history].mean(0, keepdim=True))
            item_1D = model.item_slot(batch.cf_UE[[candidate]])
            words, text = (model.t5.backbone.embed(torch.tensor(x, dtype=torch.long)) for x in (prefix, title))
            input_ND = torch.cat([words, user_1D, text, item_1D])
        bias_NN = torch.zeros(len(input_ND), len(input_ND))
        bias_NN[: len(prefix) + 1, len(prefix) + 1 :] = -1e9
        hidden = t5.encoder(inputs_embeds=input_ND[None], attention_mask=bias_NN[None, None])
        logit_V = t5(encoder_outputs=hidden, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        no, yes = model.no_yes_2
        torch.testing.assert_close(score_GC[row, place], (logit_V[yes] - logit_V[no]).detach(), **CLOSE)


def _title(batch: ContextBatch, slot: int) -> list[int]:
    return [token for token in batch.title_UT[slot].tolist() if token]
