"""How much the densities of two clouds in a plane overlap.

Dimensions: P points, X and Y places of a grid, R rows, D width, S splits.
"""

from dataclasses import dataclass

import numpy as np

from gensr_dist.analysis.intervals import from_resamples
from gensr_dist.analysis.subspaces.clouds import Clouds, Floats
from gensr_dist.evaluation.metrics import Estimate

_GRID = 64  # places a side
_MARGIN = 0.15  # of the range, beyond the points


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Integrals of min(p, q), between halves of the users."""

    across: Estimate  # both tasks
    null: Estimate  # one task
    ratio: Estimate  # of both: 1 where the tasks lie as the users of one task do, 0 where they are apart


def overlap_of(plane: Clouds) -> Overlap:
    """Of clouds in a plane, with intervals over random halves."""
    axes = _axes(plane.both_RD)
    across_S, null_S = plane.over_splits(lambda first_P2, second_P2: _overlap(first_P2, second_P2, axes))
    across, null, ratio = (
        from_resamples(float(each_S.mean()), each_S) for each_S in (across_S, null_S, across_S / null_S)
    )
    return Overlap(across=across, null=null, ratio=ratio)


def principal_plane(clouds: Clouds) -> tuple[Clouds, float]:
    """The clouds in the plane of the two largest principal components of both tasks' points together, and the share of
    the variance that it shows.
    """
    centred_RD = clouds.both_RD - clouds.both_RD.mean(0)
    _, scale_D, axis_DD = np.linalg.svd(centred_RD, full_matrices=False)
    return clouds.with_values(centred_RD @ axis_DD[:2].T), float((scale_D[:2] ** 2).sum() / (scale_D**2).sum())


def embedded_plane(clouds: Clouds) -> Clouds:
    """The clouds in the plane of t-SNE (van der Maaten and Hinton 2008) of both tasks' points together."""
    from sklearn.manifold import TSNE

    plane_R2 = TSNE(2, init="pca", random_state=0, perplexity=30.0).fit_transform(clouds.both_RD)
    return clouds.with_values(np.asarray(plane_R2, dtype=np.float64))


def _axes(point_P2: Floats) -> tuple[Floats, Floats]:
    low_2, high_2 = point_P2.min(0), point_P2.max(0)
    margin_2 = _MARGIN * (high_2 - low_2)
    first, second = (np.linspace(a - m, b + m, _GRID) for a, b, m in zip(low_2, high_2, margin_2, strict=True))
    return first, second


def _overlap(first_P2: Floats, second_P2: Floats, axes: tuple[Floats, Floats]) -> float:
    cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    return float(np.minimum(_density(first_P2, axes), _density(second_P2, axes)).sum() * cell)


def _density(point_P2: Floats, axes: tuple[Floats, Floats]) -> Floats:
    """Kernel density [X, Y]: products of Gaussians of Scott's width (1992) along both axes."""
    width_2 = point_P2.std(0) * len(point_P2) ** (-1 / 6)
    kernel_XP, kernel_YP = (
        np.exp(-0.5 * ((axis[:, None] - point_P) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        for axis, point_P, width in zip(axes, point_P2.T, width_2, strict=True)
    )
    density_XY: Floats = kernel_XP @ kernel_YP.T / len(point_P2)
    return density_XY
