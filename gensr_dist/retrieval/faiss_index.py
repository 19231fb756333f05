"""FAISS: building, measuring, saving and reading one inner-product index.

Dimensions: J vectors, R queries, K neighbours, D width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gensr_dist.errors import InputError

RECALL = 0.95  # an approximate index searches as widely as it must to find this share of the true neighbours
_LINKS = 32  # of an HNSW node
_CONSTRUCTION = 200  # efConstruction
_TRAINING_VECTORS = 256  # a list, for k-means; FAISS warns below 39


@dataclass(frozen=True)
class BuiltIndex:
    """An index and how well it finds true neighbours."""

    index: Any  # faiss.Index
    recall: float  # of the first K against exact search; 1 for flat
    search_width: int  # nprobe or efSearch that reached it; 0 for flat


def build_faiss(
    vector_JD: NDArray[np.float32],
    calibration_RD: NDArray[np.float32],
    *,
    kind: Literal["flat", "ivf", "hnsw"],
    neighbours: int,
    seed: int,
) -> BuiltIndex:
    """Index vectors by inner product; entry j is row j.

    Args:
        vector_JD: what is found.
        calibration_RD: queries as they will come; the search width doubles until `RECALL` of their neighbours is found.
        kind: flat searches exactly; ivf looks into the nearest of about sqrt(J) k-means lists; hnsw walks a graph.
        neighbours: K of the measured recall.
        seed: of k-means.
    """
    import faiss

    count, width = vector_JD.shape
    flat = faiss.IndexFlatIP(width)
    flat.add(vector_JD)
    if kind == "flat" or not count or not len(calibration_RD):
        return BuiltIndex(index=flat, recall=1.0, search_width=0)
    index: Any
    if kind == "ivf":
        lists = max(1, min(round(count**0.5), count // 39))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed % (1 << 31)
        index.cp.max_points_per_centroid = _TRAINING_VECTORS
        index.cp.min_points_per_centroid = 1  # `lists` already keeps 39 a list, save in a tiny catalogue
        index.train(vector_JD)
        limit = lists
    else:
        index = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _CONSTRUCTION
        limit = count
    index.add(vector_JD)
    k = min(neighbours, count)
    _, true_RK = flat.search(calibration_RD, k)
    search_width = 1 if kind == "ivf" else k
    while True:
        _set_width(index, kind, search_width)
        recall = _recall(index.search(calibration_RD, k)[1], true_RK, count)
        if recall >= RECALL or search_width >= limit:
            return BuiltIndex(index=index, recall=recall, search_width=search_width)
        search_width = min(2 * search_width, limit)


def write_faiss(index: Any, path: Path) -> None:
    """Save an index, its search width included.

    Raises:
        InputError: the file cannot be written, for example because the disk is full.
    """
    import faiss

    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(path, f"the index cannot be written ({reason})", "free space or set `run` elsewhere") from None


def read_faiss(path: Path, remedy: str) -> Any:
    """Read an index whose bytes are trusted (FAISS does not defend itself against crafted files).

    Raises:
        InputError: it is not a FAISS index.
    """
    import faiss

    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(path, f"expected a FAISS index ({reason})", remedy) from None


def _set_width(index: Any, kind: str, search_width: int) -> None:
    if kind == "ivf":
        index.nprobe = search_width
    else:
        index.hnsw.efSearch = search_width


def _recall(found_RK: NDArray[np.int64], true_RK: NDArray[np.int64], count: int) -> float:
    row_R1 = np.arange(len(true_RK))[:, None] * (count + 1)
    return float(np.isin(true_RK + row_R1, np.where(found_RK < 0, count, found_RK) + row_R1).mean())
