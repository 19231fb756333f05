"""Batches made by hand over a small catalogue, of which it is known what tells the answer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gensr_dist.baselines.contract import Baseline, LogFacts
from gensr_dist.baselines.registry import BASELINES
from gensr_dist.data.batches.batch import HISTORY_FEATURES, QUERY_FEATURES, ContextBatch
from gensr_dist.data.events import Behaviour
from tests.baselines.builders import no_edges, small_settings
from tests.baselines.learning import share_after_training

ITEMS, USERS, WORDS, CANDIDATES, TITLE = 12, 12, 20, 4, 3
CHANCE = 1 / CANDIDATES
REC, SEARCH = Behaviour.RECOMMENDATION, Behaviour.SEARCH


def titles(seed: int = 0) -> np.ndarray:
    """Two or three words of each item, [I, T]."""
    title_IT = np.random.default_rng(seed).integers(1, WORDS, (ITEMS, TITLE)).astype(np.int32)
    title_IT[::3, 2] = 0
    return title_IT


def facts(popularity_I: np.ndarray | None = None) -> LogFacts:
    return LogFacts(
        items=ITEMS,
        users=USERS,
        tokenizer=range(WORDS),
        cf_width=4,
        cf_scale=1.0,
        popularity_I=np.arange(1, ITEMS + 1) if popularity_I is None else popularity_I,
        title_IT=titles(),
        edges=no_edges,
    )


def build(name: str, changes: dict[str, Any] | None = None, **facts_changes: Any) -> Baseline:
    """A baseline of the small catalogue, made small."""
    torch.manual_seed(0)
    own = {"inner": 32, "word_width": 16, **(changes or {})}
    return BASELINES[name].build(small_settings(name, **own), facts(**facts_changes))


def rows(
    candidate_GC: Tensor,
    *,
    history_GL: Tensor | None = None,
    query_GQ: Tensor | None = None,
    user_G: Tensor | None = None,
    task: Behaviour = SEARCH,
    seed: int = 0,
) -> ContextBatch:
    """Rows of items as they are numbered in the catalogue; -1 pads."""
    groups = len(candidate_GC)
    history_GL = torch.full((groups, 1), -1) if history_GL is None else history_GL
    query_GQ = torch.zeros(groups, 2, dtype=torch.int64) if query_GQ is None else query_GQ
    cf_UE = torch.randn(ITEMS + 1, 4, generator=torch.Generator().manual_seed(seed))
    cf_UE[0] = 0
    return ContextBatch(
        row_G=torch.arange(groups),
        user_G=torch.zeros(groups, dtype=torch.int64) if user_G is None else user_G,
        task_G=torch.full((groups,), int(task)),
        query_GQ=query_GQ,
        history_GL=history_GL + 1,
        behaviour_GL=(history_GL >= 0).long(),
        candidate_GC=candidate_GC + 1,
        label_GC=torch.zeros_like(candidate_GC),
        item_U=torch.arange(-1, ITEMS),
        cf_UE=cf_UE,
        title_UT=torch.from_numpy(np.concatenate((np.zeros((1, TITLE)), titles())).astype(np.int64)),
        log_chance_GC=torch.zeros(candidate_GC.shape),
        query_evidence_GCF=torch.zeros(*candidate_GC.shape, QUERY_FEATURES),
        history_evidence_GCF=torch.zeros(*candidate_GC.shape, HISTORY_FEATURES),
        step_groups=groups,
        query_KQ=torch.zeros(1, 2, dtype=torch.int64),
        history_query_GL=torch.zeros_like(history_GL),
        time_GL=torch.zeros_like(history_GL),
        now_G=torch.zeros(groups, dtype=torch.int64),
    )


def random_rows(seed: int, groups: int = 6, length: int = 4, task: Behaviour = SEARCH) -> ContextBatch:
    """Rows in which nothing tells anything; the first has no history, the last a full one."""
    draw = torch.Generator().manual_seed(seed)
    history_GL = torch.randint(0, ITEMS, (groups, length), generator=draw)
    length_G = torch.randint(0, length + 1, (groups,), generator=draw)
    length_G[0], length_G[-1] = 0, length
    query_GQ = torch.randint(1, WORDS, (groups, 3), generator=draw)
    query_GQ[::2, 2] = 0
    return rows(
        torch.randint(0, ITEMS, (groups, CANDIDATES), generator=draw),
        history_GL=torch.where(torch.arange(length) < length_G[:, None], history_GL, -1),
        query_GQ=query_GQ,
        user_G=torch.arange(groups) % USERS,
        task=task,
    )


def _with_answer(answer_G: Tensor, draw: torch.Generator) -> Tensor:
    """The answer, and others."""
    other = torch.randint(1, ITEMS, (len(answer_G), CANDIDATES - 1), generator=draw)
    return torch.cat((answer_G[:, None], (answer_G[:, None] + other) % ITEMS), dim=1)


def told_by_query(seed: int, groups: int, task: Behaviour = SEARCH) -> ContextBatch:
    """Each query's word has an item of its own; history and user are random."""
    draw = torch.Generator().manual_seed(seed)
    answer_G, history_G, user_G = torch.randint(0, ITEMS, (3, groups), generator=draw)
    query_GQ = torch.stack((answer_G + 1, torch.zeros_like(answer_G)), dim=1)
    return rows(
        _with_answer(answer_G, draw), history_GL=history_G[:, None], query_GQ=query_GQ, user_G=user_G, task=task
    )


def told_by_history(seed: int, groups: int, task: Behaviour = SEARCH) -> ContextBatch:
    """Each item of a history has one that follows it; the query is always the same, the user is random."""
    draw = torch.Generator().manual_seed(seed)
    history_G, user_G = torch.randint(0, ITEMS, (2, groups), generator=draw)
    query_GQ = torch.tensor([[1, 0]]).expand(groups, 2) * (task == SEARCH)
    candidate_GC = _with_answer((5 * history_G + 3) % ITEMS, draw)
    return rows(candidate_GC, history_GL=history_G[:, None], query_GQ=query_GQ, user_G=user_G, task=task)


def told_by_user(seed: int, groups: int, task: Behaviour = SEARCH) -> ContextBatch:
    """Each user has an item; the query is always the same, the history is random."""
    draw = torch.Generator().manual_seed(seed)
    history_G, user_G = torch.randint(0, ITEMS, (2, groups), generator=draw)
    query_GQ = torch.tensor([[1, 0]]).expand(groups, 2) * (task == SEARCH)
    candidate_GC = _with_answer((5 * user_G + 3) % ITEMS, draw)
    return rows(candidate_GC, history_GL=history_G[:, None], query_GQ=query_GQ, user_G=user_G, task=task)


def share_found(
    name: str, made: Callable[..., ContextBatch], task: Behaviour = SEARCH, *, until: float = 1.0, **changes: Any
) -> float:
    """`share_after_training` of rows that `made` makes."""
    model = build(name, changes)
    return share_after_training(
        model,
        lambda step: model(made(step, 64, task)).total,
        made(1_000, 512, task),
        learning_rate=1e-2,
        until=until,
    )


def query_vector(model: Any, word_Q: Tensor) -> Tensor:
    """F(q), by its words one after the other."""
    words = [model.words.weight[word] for word in word_Q.tolist() if word]
    linear = model.query.linear
    return torch.tanh(linear.weight @ (sum(words) / len(words)) + linear.bias)
