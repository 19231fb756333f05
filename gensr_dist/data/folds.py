"""Parts of the users: each part's training rows read item vectors that were learnt without its users.

Dimensions: R rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.hashing import hash_key

_FOLDS = 0x666F6C6473  # names this use of random numbers


def fold_of_users(user_R: NDArray[Any], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each user, 0 to `folds` - 1, int64 [R]: a function of (seed, user) alone.

    Args:
        user_R: rows of users in the whole log.
        folds: how many there are, at least one.
        seed: of the run.
    """
    return (hash_key((seed, _FOLDS, user_R), len(user_R)) % np.uint64(folds)).astype(np.int64)
