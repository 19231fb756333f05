"""Where every interaction is recommended and searched for at once, no model is shown the query of what it must predict.

Dimensions: G groups, L history, Q query tokens, S sequences.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from gensr_dist.baselines.loaders import BaselineLoader
from gensr_dist.baselines.registry import BASELINES
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.sequences import SequenceBatch
from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, ITEM_SCHEMA, QUERY_SCHEMA, USER_SCHEMA, Behaviour, EventLog
from gensr_dist.data.items import ItemStore
from gensr_dist.data.preparation.local_engine import LocalEngine
from gensr_dist.data.preparation.prepare import prepare
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.storage.folder import Folder
from tests.baselines.builders import batch_of, context_collator, rows_of, small_facts, small_settings

ITEMS, USERS, EVENTS = 40, 12, 300


def twin_log() -> EventLog:
    """Each item has a query of its own name; times are so coarse that many interactions share a moment."""
    rng = np.random.default_rng(0)
    item = rng.integers(0, ITEMS, EVENTS)
    table = {
        "user": rng.integers(0, USERS, EVENTS),
        "item": item,
        "behaviour": np.zeros(EVENTS, dtype=int),
        "time": rng.integers(1, 20, EVENTS) * 86_400_000,
        "query": np.full(EVENTS, -1),
        "positive": np.ones(EVENTS, dtype=bool),
    }
    recommended = pl.DataFrame(table).cast(dict(EVENT_SCHEMA))
    searched = pl.DataFrame({**table, "behaviour": np.ones(EVENTS, dtype=int), "query": item}).cast(dict(EVENT_SCHEMA))
    names = [f"thing{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(ITEMS)]
    return EventLog(
        users=pl.DataFrame({"user_id": [f"u{n}" for n in range(USERS)]}, schema=USER_SCHEMA),
        items=pl.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "text": names}, schema=ITEM_SCHEMA),
        queries=pl.DataFrame({"text": names}, schema=QUERY_SCHEMA),
        events=pl.concat([recommended, searched]).sort("user", "time", maintain_order=True),
    )


@pytest.fixture(scope="module")
def collator(tmp_path_factory: pytest.TempPathFactory) -> Collator:
    folder = Folder.at(tmp_path_factory.mktemp("twins") / "shards")
    config = DataConfig(split="time", valid_share=0.1, test_share=0.1, vocabulary=300, eval_negatives=9)
    prepare(LocalEngine(twin_log()), config, 0, folder)
    store, items = TimelineStore.open(folder), ItemStore.open(folder)
    return context_collator(store, items, np.zeros((store.items, 8), dtype=np.float32), history=30)


def query_of_item(collator: Collator) -> dict[int, tuple[int, ...]]:
    """Tokens of the query that names each row of the catalogue."""
    title_IT = np.asarray(collator.items.title_IT)
    tokens = {item: tuple(title_T[title_T > 0].tolist()) for item, title_T in enumerate(title_IT)}
    assert len(set(tokens.values())) == len(tokens)
    return tokens


def assert_no_row_tells(batch: ContextBatch, collator: Collator) -> None:
    names = query_of_item(collator)
    told = 0
    for g in np.flatnonzero(batch.row_G >= 0):
        target = int(batch.item_U[batch.candidate_GC[g, 0]])
        past = {int(batch.item_U[slot]) for slot in batch.history_GL[g] if slot > 0}
        queries = {tuple(word for word in batch.query_KQ[k].tolist() if word) for k in batch.history_query_GL[g]} - {()}
        assert queries == {names[item] for item in past}  # a twin's query is with its item
        assert (names[target] in queries) == (target in past)
        assert (batch.time_GL[g] < batch.now_G[g]).all()
        told += bool(queries)
        if batch.task_G[g] == Behaviour.RECOMMENDATION:
            assert not batch.query_GQ[g].any()
    assert told > 10


def loader_of(name: str, collator: Collator) -> BaselineLoader:
    facts = small_facts(collator.store, collator.items, collator.vectors.whole_IE)
    settings = small_settings(name, batch=256, history=30)
    model = BASELINES[name].build(settings, facts)
    return BaselineLoader(model, settings, collator, 0, Ranks(0, 1, torch.device("cpu")))


@pytest.mark.parametrize("name", ["nrhub", "sesrec", "unisar", "unifiedssr", "user"])
def test_rows_to_train_on_do_not_hold_their_targets_query(name: str, collator: Collator) -> None:
    (batch,) = loader_of(name, collator).batches_of_step(0)
    assert_no_row_tells(batch, collator)


@pytest.mark.parametrize("task", list(Behaviour))
def test_rows_to_score_do_not_hold_their_targets_query(task: Behaviour, collator: Collator) -> None:
    assert_no_row_tells(batch_of(collator, rows_of(collator.store, task, 40)), collator)


class Given(nn.Module):
    """Vectors of queries as they are given."""

    def __init__(self, vector_KD: Tensor) -> None:
        super().__init__()
        self.vector_KD = vector_KD

    def forward(self, word_KQ: Tensor) -> Tensor:
        return self.vector_KD


def test_seqrec_does_not_see_its_targets_query(collator: Collator) -> None:
    """Whatever is asked at a target's moment or later, its state stays; interactions share moments in this log."""
    facts = small_facts(collator.store, collator.items, collator.vectors.whole_IE)
    torch.manual_seed(0)
    model = BASELINES["seqrec"].build(small_settings("seqrec", history=30), facts).eval()
    (batch,) = loader_of("seqrec", collator).batches_of_step(0)
    assert isinstance(batch, SequenceBatch)
    assert (~batch.next_is_later_SL & batch.is_target_SL).sum() > 10
    assert (batch.history_query_SL[batch.item_SL > 0] > 0).all()
    # Each interaction's query has a vector of its own, whose gradient tells who sees it.
    query_SLD = model.query(batch.query_KQ)[batch.history_query_SL].detach().requires_grad_()
    number_SL = torch.arange(query_SLD[..., 0].numel()).view(query_SLD.shape[:2])
    model.query = Given(query_SLD.flatten(0, 1))
    batch = replace(batch, history_query_SL=torch.where(batch.item_SL > 0, number_SL, 0))
    seen = 0
    state_SLD = model.states(batch, model.items(batch))
    for place in range(batch.item_SL.shape[1]):
        target_S = batch.is_target_SL[:, place]
        if not target_S.any():
            continue
        (change_SLD,) = torch.autograd.grad(state_SLD[target_S, place].square().sum(), query_SLD, retain_graph=True)
        for s in target_S.nonzero().flatten().tolist():
            now = place + 1  # first interaction of the target's moment
            while now > 0 and not batch.next_is_later_SL[s, now - 1]:
                now -= 1
            assert not change_SLD[s, now:].any()
            seen += bool(change_SLD[s, :now].any())
    assert seen > 10
