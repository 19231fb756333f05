"""Changed histories, by what each change must keep."""

import math
from collections import Counter

import torch

from gensr_dist.baselines.layers.augmentation import changed, nearest_items

LENGTH, SPARE = 7, 100  # slots of similar items are 100 more


def drawn(seed: int, length: int) -> tuple[list[int], list[int], list[bool]]:
    torch.manual_seed(seed)
    history_1L = torch.zeros(1, LENGTH, dtype=torch.int64)
    history_1L[0, :length] = torch.arange(1, length + 1)
    slot_1L, seen_1L = changed(history_1L, torch.arange(200) + SPARE)
    return history_1L[0].tolist(), slot_1L[0].tolist(), seen_1L[0].tolist()


def kind(length: int, before: list[int], after: list[int], seen: list[bool]) -> str:
    """Which change it is; fails if it is none."""
    assert not any(seen[length:])
    assert [slot % SPARE for slot in after[length:]] == [0] * (LENGTH - length)
    places = [place for place in range(length) if seen[place]]
    if before == after and len(places) < length:
        run = places == list(range(places[0], places[0] + len(places)))
        if run and len(places) == math.ceil(0.8 * length):
            return "cropped"
        assert len(places) == length - math.floor(0.5 * length)
        return "hidden"
    assert len(places) == length
    if any(slot > SPARE for slot in after):
        assert [slot % SPARE for slot in after] == before
        assert sum(slot > SPARE for slot in after) == math.ceil(0.2 * length)
        return "substituted"
    assert Counter(after) == Counter(before)
    moved = [place for place in range(length) if before[place] != after[place]]
    assert not moved or moved[-1] - moved[0] < math.ceil(0.5 * length)
    return "reordered"


def test_each_row_is_changed_in_one_way() -> None:
    for length in (5, 6, 7):
        kinds = Counter(kind(length, *drawn(seed, length)) for seed in range(400))
        assert set(kinds) == {"cropped", "hidden", "substituted", "reordered"}
        assert min(kinds.values()) > 60


def test_something_remains_of_every_history() -> None:
    for length in (1, 2):
        assert all(any(drawn(seed, length)[2]) for seed in range(60))
    assert not any(drawn(0, 0)[2])


def test_rows_are_changed_each_for_itself() -> None:
    torch.manual_seed(0)
    history_GL = torch.arange(1, 9).repeat(64, 1)
    slot_GL, seen_GL = changed(history_GL, torch.arange(9))
    assert len(torch.cat((slot_GL, seen_GL.long()), dim=1).unique(dim=0)) > 20


def test_nearest_items_have_the_largest_cosine() -> None:
    generator = torch.Generator().manual_seed(1)
    item_U = torch.tensor([-1, 5, 6, 7, 5, 8, 9])  # 5 has two slots
    cf_UE = torch.randn(7, 3, generator=generator)
    history_GL = torch.tensor([[1, 2, 3], [4, 5, 0]])
    similar_U = nearest_items(history_GL, item_U, cf_UE)
    assert similar_U[[0, 6]].tolist() == [0, 6]
    for slot in (1, 2, 3, 4, 5):
        others = [other for other in (1, 2, 3, 4, 5) if item_U[other] != item_U[slot]]
        cosine = [float(torch.cosine_similarity(cf_UE[slot], cf_UE[other], dim=0)) for other in others]
        best = others[cosine.index(max(cosine))]
        assert int(similar_U[slot]) == best
    assert nearest_items(torch.tensor([[1, 4]]), item_U, cf_UE).tolist() == list(range(7))
    assert nearest_items(torch.zeros(1, 2, dtype=torch.int64), item_U, cf_UE).tolist() == list(range(7))
