"""The best recommender and the best searcher of a study, fused: whether one model of both tasks tells more."""

from collections.abc import Mapping
from pathlib import Path

from gensr_dist.baselines.registry import entry
from gensr_dist.baselines.scorer import BaselineScorer
from gensr_dist.baselines.untrained.fusion import LinearFusion, TaskFusion
from gensr_dist.baselines.untrained.popularity import Popularity
from gensr_dist.baselines.weights import collator_for, open_baseline
from gensr_dist.config.root import Config
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.evaluation.protocol import Scorer
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.study.settings import trial_settings
from gensr_dist.study.spec import TrialSpec, read_spec


def fused(spec: TrialSpec, config: Config, data: PreparedData, validation: Mapping[Behaviour, EvalRows]) -> TaskFusion:
    """Weights on validation rows: of a recommendation for the recommender and popularity, of a search for all three.

    Args:
        spec: whose `set` names the folders of both trials beside its own, the recommender's first.
        config: of the shared data.
        data: opened.
        validation: rows by task.
    """
    recommender, searcher = (_scorer(Path(spec.folder).parent / name, config, data) for name in spec.set)
    popularity = Popularity(data.items.popularity_I)
    parts: dict[Behaviour, list[Scorer]] = {
        Behaviour.RECOMMENDATION: [recommender, popularity],
        Behaviour.SEARCH: [searcher, recommender, popularity],
    }
    return TaskFusion({task: LinearFusion.fitted(parts[task], rows) for task, rows in validation.items()})


def _scorer(folder: Path, config: Config, data: PreparedData) -> BaselineScorer:
    spec = read_spec(folder)
    settings, ranks = trial_settings(spec), Ranks.alone()
    model = open_baseline(spec.system, settings, data, RunFolder(folder), ranks)
    assert isinstance(model, entry(spec.system).model)
    return BaselineScorer(model, collator_for(settings, data), ranks.device)
