"""The Python interface: run a config, open a finished run, ask it.

import gensr_dist

done = gensr_dist.run("configs/quickstart.yaml", "train.steps=300", "run=runs/short")
done.metrics["rec"]["ndcg@10"]
gensr_dist.Run.open("runs/quickstart").search("w1 w107", user="17", k=5).items[0].text
"""

import dataclasses
import logging
import numbers
import os
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from gensr_dist.config.root import Config, load_config
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import check_config, check_consistent
from gensr_dist.stages.runner import run_all
from gensr_dist.storage.home import at_home
from gensr_dist.storage.records import read_json

if TYPE_CHECKING:
    from gensr_dist.retrieval.answer import Answerer, Answers
    from gensr_dist.retrieval.item_lists import GivenHistory
    from gensr_dist.runs.trained_run import TrainedRun

LOG = logging.getLogger("gensr_dist")


@dataclass(frozen=True)
class Run:
    """A finished run, wherever its folder lies now; what answering needs is opened at the first question."""

    folder: RunFolder
    config: Config  # that it was made with

    @classmethod
    def open(cls, folder: str | Path, *, many: bool = False) -> Self:
        """Open a run folder that `gensr run` or `gensr index` has filled.

        Args:
            folder: of the run.
            many: many users will be asked for; else, of the log, only the shards of the asked ones are decoded.

        Raises:
            InputError: a stage has not finished, or its results do not belong together.
        """
        run = RunFolder(_path(folder, "folder"))
        check_consistent("index", run)
        config = load_config(run.config, done=True)
        check_config(config, "index", run)
        if not many:
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, shuffle_shards=1))
        return cls(RunFolder.of(config, run.root), config)

    @cached_property
    def trained(self) -> "TrainedRun":
        """Model, shards and vectors, with the items that came after training.

        Raises:
            InputError: a result is broken.
        """
        from gensr_dist.retrieval.added.opening import open_with_added

        return open_with_added(self.folder, self.config)

    @cached_property
    def answerer(self) -> "Answerer":
        """Everything that answering needs.

        Raises:
            InputError: a result is broken.
        """
        from gensr_dist.retrieval.answer import Answerer

        return Answerer(self.trained, self.config)

    def answerer_by(self, scorer: str | None) -> "Answerer":
        """The same where a trained baseline orders the candidates; None: `answerer` itself.

        Raises:
            InputError: there is no such baseline, it is not trained in this run, or from other results.
        """
        if scorer is None:
            return self.answerer
        if scorer not in self._by_baselines:
            from gensr_dist.retrieval.added.opening import open_for_scorer
            from gensr_dist.retrieval.answer import Answerer

            trained = open_for_scorer(self.folder, self.config, scorer)
            self._by_baselines[scorer] = Answerer(trained, self.config, scorer)
        return self._by_baselines[scorer]

    @cached_property
    def _by_baselines(self) -> "dict[str, Answerer]":
        return {}

    def recommend(
        self,
        user: str | None = None,
        *,
        history: Iterable[str] | None = None,
        k: int = 10,
        scorer: str | None = None,
    ) -> "Answers":
        """The k best items for a user of the log, or for someone with a history.

        Args:
            user: id as in the log, a text or a whole number.
            history: ids of items, oldest first, in place of a user.
            k: wanted.
            scorer: trained baseline whose logits alone order the candidates, such as "sasrec"; None: GenSR does.

        Raises:
            InputError: neither or both are given, there is no such user, or the baseline cannot score.
        """
        wanted, who = _count(k), self._who(user, history, scorer)
        return self.answerer_by(scorer).recommend(who, wanted)

    def search(
        self,
        query: str,
        user: str | None = None,
        *,
        history: Iterable[str] | None = None,
        k: int = 10,
        scorer: str | None = None,
    ) -> "Answers":
        """The k best items for someone who types a query; the other arguments are those of `recommend`.

        Raises:
            InputError: as `recommend`, or the query is empty.
        """
        wanted, text, who = _count(k), _text(query, "query"), self._who(user, history, scorer)
        return self.answerer_by(scorer).search(who, text, wanted)

    @property
    def metrics(self) -> dict[str, Any]:
        """What `gensr evaluate` found: `metrics["rec"]["ndcg@10"]` and so on.

        Raises:
            InputError: it has not run.
        """
        metrics: dict[str, Any] = read_json(self.folder.metrics, "run `gensr evaluate` first")
        return metrics

    def _who(self, user: str | None, history: Iterable[str] | None, scorer: str | None) -> "str | GivenHistory":
        if scorer is not None:
            _text(scorer, "scorer")
        if user is not None and history is None:
            return _id(user, "user")
        if history is None or user is not None:
            raise InputError("user", "expected a user or a history", "give one of the two")
        if isinstance(history, str | Set) or not isinstance(history, Iterable):
            raise InputError("history", f"it is {history!r}, expected ids of items, oldest first", "give a list")
        from gensr_dist.retrieval.item_lists import history_of

        ids = [_id(item, "history") for item in history]
        return history_of(ids, self.answerer_by(scorer).items.item_ids)


def _path(value: Any, name: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise InputError(name, f"it is {value!r}, expected a path", "give a text or a Path")
    return Path(at_home(value))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InputError(name, f"it is {value!r}, expected a text", "put it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(name, f"{value!r} cannot be written as UTF-8", "give whole characters") from None
    return value


def _id(value: Any, name: str) -> str:
    """Ids that are whole numbers in the log may be given as such."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return str(value) if whole else _text(value, name)


def _count(k: Any) -> int:
    if not isinstance(k, numbers.Integral) or isinstance(k, bool) or k < 1:
        raise InputError("k", f"it is {k!r}, expected a whole number of 1 or more", "give the number of items wanted")
    return int(k)


def run(config: Config | str | Path, *overrides: str) -> Run:
    """Run every stage that is due, as `gensr run` does, and open the result.

    Args:
        config: or the path of its YAML file.
        overrides: `a.b=c`, as of `--set`; only with a path.

    Raises:
        InputError: what a stage finds wrong.
        Paused: a stage was asked to end.
    """
    if not isinstance(config, Config):
        config = load_config(_path(config, "config"), [_text(text, "overrides") for text in overrides])
    elif overrides:
        raise InputError("overrides", "the config is given as an object", "change that instead")
    done = run_all(config, LOG.info)
    return Run.open(done.run)
