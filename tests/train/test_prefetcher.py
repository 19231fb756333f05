"""Steps arrive in order, one ahead, and nothing is collated that nobody asked for."""

from collections.abc import Iterator

import pytest
import torch

from gensr_dist.data.batches.batch import Batch
from gensr_dist.errors import InputError
from gensr_dist.train.prefetcher import Prefetcher
from tests.model.builders import random_batch, tiny_model


def test_steps_are_prepared_one_ahead() -> None:
    collated: list[int] = []

    def steps() -> Iterator[tuple[int, list[Batch]]]:
        for step in range(3):
            collated.append(step)
            yield step, [random_batch(step), random_batch(10 + step)]

    prefetcher = Prefetcher(steps(), tiny_model().inputs, torch.device("cpu"))
    for step in range(3):
        number, parts = prefetcher.take()
        assert number == step
        assert collated == list(range(step + 1))
        assert [batch.row_G.tolist() for batch, _ in parts] == [inputs.batch.row_G.tolist() for _, inputs in parts]
        expected = [random_batch(seed).candidate_GC for seed in (step, 10 + step)]
        assert all(torch.equal(batch.candidate_GC, e) for (batch, _), e in zip(parts, expected, strict=True))
        prefetcher.prepare()
        prefetcher.prepare()
        assert collated == list(range(min(step + 2, 3)))


def test_a_step_that_cannot_be_collated_is_an_error_when_it_is_taken() -> None:
    def steps() -> Iterator[tuple[int, list[Batch]]]:
        yield 0, [random_batch(0)]
        raise InputError("data", "seen everything", "bring more items")

    prefetcher = Prefetcher(steps(), tiny_model().inputs, torch.device("cpu"))
    prefetcher.take()
    prefetcher.prepare()  # while the step before is still under way
    with pytest.raises(InputError, match="seen everything"):
        prefetcher.take()
