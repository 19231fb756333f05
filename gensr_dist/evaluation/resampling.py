"""Bootstrap and sign flips of users: rows of one user are no independent trials and are drawn and flipped together.

Only what a user's rows sum to matters, and only how often each distinct total occurs: a resample is one multinomial
draw, a flip of signs one binomial draw for each. Where every user has one row, these are draws and flips of rows.

Dimensions: R rows, U users, D distinct totals, B resamples, C resamples of a chunk, M values of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

_DRAWN = 2**25  # numbers that are drawn at once, 256 MiB: 1,000 resamples of 30,000 totals
_ALIGNED = 64  # resamples of a chunk are a multiple of it: BLAS then rounds their products as without chunks

Float = NDArray[np.float64]


def drawn(rng: np.random.Generator, users: int, resamples: int) -> Float:
    """How often each of the users is drawn, as many as there are, with replacement; [B, U]."""
    return rng.multinomial(users, np.full(users, 1 / users), size=resamples).astype(np.float64)


@dataclass(frozen=True)
class UserTotals:
    """What the rows of a user sum to, over users."""

    sum_DM: Float
    rows_D: NDArray[np.int64]  # of a user with this total
    users_D: NDArray[np.int64]  # that have it

    @classmethod
    def of(cls, user_R: NDArray[np.int64], value_RM: Float, *, falling: bool) -> Self:
        """From values of rows; at least one row.

        Args:
            user_R: user of each row.
            value_RM: what is summed.
            falling: order totals from the greatest, else from the least. The order says which total has which of a
                seed's random numbers.
        """
        assert len(user_R) == len(value_RM) > 0
        _, place_R, rows_U = np.unique(user_R, return_inverse=True, return_counts=True)
        sum_UM: Float = np.stack([np.bincount(place_R, value_R) for value_R in value_RM.T], axis=1)
        total_UX = np.column_stack([-sum_UM if falling else sum_UM, rows_U])
        _, first_D, users_D = np.unique(total_UX, axis=0, return_index=True, return_counts=True)
        return cls(sum_UM[first_D], rows_U[first_D], users_D)

    @property
    def rows(self) -> int:
        """Of all users."""
        return int(self.users_D @ self.rows_D)

    def mean(self) -> Float:
        """Over rows, [M]."""
        return self.users_D @ self.sum_DM / self.rows

    def resampled(self, rng: np.random.Generator, resamples: int) -> Float:
        """Means over the rows of users who were drawn with replacement, [B, M]."""
        users = int(self.users_D.sum())
        return np.concatenate(
            [
                self._means_of_drawn(rng.multinomial(users, self.users_D / users, size=size).astype(np.float64))
                for size in self._chunks(resamples)
            ]
        )

    def flipped(self, rng: np.random.Generator, resamples: int) -> Float:
        """Means over rows where each user's sums have a random sign, [B, M]."""
        parts = []
        for size in self._chunks(resamples):
            flip_CD = rng.binomial(self.users_D, 0.5, size=(size, len(self.users_D)))
            flip_CD *= 2
            flip_CD -= self.users_D
            parts.append(flip_CD @ self.sum_DM / self.rows)
        return np.concatenate(parts)

    def _means_of_drawn(self, draw_CD: Float) -> Float:
        return draw_CD @ self.sum_DM / (draw_CD @ self.rows_D)[:, None]

    def _chunks(self, resamples: int) -> Iterator[int]:
        """Sizes of about equal chunks; numpy draws one resample after another, so they have the numbers of one draw."""
        chunks = -(-resamples * len(self.users_D) // _DRAWN)
        chunk = -(-resamples // (chunks * _ALIGNED)) * _ALIGNED
        for start in range(0, resamples, chunk):
            yield min(chunk, resamples - start)
