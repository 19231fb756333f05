import pytest

from gensr_dist.distributed.launcher_variables import started_by_launcher
from gensr_dist.errors import InputError

WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "host0", "MASTER_PORT": "29500"}


def test_all_or_none() -> None:
    assert started_by_launcher(WHOLE)
    assert started_by_launcher({**WHOLE, "RANK": "0", "WORLD_SIZE": "1"})
    assert not started_by_launcher({**WHOLE, "RANK": "0", "WORLD_SIZE": "1", "MASTER_PORT": "0"})  # as we set them
    assert not started_by_launcher({})
    assert not started_by_launcher({"MASTER_ADDR": "host0", "MASTER_PORT": "29500", "LOCAL_RANK": "3"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"LOCAL_RANK": None, "MASTER_ADDR": None, "MASTER_PORT": None},
            "environment: RANK=1, WORLD_SIZE=2 without LOCAL_RANK, MASTER_ADDR, MASTER_PORT, left over or incomplete; "
            "start through torchrun or deepspeed, or, to work alone: env -u RANK -u WORLD_SIZE COMMAND",
        ),
        ({"RANK": None}, "environment: WORLD_SIZE=2, LOCAL_RANK=0, MASTER_ADDR=host0, MASTER_PORT=29500 without RANK,"),
        ({"MASTER_ADDR": ""}, "environment: RANK=1, WORLD_SIZE=2, LOCAL_RANK=0, MASTER_ADDR=, MASTER_PORT=29500 with"),
        ({"RANK": "2"}, "RANK: 2, expected less than WORLD_SIZE, which is 2; start through"),
        ({"RANK": "one"}, "RANK: 'one', expected a number of 0 or more; start through"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE: '0', expected a number of 1 or more; start through"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK: '-1', expected a number of 0 or more; start through"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT: 99999, expected the number of a TCP port; start through"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT: 0, expected the number of a TCP port; start through"),
    ],
)
def test_what_is_left_over_or_incomplete_is_named(changes: dict[str, str | None], expected: str) -> None:
    given = {name: value for name, value in {**WHOLE, **changes}.items() if value is not None}
    with pytest.raises(InputError) as caught:
        started_by_launcher(given)
    assert str(caught.value).startswith(expected)
