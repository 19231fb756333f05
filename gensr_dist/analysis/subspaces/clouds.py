"""Clouds of points of both tasks, and their random halves by user.

Dimensions: R rows, D width, S splits.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.analysis.subject import Subject
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.protocol import draw_rows

FEWEST, FEWEST_USERS = 100, 10  # rows and users a task
MOST = 1_500  # rows a task: t-SNE takes seconds for twice as many
SPLITS = 100
_SEED = 0

Floats = NDArray[np.floating]
Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Clouds:
    """As many points of each task, finite."""

    rec_RD: Floats
    search_RD: Floats
    rec_user_R: Int
    search_user_R: Int

    @property
    def both_RD(self) -> Floats:
        """Recommendation, then search."""
        return np.concatenate([self.rec_RD, self.search_RD])

    @property
    def user_R(self) -> Int:
        """Of `both_RD`."""
        return np.concatenate([self.rec_user_R, self.search_user_R])

    def with_values(self, both_RD: Floats) -> Self:
        """The same rows elsewhere."""
        rows = len(self.rec_RD)
        return dataclasses.replace(self, rec_RD=both_RD[:rows], search_RD=both_RD[rows:])

    def over_splits(self, measure: Callable[[Floats, Floats], float]) -> tuple[Floats, Floats]:
        """A measure of two clouds over random halves of the users: of both tasks, and of one, the null; [S] each.

        No user is in both halves. Both tasks are compared by recommendation's points of one half and search's of the
        other alone: with the other two parts every row would be counted in every split, and the spread over splits
        would say nothing. The spread of an estimate from half of the users, over random halves, is about that of the
        estimate from all of them under new users (delete-half jackknife; Shao and Wu 1989).
        """
        random = np.random.default_rng(_SEED)
        users, place_R = np.unique(self.user_R, return_inverse=True)
        across, null = [], []
        for _ in range(SPLITS):
            first_R = (random.permutation(len(users)) < len(users) // 2)[place_R]
            rec_R, search_R = first_R[: len(self.rec_RD)], first_R[len(self.rec_RD) :]
            rec = self.rec_RD[rec_R], self.rec_RD[~rec_R]
            search = self.search_RD[search_R], self.search_RD[~search_R]
            across.append(measure(rec[0], search[1]))
            null.append(np.mean([measure(*rec), measure(*search)]))
        return np.array(across), np.array(null)


def rows_of(subject: Subject) -> Mapping[Behaviour, EvalRows]:
    """As many held-out rows of each task, with their positive alone.

    Raises:
        InputError: a task has too few, or those of too few users.
    """
    rows = subject.both_tasks(FEWEST, FEWEST_USERS)
    count = min(MOST, *map(len, rows.values()))
    drawn = {task: draw_rows(each, count, _SEED) for task, each in rows.items()}
    return {task: dataclasses.replace(each, candidate_RC=each.candidate_RC[:, :1]) for task, each in drawn.items()}
