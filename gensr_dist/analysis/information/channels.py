"""Channels of known information, to check estimators with.

Dimensions: N examples, D width of x and, of a Gaussian channel, of y, K nodes of a quadrature, O outcomes.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray

from gensr_dist.analysis.information.estimators import Samples


@dataclass(frozen=True, kw_only=True)
class GaussianChannel:
    """Each x_d and y_d are standard normal with correlation r: I = -D/2 log(1 - r^2)."""

    dimensions: int
    nats: float
    kind: ClassVar[str] = "Gaussian"

    def draw(self, examples: int, rng: np.random.Generator) -> Samples:
        """Independent examples."""
        noise = math.exp(-self.nats / self.dimensions)  # sqrt(1 - r^2)
        x_ND = rng.standard_normal((examples, self.dimensions))
        y_ND = math.sqrt(1 - noise**2) * x_ND + noise * rng.standard_normal(x_ND.shape)
        return _samples(x_ND, y_ND)


@dataclass(frozen=True, kw_only=True)
class BinarySymmetricChannel:
    """A fair bit that is turned over with probability `flip`: I = log 2 - H(flip)."""

    flip: float
    kind: ClassVar[str] = "binary symmetric"
    dimensions: ClassVar[int] = 1

    @property
    def nats(self) -> float:
        """I(X; Y)."""
        return math.log(2) - float(entropy_of_bit(np.array(self.flip)))

    def draw(self, examples: int, rng: np.random.Generator) -> Samples:
        """Independent examples."""
        x_N1 = rng.choice([-1.0, 1.0], size=(examples, 1))
        return _samples(x_N1, np.where(rng.random(x_N1.shape) < self.flip, -x_N1, x_N1))


@dataclass(frozen=True, kw_only=True)
class AnswerChannel:
    """x is standard normal; y is a bit with log-odds `scale` times a standard normal function of x, as of a model.

    That function is a mean over all of x, or, of `products`, a mean over products of two parts of x, as an answer is
    made of agreements between a user and an item: what a critic must find in fewer examples than x has dimensions.
    """

    dimensions: int
    scale: float
    products: bool = False

    @property
    def kind(self) -> str:
        """Of tables."""
        return "answer from products" if self.products else "answer from a sum"

    @property
    def nats(self) -> float:
        """I = log 2 - E H(1 / (1 + e^-(scale z))), z standard normal; of products in the limit of many."""
        z_K, weight_K = hermegauss(80)
        inner = entropy_of_bit(1 / (1 + np.exp(-self.scale * z_K)))
        return math.log(2) - float((inner * weight_K).sum() / weight_K.sum())

    def draw(self, examples: int, rng: np.random.Generator) -> Samples:
        """Independent examples."""
        x_ND = rng.standard_normal((examples, self.dimensions))
        half = self.dimensions // 2
        terms = x_ND[:, :half] * x_ND[:, half : 2 * half] if self.products else x_ND
        z_N = terms.sum(1) / math.sqrt(terms.shape[1])
        yes_N = rng.random(examples) < 1 / (1 + np.exp(-self.scale * z_N))
        return _samples(x_ND, np.where(yes_N, 1.0, -1.0)[:, None])


Channel: TypeAlias = GaussianChannel | BinarySymmetricChannel | AnswerChannel


def entropy_of_bit(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """H(chance) in nats."""
    inner = np.clip(chance, 1e-15, 1 - 1e-15)
    entropy: NDArray[np.float64] = -(inner * np.log(inner) + (1 - inner) * np.log1p(-inner))
    return entropy


def _samples(x_ND: NDArray[np.float64], y_NO: NDArray[np.float64]) -> Samples:
    return Samples(x_ND=x_ND.astype(np.float32), y_NO=y_NO.astype(np.float32), group_N=np.arange(len(x_ND)))
