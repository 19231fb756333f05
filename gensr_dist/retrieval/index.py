"""The index folder: FAISS indices of both views (CF vectors, semantic vectors) and the lists of the other channels.

Dimensions: I items, J of them with a vector in a view, R queries, K neighbours, E width of a CF vector, D width of the
backbone, V vocabulary, T title tokens.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self

from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.manifest import FileRecord, record_files, sha256_of_file
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from gensr_dist.files import atomic_folder, read_json, write_json
from gensr_dist.graph.vectors import load_cf
from gensr_dist.model.gensr import GenSR
from gensr_dist.retrieval.channels.files import FILES, ChannelArrays
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.words import probe
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.faiss_index import build_faiss, read_faiss, write_faiss
from gensr_dist.retrieval.semantic import pool, weighted_tokens

VIEWS = ("cf", "semantic")
REMEDY = "run `gensr index` again"
_TRIAL_QUERIES = 256  # of the measurement that sets an approximate index's effort


@dataclass(frozen=True, kw_only=True)
class ViewIndexResult:
    """One of the two indices."""

    items: int  # with a vector; the others are not in this index
    width: int
    recall: float  # of its nearest neighbours against exact search, on a sample
    effort: int  # nprobe of ivf, efSearch of hnsw, 0 of flat


@dataclass(frozen=True, kw_only=True)
class IndexResult:
    """What building the index did."""

    kind: str
    items: int
    cf: ViewIndexResult
    semantic: ViewIndexResult
    entries: Mapping[str, int]  # of the lists that the other channels read; a channel without any stays empty
    bytes: int
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Contents:
    """index.json."""

    kind: str
    seed: int
    items: int
    views: Mapping[str, ViewIndexResult]
    word_probe: str  # `words.probe` at the time of writing
    files: tuple[FileRecord, ...]


def build_index(
    cf: Path, model: Path, store: TimelineStore, folder: Path, config: RetrievalConfig, seed: int
) -> IndexResult:
    """Index every item of a trained run for every channel and write the index folder, whole or not at all.

    Args:
        cf: folder of the CF vectors.
        model: folder of the trained GenSR, whose token embeddings make the semantic vectors.
        store: of the log; the item store lies in the same folder.
        folder: receives the index.
        config: kind of index, and the number of candidates that its recall is measured at.
        seed: of k-means and of the sample of queries.

    Raises:
        InputError: an earlier stage's result is missing, or they do not fit together.
    """
    vectors, user_VE = load_cf(cf, folds=False)
    item_IE = vectors.whole_IE
    items = ItemStore.open(store.folder)
    title_IT = items.title_IT
    trained = GenSR.from_pretrained(model, reads=items.tokenizer(), cf_width=item_IE.shape[1])
    token_VD = trained.token_embeddings().detach().float().cpu().numpy()
    if len(item_IE) != len(title_IT):
        raise InputError(
            cf, f"{len(item_IE)} vectors for a catalogue of {len(title_IT)} items", "run `gensr lightgcn` again"
        )
    sources = ChannelSources.of(store, items)
    return write_index(folder, item_IE, user_VE, title_IT, token_VD, sources, config, seed)


def write_index(
    folder: Path,
    item_IE: NDArray[np.float32],
    user_VE: NDArray[np.float32],
    title_IT: NDArray[np.int32],
    token_VD: NDArray[np.float32],
    sources: ChannelSources,
    config: RetrievalConfig,
    seed: int,
) -> IndexResult:
    """Index arrays; see `build_index`. `user_VE` are the queries on which the CF index's recall is measured."""
    started = time.perf_counter()
    weighted_VD = weighted_tokens(token_VD, title_IT)
    text_ID = pool(title_IT, weighted_VD)
    views: dict[str, ViewIndexResult] = {}
    arrays = ChannelArrays.build(sources)
    with atomic_folder(folder) as temporary:
        np.save(temporary / "token_weights.npy", weighted_VD, allow_pickle=False)
        for name, vector_ID, query_RD in (("cf", item_IE, user_VE), ("semantic", text_ID, text_ID)):
            row_J = np.flatnonzero(np.any(vector_ID != 0, axis=1))  # a zero vector is near to nothing
            built = build_faiss(
                np.ascontiguousarray(vector_ID[row_J], dtype=np.float32),
                _sample(query_RD, seed),
                kind=config.index,
                neighbours=config.candidates,
                seed=seed,
            )
            write_faiss(built.index, temporary / f"{name}.faiss")
            np.save(temporary / f"{name}_items.npy", row_J, allow_pickle=False)
            views[name] = ViewIndexResult(
                items=len(row_J), width=vector_ID.shape[1], recall=built.recall, effort=built.effort
            )
        arrays.save(temporary)
        files = record_files(temporary, temporary.iterdir())
        contents = _Contents(
            kind=config.index,
            seed=seed,
            items=len(item_IE),
            views=views,
            word_probe=probe(),
            files=files,
        )
        write_json(temporary / "index.json", asdict(contents))
    return IndexResult(
        kind=config.index,
        items=len(item_IE),
        cf=views["cf"],
        semantic=views["semantic"],
        entries=arrays.entries(),
        bytes=sum(record.bytes for record in files),
        seconds=round(time.perf_counter() - started, 2),
        warnings=tuple(
            f"the log gives nothing to the channel {name!r}, which stays empty"
            for name, count in arrays.entries().items()
            if not count
        ),
    )


