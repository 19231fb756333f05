"""LightGCN, cross-fitted: trained on the whole graph, and once more without each fold of the users.

Dimensions: V users, I items, E width.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from gensr_dist.data.cf_vectors import save_cf
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.graph.checkpoints import discard
from gensr_dist.graph.config import LightGCNConfig
from gensr_dist.graph.graphs import Graphs
from gensr_dist.graph.leak import Leak
from gensr_dist.graph.procrustes import ProcrustesAlignment
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.result import LightGCNResult
from gensr_dist.graph.training import GraphTraining, ScalarWriter, TrainedVectors

Measure = Callable[[ItemVectors], Leak | None]


def train_lightgcn(
    windows: Iterable[tuple[int, Timelines]],
    users: int,
    items: int,
    config: LightGCNConfig,
    seed: int,
    folder: Path,
    checkpoint: Path,
    *,
    ranks: ColumnRanks | None = None,
    resume: bool = True,
    writer: ScalarWriter | None = None,
    measure: Measure | None = None,
) -> LightGCNResult:
    """Train LightGCN and write its vectors and `lightgcn.json` to `folder`, all or none (`data/cf_vectors.py`).

    The kept vectors of each training are those of the epoch with the best recall@20 or, without validation events, of
    the last epoch. Those without a fold are aligned with the whole graph's. The same seed gives the same vectors on the
    same CPU with the same number of threads and ranks, interrupted or not; those without a fold do not depend, but for
    their alignment, on what its users do.

    Args:
        windows: all events, by ascending users: (row of a window's first user, its timelines). Positive recommendation
            events of the training split become edges, those of the validation split decide when to stop, and nothing
            else is looked at.
        users: number of users V.
        items: number of items I.
        config: settings.
        seed: of the folds, the first vectors, the order of edges and the negatives.
        folder: receives the files.
        checkpoint: folder of the checkpoints, deleted at the end.
        ranks: that train together; each calls this function. None: this process alone.
        resume: go on from the checkpoints, if there are any, instead of deleting them.
        writer: receives loss and recall, if given; after a resumption also those from before it.
        measure: finds out, on the first rank, what the vectors give away of training rows.

    Raises:
        InputError: there is no training edge, or none without some fold, the folds or ranks cannot share users or
            width, the checkpoint belongs to another training or is damaged, or the loss is not finite.
    """
    ranks = ranks or ColumnRanks()
    ranks.columns(config.width)  # refuses before any work
    graphs = Graphs.of_windows(windows, users=users, items=items, folds=config.folds, seed=seed)
    if not resume:
        discard(checkpoint, ranks)
    whole, *without_fold = _trained(graphs, config, seed, checkpoint, ranks, writer if ranks.first else None)

    def save() -> LightGCNResult:
        vectors = ItemVectors(whole.item_IE, tuple(trained.item_IE for trained in without_fold), seed)
        result = LightGCNResult(
            **vars(whole.result),
            users=users,
            items=items,
            seconds=round(sum(trained.seconds for trained in (whole, *without_fold)), 2),
            without_fold=tuple(trained.result for trained in without_fold),
            leak=measure(vectors) if measure else None,
        )
        record = {"settings": asdict(config), "seed": seed, "result": asdict(result)}
        tables = vectors.without_fold
        aligned = (ProcrustesAlignment.onto(whole.item_IE, table_IE).aligned(table_IE) for table_IE in tables)
        save_cf(folder, whole.item_IE, whole.user_VE, record, aligned)
        return result

    result = ranks.from_first(save)
    discard(checkpoint, ranks)
    return result


def _trained(
    graphs: Graphs, config: LightGCNConfig, seed: int, checkpoint: Path, ranks: ColumnRanks, writer: ScalarWriter | None
) -> list[TrainedVectors]:
    """Every training, one after the other: one trainer is in memory at a time."""
    planned = {fold: config.epochs * -(-graphs.edges(fold) // config.batch) for fold in graphs.names}
    done: list[TrainedVectors] = []
    with tqdm(desc="lightgcn", unit="step", total=sum(planned.values()), disable=None if ranks.first else True) as bar:
        for fold in graphs.names:
            edges = graphs.training_edges(fold)
            training = GraphTraining(edges, graphs.valid, fold, config, seed, checkpoint, ranks, writer)
            done.append(training.run(bar))
            del planned[fold]
            bar.total = bar.n + sum(planned.values())  # it may have stopped early
    return done
