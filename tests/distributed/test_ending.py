"""What a rank says when another is lost."""

import pytest

from gensr_dist.distributed.ending import lost_connection


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "[/x/gloo/transport/tcp/pair.cc:537] Read error [10.0.0.2]:16271: Connection reset by peer. This is",
            "Read error [10.0.0.2]:16271: Connection reset by peer",
        ),
        (
            "[/x/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 600000ms for recv operation to complete",
            "did not come to a collective in time (Timed out waiting 600000ms",
        ),
        ("NCCL error: remote process exited or there was a network error", "NCCL error"),
    ],
)
def test_errors_of_lost_connections_are_told_from_others(text: str, reason: str) -> None:
    told = lost_connection(RuntimeError(text))
    assert told is not None
    assert reason in told
    assert "\n" not in told
    assert lost_connection(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
