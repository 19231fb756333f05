"""Cosines of planted gradients; the products of a real model's gradients against autograd."""

import numpy as np
import pytest
import torch

from gensr_dist.analysis.gradient_conflict.cosines import conflict_of, difference
from gensr_dist.analysis.gradient_conflict.mini_batches import _SKETCH, ROWS, MiniBatches, _Sketch, products_of_gensr
from gensr_dist.analysis.intervals import holds_above
from gensr_dist.analysis.subject import Subject
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.conflict import ALL
from gensr_dist.train.loop import train
from tests.train.small_runs import small_config


def planted(cosine: float, noise: float, *, moments: int = 2, batches: int = 32, seed: int = 0) -> np.ndarray:
    """Products of gradients whose expectations have a cosine, [T, M, K, M, K]."""
    random = np.random.default_rng(seed)
    mean_KP = np.zeros((2, 500))
    mean_KP[0, 0], mean_KP[1, :2] = 1.0, (cosine, (1 - cosine**2) ** 0.5)
    gradient_TMKP = mean_KP + noise * random.normal(size=(moments, batches, 2, 500))
    return np.einsum("tmkp,tnlp->tmknl", gradient_TMKP, gradient_TMKP)


@pytest.mark.parametrize("cosine", [-0.7, 0.0, 0.7])
def test_noise_hides_a_conflict_and_the_expected_cosine_finds_it(cosine: float) -> None:
    found = conflict_of(planted(cosine, noise=0.15))
    assert abs(found.cosine.value) < 0.1  # whatever it is
    assert found.null.value == pytest.approx(1 / (1 + 500 * 0.15**2), abs=0.03)
    low, high = found.expected.interval
    assert low < cosine < high < low + 0.6
    assert found.expected.value == pytest.approx(cosine, abs=0.15)


def test_without_noise_all_say_the_same() -> None:
    found = conflict_of(planted(-0.5, noise=0.0))
    assert [found.cosine.value, found.expected.value] == pytest.approx([-0.5, -0.5])
    assert (found.negative.value, found.null.value, found.null_negative.value) == (1.0, pytest.approx(1.0), 0.0)
    assert found.negative.interval[0] > 0.85


def test_a_moment_of_noise_alone_does_not_spoil_the_others() -> None:
    clear = planted(0.6, noise=0.1)
    random = np.random.default_rng(2).normal(size=(1, 32, 2, 500))
    nothing = np.einsum("tmkp,tnlp->tmknl", random, random)
    assert np.isnan(conflict_of(nothing).expected.value)
    both = conflict_of(np.concatenate([clear, nothing]))
    assert both.expected.value == pytest.approx(0.6, abs=0.15)


def test_differences_and_what_is_not_finite() -> None:
    assert holds_above(difference(planted(0.8, 0.1), planted(-0.5, 0.1, seed=3, moments=3)), 0) is True
    assert holds_above(difference(planted(0.2, 0.1), planted(0.2, 0.1, seed=3)), 0) is None
    broken = planted(0.5, 0.1)
    broken[0, 3] = np.nan
    assert conflict_of(broken).cosine.value == conflict_of(broken[1:]).cosine.value
    assert np.isnan(conflict_of(broken[:1]).cosine.value)
    assert np.isnan(conflict_of(broken[:0]).expected.value)


def test_a_sketch_keeps_products() -> None:
    first, second = torch.randn(2, 2 * _SKETCH, generator=torch.Generator().manual_seed(0))
    sketch = _Sketch.of(len(first))
    norms = float(first.norm() * (first + second).norm())
    found = float(sketch(first) @ sketch(first + second))
    assert found / norms == pytest.approx(float(first @ (first + second)) / norms, abs=0.01)
    assert _Sketch.of(3)(first[:3]).equal(first[:3])


def test_products_are_those_of_autograd(small_run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config()
    train(config, small_run)
    subject = Subject(run=small_run, config=config)
    collator = subject.data.collator(small_run, config.data.history, config.model)
    batches = MiniBatches.of(subject)
    assert batches.row_MKR.shape[1:] == (2, ROWS)
    assert len(np.unique(batches.row_MKR)) == batches.row_MKR.size
    few = MiniBatches(row_MKR=batches.row_MKR[:2], negatives=batches.negatives, seed=batches.seed)
    products = products_of_gensr(few, collator, subject.trained, config.train.likelihood)

    model, by_hand = subject.trained.model, []
    for row_R in few.row_MKR.reshape(-1, ROWS):
        batch = collator.training(row_R, epoch=0, seed=0, negatives=few.negatives, step_groups=ROWS)
        assert len(set(batch.task_G.tolist())) == 1
        model.zero_grad()
        model(model.inputs(batch, training=True), config.train.likelihood).nll_GC.sum().backward()
        layer = model.backbone.t5.encoder.block[1].parameters()
        by_hand.append(torch.cat([parameter.grad.flatten() for parameter in layer]).double())
    gradient_NP = torch.stack(by_hand)
    expected = (gradient_NP @ gradient_NP.T).numpy()
    assert products["encoder.block.1"].reshape(4, 4) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert "term_match" not in products
    layers = [value for name, value in products.items() if name != ALL]
    assert products[ALL] == pytest.approx(np.sum(layers, axis=0))

    monkeypatch.setattr("gensr_dist.analysis.gradient_conflict.mini_batches.FEWEST", 1_000)
    with pytest.raises(
        InputError, match=r"training rows of \w+, and at least 32000 are needed; analyse a run of a log"
    ):
        MiniBatches.of(subject)
