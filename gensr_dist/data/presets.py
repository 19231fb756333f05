"""Simulated logs in the proportions of KuaiSAR (Sun et al., CIKM 2023), at its full size and at fractions of it.

The whole set: 25,877 users, 6,890,707 items, 453,667 queries, 14,605,716 recommendation and 5,059,169 search rows
over 19 days; users and items with five positives are about 22,700 and 673,415. All sizes share the mean events of a
user, the laws of activity and popularity, and the items a user; distinct queries fall more slowly, as in real logs.
"""

from typing import Literal, TypeAlias

from gensr_dist.data.config import SimulateConfig

Preset: TypeAlias = Literal["tiny", "small", "medium", "kuaisar"]
KUAISAR_USERS = 25_877
KUAISAR_ITEMS = 6_890_707
KUAISAR_DAYS = 19


def _scaled(fraction: int) -> SimulateConfig:
    """One in `fraction` of KuaiSAR's users and items."""
    return SimulateConfig(
        users=round(KUAISAR_USERS / fraction),
        items=round(KUAISAR_ITEMS / fraction),
        days=KUAISAR_DAYS,
        events_per_user=712.0,
        search_share=0.366,
        activity_shape=0.5,
        items_per_topic=1_000,  # the busiest users do not run out of items that they like
        popularity_spread=0.3,
        hit_share=0.14,
        own_word_share=0.215,
    )


PRESETS: dict[Preset, SimulateConfig] = {
    "tiny": _scaled(512),
    "small": _scaled(64),
    "medium": _scaled(8),
    "kuaisar": _scaled(1),
}
