"""What users did, by loops over the events of a log."""

import numpy as np

from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines


def users_of_items(timelines: Timelines, items: int) -> list[set[int]]:
    """Users to whom each item was recommended in training, and who chose it."""
    users: list[set[int]] = [set() for _ in range(items)]
    for user in range(timelines.users):
        for event in range(timelines.user_start_V[user], timelines.user_start_V[user + 1]):
            trained = timelines.positive_N[event] and timelines.split_N[event] == Split.TRAIN
            if trained and timelines.behaviour_N[event] == Behaviour.RECOMMENDATION:
                users[timelines.item_N[event]].add(user)
    return users


def items_before(timelines: Timelines, user: int, event: int) -> list[int]:
    """Items of the interactions strictly before an event, oldest first; twins are one interaction."""
    found: list[tuple[int, int]] = []
    for earlier in range(timelines.user_start_V[user], event):
        if timelines.positive_N[earlier] and timelines.time_N[earlier] < timelines.time_N[event]:
            entry = (int(timelines.time_N[earlier]), int(timelines.item_N[earlier]))
            if not found or found[-1] != entry:
                found.append(entry)
    return [item for _, item in found]


def interactions(users: list[set[int]], count: int) -> np.ndarray:
    """1 where a user chose an item, [V, I]."""
    return np.array([[float(user in of_item) for of_item in users] for user in range(count)])
