"""What sessions offer, one event at a time."""

from gensr_dist.data.negatives.exposures import Exposures


def offers_of(exposures: Exposures, event: int) -> list[int]:
    """Items that the session of an event offers, ascending."""
    session = exposures.session_N[event]
    return exposures.item_E[exposures.start_S[session] : exposures.start_S[session + 1]].tolist()