@dataclass(frozen=True)
class CatalogueIndex:
    """Both indices and the lists of the other channels, open for search."""

    items: int
    weighted_VD: NDArray[np.float32]  # mapped
    row_J: Mapping[str, NDArray[np.int64]]  # item of each entry, by view
    faiss: Mapping[str, Any]  # faiss.Index by view
    arrays: ChannelArrays  # mapped

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open an index folder; no index is parsed before its checksum was found right.

        Raises:
            InputError: the folder is missing, or a file is missing, changed or does not fit.
        """
        path = folder / "index.json"
        try:
            contents = TypeAdapter(_Contents).validate_python(read_json(path, "run `gensr index` first"))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise InputError(path, f"expected the record of an index, {place}: {fault['msg']}", REMEDY) from None
        names = ["token_weights.npy", *FILES, *(f"{view}{end}" for view in VIEWS for end in (".faiss", "_items.npy"))]
        if sorted(contents.views) != sorted(VIEWS) or sorted(record.name for record in contents.files) != sorted(names):
            raise InputError(path, f"expected records of {', '.join(names)}", REMEDY)
        if contents.word_probe != probe():
            raise InputError(path, "its words were hashed by another release of polars", REMEDY)
        for record in contents.files:
            _check(folder / record.name, record)
        row_J = {view: np.load(folder / f"{view}_items.npy", allow_pickle=False) for view in VIEWS}
        indices = {view: read_faiss(folder / f"{view}.faiss", REMEDY) for view in VIEWS}
        for view, index in indices.items():
            if (index.ntotal, index.d) != (len(row_J[view]), contents.views[view].width):
                raise InputError(folder / f"{view}.faiss", "the index and its list of items differ", REMEDY)
        weighted_VD = np.load(folder / "token_weights.npy", mmap_mode="r", allow_pickle=False)
        return cls(contents.items, weighted_VD, row_J, indices, ChannelArrays.open(folder, contents.items))

    def nearest_cf(self, user_RE: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """Items [R, K] in falling order of inner product with a user's vector; -1 where a vector is zero, or pads."""
        return self._nearest("cf", user_RE, k)

    def nearest_text(self, query_RQ: NDArray[np.integer], k: int) -> NDArray[np.int64]:
        """Items [R, K] in falling order of cosine with tokenised queries; -1 for a query of unknown tokens, or pads."""
        return self._nearest("semantic", pool(query_RQ, self.weighted_VD), k)

    def _nearest(self, view: str, query_RD: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        item_RK = np.full((len(query_RD), k), -1, dtype=np.int64)
        index, row_J = self.faiss[view], self.row_J[view]
        found = min(k, len(row_J))
        (some_S,) = np.nonzero(np.any(query_RD != 0, axis=1))
        if not found or not len(some_S):
            return item_RK
        _, place_SK = index.search(np.ascontiguousarray(query_RD[some_S], dtype=np.float32), found)
        item_RK[some_S, :found] = np.where(place_SK >= 0, row_J[place_SK], -1)
        return item_RK


def _check(path: Path, record: FileRecord) -> None:
    if not path.is_file():
        raise InputError(path, "the file does not exist", REMEDY)
    if sha256_of_file(path) != record.sha256:
        raise InputError(path, "the file's checksum is not the one in index.json", REMEDY)


def _sample(query_RD: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Some non-zero queries."""
    drawn = np.random.default_rng(seed).permutation(len(query_RD))[: 4 * _TRIAL_QUERIES]
    sample = query_RD[np.sort(drawn)]
    return np.ascontiguousarray(sample[np.any(sample != 0, axis=1)][:_TRIAL_QUERIES], dtype=np.float32)
