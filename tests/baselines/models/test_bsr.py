from dataclasses import replace

import numpy as np
import pytest
import torch

from gensr_dist.baselines.contract import REC, SEARCH, LogFacts
from gensr_dist.baselines.models.bsr import BSR
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from tests.baselines.builders import batch_of, context_collator, rows_of, scores, small_facts
from tests.baselines.models.t5_reference import built, first_logits, reference


@pytest.fixture(scope="module")
def facts(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> LogFacts:
    return small_facts(small_store, small_items, small_cf)


@pytest.fixture(scope="module")
def batches(small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray) -> dict[int, ContextBatch]:
    """Rows of each task among all items of the catalogue, the positive first."""
    collator, found = context_collator(small_store, small_items, small_cf), {}
    for task in (REC, SEARCH):
        rows = rows_of(small_store, task, 5)
        every_RI = np.stack([np.roll(np.arange(small_store.items), -item) for item in rows.candidate_RC[:, 0]])
        found[task] = batch_of(collator, replace(rows, candidate_RC=every_RI))
    return found


@pytest.fixture(scope="module")
def model(facts: LogFacts) -> BSR:
    model = built("bsr", facts)
    assert isinstance(model, BSR)
    return model


@pytest.mark.parametrize("task", [REC, SEARCH])
def test_scores_are_the_logits_of_the_softmax_that_is_trained(
    task: int, model: BSR, batches: dict[int, ContextBatch]
) -> None:
    batch = batches[task]
    score_GI = scores(model, batch)
    with torch.no_grad():
        expected_GI = model.state(batch, model.items(batch)) @ model.items.catalogue().T
        torch.testing.assert_close(score_GI, expected_GI.gather(1, batch.item_U[batch.candidate_GC]))
        loss = model(batch).total
        torch.testing.assert_close(loss, -score_GI.log_softmax(1)[:, 0].mean())
        model.whole = False  # all items are in the batch
        torch.testing.assert_close(model(batch).total, loss)
        model.whole = True


def test_an_item_that_stands_in_a_batch_twice_counts_once(model: BSR, batches: dict[int, ContextBatch]) -> None:
    batch = batches[REC]
    twice = replace(
        batch,
        item_U=torch.cat([batch.item_U, batch.item_U[1:]]),
        cf_UE=torch.cat([batch.cf_UE, batch.cf_UE[1:]]),
        title_UT=torch.cat([batch.title_UT, batch.title_UT[1:]]),
    )
    second = replace(twice, candidate_GC=batch.candidate_GC + len(batch.item_U) - 1)
    with torch.no_grad():
        expected = model(batch).total
        model.whole = False
        for each in (twice, second):
            torch.testing.assert_close(model(each).total, expected)
        model.whole = True


def test_t5_reads_the_task_and_then_items_or_words(model: BSR, batches: dict[int, ContextBatch]) -> None:
    t5 = reference(model.t5)
    t5.lm_head.weight = torch.nn.Parameter(model.projection(model.items.catalogue()).detach())
    for task, batch in batches.items():
        score_GI = scores(model, batch)
        for row in range(len(batch.task_G)):
            token_N, item_N = batch.query_GQ[row], batch.item_U[batch.history_GL[row]]
            words_ND = model.t5.embed(token_N[token_N > 0])
            items_ND = model.projection(model.items.catalogue()[item_N[item_N >= 0]])
            input_ND = torch.cat([model.task.weight[[task]], words_ND if task == SEARCH else items_ND]).detach()
            expected_I = first_logits(t5, input_ND)[batch.item_U[batch.candidate_GC[row]]]
            torch.testing.assert_close(score_GI[row], expected_I, rtol=1e-4, atol=1e-4)


def test_search_knows_no_history_and_recommendation_no_query(model: BSR, batches: dict[int, ContextBatch]) -> None:
    searched, recommended = batches[SEARCH], batches[REC]
    assert searched.history_GL.any()
    forgetful = replace(searched, history_GL=torch.zeros_like(searched.history_GL))
    torch.testing.assert_close(scores(model, forgetful), scores(model, searched))
    asking = replace(recommended, query_GQ=torch.nn.functional.pad(searched.query_GQ, (0, 2), value=3))
    torch.testing.assert_close(scores(model, asking), scores(model, recommended))


def test_vectors_of_collaborative_filtering_are_a_choice(facts: LogFacts, batches: dict[int, ContextBatch]) -> None:
    model = built("bsr", facts, item_input="id+cf")
    assert isinstance(model, BSR)
    assert not model.whole
    model(batches[REC]).total.backward()
    assert model.items.projection is not None
    assert model.items.projection.weight.grad is not None
