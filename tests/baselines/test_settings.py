"""Settings of baselines that cannot be, each with one line."""

import numpy as np
import pytest

from gensr_dist.baselines.registry import BASELINES, entry
from gensr_dist.baselines.settings import read_settings
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from tests.baselines.builders import small_facts


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("sasrec.dropout=1.5", "dropout is 1.5, expected a number >= 0 and < 1"),
        ("sasrec.width=0", "width is 0, expected an integer >= 1"),
        ("sasrec.layers=-1", "layers is -1, expected a number >= 0"),
        ("sasrec.loss=mse", "loss is 'mse', expected one of bce, ce, sampled, gbce, bpr_max"),
        ("sasrec.epochs=many", "epochs is 'many', expected an integer"),
        ("sasrec.lr=1", "unknown key 'sasrec.lr'"),
    ],
)
def test_it_is_said_in_a_line(override: str, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        read_settings("sasrec", [override])
    assert caught.value.problem.startswith(problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_all_baselines_have_bounds(name: str) -> None:
    for override in ("dropout=1", "learning_rate=0", "batch=0", "history=0", "negatives=-1"):
        with pytest.raises(InputError, match="expected"):
            read_settings(name, [f"{name}.{override}"])


def test_unknown_ones_name_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean sasrec"):
        entry("sasrek")
    with pytest.raises(InputError, match="gensr baseline --list"):
        entry("zzzz")


def test_settings_that_do_not_go_together_are_said(
    small_store: TimelineStore, small_items: ItemStore, small_cf: np.ndarray
) -> None:
    facts = small_facts(small_store, small_items, small_cf)
    with pytest.raises(InputError, match="width 16 is not a multiple of 3 heads"):
        entry("sasrec").build(read_settings("sasrec", ["sasrec.width=16", "sasrec.heads=3"]), facts)
