"""The index folder: FAISS indices of the views (CF, texts, match tower).

Dimensions: I items, J of them with a vector in a view, R queries, K neighbours, E width of a CF vector, D width of the
backbone, H width of the match towers, V vocabulary, T title tokens, B items of a block.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.errors import InputError
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval.channels.dense_scores import VectorIndex
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.faiss_index import build_faiss, read_faiss, write_faiss
from gensr_dist.retrieval.semantic import pool, weighted_tokens
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.checked_files import CheckedFiles, record_files
from gensr_dist.storage.records import read_record, write_json

VIEWS = ("cf", "semantic", "tower")
RECORD = "index.json"
REMEDY = "run `gensr index` again"
_CALIBRATION_QUERIES = 256  # of the calibration that sets an approximate index's search width
_ITEMS = 65_536  # given to the model at once


@dataclass(frozen=True, kw_only=True)
class ViewIndexResult:
    """One of the FAISS indices."""

    items: int  # with a vector; the others are not in this index
    width: int
    recall: float  # of its nearest neighbours against exact search, on a sample
    search_width: int  # nprobe of ivf, efSearch of hnsw, 0 of flat


@dataclass(frozen=True, kw_only=True)
class IndexResult:
    """What building the index did."""

    kind: str
    items: int
    views: Mapping[str, ViewIndexResult]
    bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Contents(CheckedFiles):
    """index.json."""

    kind: str
    seed: int
    items: int
    views: Mapping[str, ViewIndexResult]


def tower_vectors(model: GenSR, item_IE: NDArray[np.float32], title_IT: NDArray[np.int32]) -> NDArray[np.float32]:
    """Vectors of the item tower [I, H]; [I, 0] of a model without towers."""
    if model.match is None:
        return np.zeros((len(item_IE), 0), dtype=np.float32)

    def blocks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(item_IE), _ITEMS):
            part = slice(start, start + _ITEMS)
            cf_BE = torch.from_numpy(np.array(item_IE[part])).to(model.answers.device)
            title_BT = torch.from_numpy(title_IT[part].astype(np.int64)).to(model.answers.device)
            yield model.match_items(cf_BE, title_BT).float().cpu().numpy()

    with torch.inference_mode():
        return np.concatenate(list(blocks()))


def write_index(
    folder: Path,
    *,
    item_IE: NDArray[np.float32],
    item_IH: NDArray[np.float32],
    title_IT: NDArray[np.int32],
    token_VD: NDArray[np.float32],
    config: RetrievalConfig,
    seed: int,
) -> IndexResult:
    """Index every item in every view.

    Args:
        folder: an empty one.
        item_IE: CF vectors.
        item_IH: of the item tower.
        title_IT: tokens.
        token_VD: of the trained model, which make the vectors of texts.
        config: kind of index, and the number of candidates that its recall is measured at.
        seed: of k-means and of the sample of queries: items' own vectors, since users and queries lie among them.
    """
    started = time.perf_counter()
    weighted_VD = weighted_tokens(token_VD, title_IT)
    views: dict[str, ViewIndexResult] = {}
    np.save(folder / "token_weights.npy", weighted_VD, allow_pickle=False)
    np.save(folder / "tower.npy", item_IH, allow_pickle=False)
    for name in VIEWS:
        vector_ID = {"cf": item_IE, "tower": item_IH}.get(name)
        if vector_ID is None:
            vector_ID = pool(title_IT, weighted_VD)
        row_J = np.flatnonzero(np.any(vector_ID != 0, axis=1))  # a zero vector is near to nothing
        built = build_faiss(
            np.ascontiguousarray(vector_ID[row_J], dtype=np.float32),
            _sample(vector_ID, seed),
            kind=config.index,
            neighbours=config.candidates,
            seed=seed,
        )
        write_faiss(built.index, folder / f"{name}.faiss")
        np.save(folder / f"{name}_items.npy", row_J, allow_pickle=False)
        views[name] = ViewIndexResult(
            items=len(row_J), width=vector_ID.shape[1], recall=built.recall, search_width=built.search_width
        )
    files = record_files(folder)
    contents = _Contents(kind=config.index, seed=seed, items=len(item_IE), views=views, files=files)
    write_json(folder / RECORD, asdict(contents))
    return IndexResult(
        kind=config.index,
        items=len(item_IE),
        views=views,
        bytes=sum(record.bytes for record in files),
        seconds=round(time.perf_counter() - started, 2),
    )


@dataclass(frozen=True)
class CatalogueIndex:
    """All indices, open for search."""

    items: int
    weighted_VD: NDArray[np.float32]  # mapped
    item_IH: NDArray[np.float32]  # mapped
    views: Mapping[str, VectorIndex]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open an index folder; no index is parsed before its checksum was found right.

        Raises:
            InputError: the folder is missing, or a file is missing, changed or does not fit.
        """
        path = folder / RECORD
        contents = read_record(path, _Contents, "an index", missing="run `gensr index` first", wrong=REMEDY)
        names = ["token_weights.npy", "tower.npy"]
        names += [f"{view}{end}" for view in VIEWS for end in (".faiss", "_items.npy")]
        contents.require(path, names, REMEDY)
        if sorted(contents.views) != sorted(VIEWS):
            raise InputError(path, f"expected views {', '.join(VIEWS)}", REMEDY)
        views = {}
        for view in VIEWS:
            row_J = np.load(folder / f"{view}_items.npy", allow_pickle=False)
            index = read_faiss(folder / f"{view}.faiss", REMEDY)
            if (index.ntotal, index.d) != (len(row_J), contents.views[view].width):
                raise InputError(folder / f"{view}.faiss", "the index and its list of items differ", REMEDY)
            views[view] = VectorIndex(index, row_J)
        return cls(
            contents.items,
            open_array(folder / "token_weights.npy", REMEDY),
            open_array(folder / "tower.npy", REMEDY),
            views,
        )


def _sample(query_RD: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Some non-zero queries."""
    drawn = np.random.default_rng(seed).permutation(len(query_RD))[: 4 * _CALIBRATION_QUERIES]
    sample = query_RD[np.sort(drawn)]
    return np.ascontiguousarray(sample[np.any(sample != 0, axis=1)][:_CALIBRATION_QUERIES], dtype=np.float32)
