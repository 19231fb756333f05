"""The stage `gensr index`: FAISS indices of the trained vectors, then the orders that are fitted on all channels.

Dimensions: I items, E width of a CF vector, H of the match towers, T title tokens, V vocabulary, D width of the model.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.retrieval.added.folder import REMEDY as ADD_AGAIN
from gensr_dist.retrieval.added.folder import count_added
from gensr_dist.retrieval.added.opening import RunWithAddedItems
from gensr_dist.retrieval.added.text_lists import TextLists
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.channels.channel_set import ChannelSet
from gensr_dist.retrieval.channels.stage import ChannelArrays
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.fitting import FittedOrders, fit_orders
from gensr_dist.retrieval.fusion.learnt_order import FEWEST
from gensr_dist.retrieval.index import REMEDY, CatalogueIndex, IndexResult, tower_vectors, write_index
from gensr_dist.retrieval.orders_file import read_orders, save_orders
from gensr_dist.retrieval.ranker import CandidateScorer, Ranker
from gensr_dist.retrieval.request_scorer import RequestScorer
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.sentences import sentence
from gensr_dist.storage.durable import durable_folder


@dataclass(frozen=True, kw_only=True)
class IndexStageResult:
    """What the stage made."""

    index: IndexResult
    orders: FittedOrders
    warnings: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """For people: sizes, the weights of all orders, warnings."""
        weights = (
            f"{what} of {TASK_NAMES[task]} {'; '.join(order.lines())}"
            for what, orders in (("fusion", self.orders.fusion), ("answers", self.orders.answers))
            for task, order in orders.items()
        )
        return (sentence(self.index), *weights, *(f"warning: {line}" for line in self.warnings))


def index_run(trained: TrainedRun, config: Config) -> IndexStageResult:
    """Write the index folder of a run, whole or not at all.

    Args:
        trained: the run.
        config: its settings.

    Raises:
        InputError: the model gives NaN, or the folder cannot be written.
    """
    retrieval = config.retrieval
    with durable_folder(trained.folder.index) as temporary:
        result = write_index(
            temporary,
            item_IE=trained.item_IE,
            item_IH=tower_vectors(trained.model, trained.item_IE, trained.items.title_IT),
            title_IT=trained.items.title_IT,
            token_VD=trained.model.token_embeddings().detach().float().cpu().numpy(),
            config=retrieval,
            seed=config.seed,
        )
        scorer = _scorer(trained, config)
        arrays = ChannelArrays.open(trained.folder.channels, trained.store.items)
        generator = _generator(trained, temporary, arrays, scorer, retrieval)
        orders = fit_orders(
            generator,
            scorer,
            trained.store,
            trained.items,
            rows=retrieval.fit_rows,
            candidates=retrieval.candidates,
            seed=config.seed,
        )
        save_orders(temporary, orders)
    warnings = list(generator.channels.notes)
    added = trained.folder.added
    if added.exists():  # whoever answers would leave them out from now on, since they are of another index
        discarded = count_added(added)
        shutil.rmtree(added)
        warnings.append(f"{discarded:,} items that had been added to the earlier index are discarded; {ADD_AGAIN}")
    for orders_by_task, instead in (
        (orders.fusion, "candidates are fused by reciprocal ranks"),
        (orders.answers, "GenSR alone orders answers"),
    ):
        warnings += [
            f"{name}: {instead}; fewer than {FEWEST} validation rows have their positive among what is to be ordered"
            for task, name in TASK_NAMES.items()
            if retrieval.fit_rows and task not in orders_by_task and trained.store.manifest.counts(task).train
        ]
    return IndexStageResult(index=result, orders=orders, warnings=tuple(warnings))


def open_ranker(trained: TrainedRun, config: Config, baseline: str | None = None) -> Ranker:
    """Everything that answers requests of a run.

    Args:
        trained: the run.
        config: its settings.
        baseline: whose logits alone order the candidates, in place of GenSR; then the run is one without added items.

    Raises:
        InputError: the index is missing or broken, or was made for another catalogue; or so is the baseline.
    """
    gensr = _scorer(trained, config)
    scorer: CandidateScorer = gensr
    if baseline is not None:
        from gensr_dist.retrieval.baseline_request_scorer import BaselineRequestScorer  # GenSR's answers do without

        scorer = BaselineRequestScorer.open(baseline, trained)
    if isinstance(trained, RunWithAddedItems):
        index, lists = trained.added.index, TextLists.open(trained.added.lists, len(trained.item_IE))
        arrays = lists.joined(ChannelArrays.open(trained.folder.channels, trained.store.items))
    else:
        index, arrays = trained.folder.index, ChannelArrays.open(trained.folder.channels, trained.store.items)
    generator = _generator(trained, index, arrays, gensr, config.retrieval)
    # Those of the log's items serve added ones too: they are weights of the same channels.
    orders = read_orders(trained.folder.index, {task: generator.features(task) for task in TASK_NAMES})
    return Ranker(generator.fused(orders.fusion), scorer, orders.answers if scorer is gensr else {})


def _scorer(trained: TrainedRun, config: Config) -> RequestScorer:
    return RequestScorer(trained.model, trained.collator, trained.device, config.evaluation.prompts)


def _generator(
    trained: TrainedRun, folder: Path, arrays: ChannelArrays, scorer: RequestScorer, config: RetrievalConfig
) -> CandidateGenerator:
    index, items = CatalogueIndex.open(folder), len(trained.items.title_IT)
    if not index.items == items == len(trained.item_IE):
        raise InputError(
            folder, f"made for {index.items} items, the shards hold {items}, CF {len(trained.item_IE)}", REMEDY
        )
    channels = ChannelSet.over(
        arrays,
        index.views,
        item_IE=trained.item_IE,
        item_IH=index.item_IH,
        weighted_VD=np.asarray(index.weighted_VD),
        title_IT=trained.items.title_IT,
        popularity_I=trained.items.popularity_I,
        users=scorer.users,
    )
    return CandidateGenerator(channels, items, exclude_seen=config.exclude_seen)
