"""Results in words."""

from gensr_dist.sentences import sentence


def test_a_result_in_words() -> None:
    values = {
        "users": 1200,
        "share": 0.12345,
        "early": True,
        "best": None,
        "seconds": 3.5,
        "task": {"train": 3},
        "x": [1],
    }
    assert sentence(values) == "users 1,200, share 0.1235, early yes, best none, task (train 3)"
