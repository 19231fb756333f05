"""Which part of a run an event may be used for."""

from enum import IntEnum


class Split(IntEnum):
    """Training, validation or test."""

    TRAIN = 0
    VALID = 1
    TEST = 2
