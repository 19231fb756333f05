import pytest
import torch

from gensr_dist.baselines.layers.positions import sinusoids


def test_sinusoids_equal_their_definition() -> None:
    position_LD = sinusoids(5, 6, torch.device("cpu"))
    for place in range(5):
        for column in range(6):
            angle = torch.tensor(place / 10_000 ** (2 * (column // 2) / 6))
            expected = torch.cos(angle) if column % 2 else torch.sin(angle)
            assert position_LD[place, column] == pytest.approx(float(expected), abs=1e-6)
