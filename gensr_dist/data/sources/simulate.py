"""A simulated log in KuaiSAR's format, of any size, with planted tastes, item texts and queries.

Dimensions: U users, C communities, N items shown in a chunk, R of them in recommendations, S sessions, W words of a
query.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from tqdm import tqdm

from gensr_dist.data.config import SimulateConfig
from gensr_dist.data.sources.simulated_catalogue import Catalogue, item_features, plant_catalogue, word_lists
from gensr_dist.data.sources.simulated_sessions import (
    Population,
    SimulatedSessions,
    plant_population,
    simulate_sessions,
)
from gensr_dist.errors import InputError
from gensr_dist.sentences import sentence
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.folder import Folder, refuse_others
from gensr_dist.storage.output_errors import numbered_errors

FILES = ("item_features.csv", "rec_inter.csv", "src_inter.csv", "user_features.csv", "social_network.csv")
START_MS = 1_684_713_600_000  # 2023-05-22, midnight UTC, so that simulated days are calendar days
_CHUNK_EVENTS = 1_000_000  # shown items held in memory at once
_CHUNK_ITEMS = 500_000
_CLOCK_MS = 8 * 3_600_000  # the readable times are China's, as KuaiSAR's are
_CLOCK_FORMAT = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, kw_only=True)
class SimulatedLog:
    """What was written."""

    folder: Path
    users: int
    items: int
    recommendations: int  # shown items
    recommendation_clicks: int
    searches: int  # sessions
    search_results: int  # shown items
    search_clicks: int

    def lines(self) -> tuple[str, ...]:
        """For people."""
        return (sentence(self),)


@dataclass(frozen=True, kw_only=True)
class UserChunk:
    """Some users' sessions; the users are the rows `users` of the whole log."""

    users: slice
    sessions: SimulatedSessions
    rng: np.random.Generator  # for the columns that carry no structure


def simulate(config: SimulateConfig, seed: int, folder: Path) -> SimulatedLog:
    """Write KuaiSAR's five CSV files into `folder`, which they replace as a whole.

    The same config and seed give the same bytes. Memory holds the items' facts and a chunk of users, not the log.

    Raises:
        InputError: `folder` is a file, or holds files of others.
    """
    _require_replaceable(folder)
    rec_shown = rec_clicks = searches = results = search_clicks = 0
    with durable_folder(folder) as target:
        catalogue, population = plant(config, seed)
        _write_items(target / "item_features.csv", catalogue, seed)
        with (
            (target / "rec_inter.csv").open("wb") as rec_file,
            (target / "src_inter.csv").open("wb") as search_file,
            (target / "user_features.csv").open("wb") as user_file,
            (target / "social_network.csv").open("wb") as social_file,
            tqdm(total=config.users, desc="users", unit="user", unit_scale=True, disable=None) as progress,
        ):
            for chunk in chunks(config, seed, catalogue, population):
                searched_N = chunk.sessions.search_S[chunk.sessions.session_N]
                first = chunk.users.start == 0
                _append(rec_file, _recommendations(chunk, searched_N), header=first)
                _append(search_file, _searches(chunk, searched_N, searches), header=first)
                _append(user_file, _user_features(chunk, searched_N), header=first)
                _append(social_file, _follows(chunk, population), header=first)
                rec_shown += int((~searched_N).sum())
                rec_clicks += int(chunk.sessions.click_N[~searched_N].sum())
                searches += int(chunk.sessions.search_S.sum())
                results += int(searched_N.sum())
                search_clicks += int(chunk.sessions.click_N[searched_N].sum())
                progress.update(chunk.users.stop - chunk.users.start)
    return SimulatedLog(
        folder=folder,
        users=config.users,
        items=config.items,
        recommendations=rec_shown,
        recommendation_clicks=rec_clicks,
        searches=searches,
        search_results=results,
        search_clicks=search_clicks,
    )


def _require_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "expected a folder, found a file", "move it elsewhere")
    remedy = "move them elsewhere; a log of your own is named by data.source and data.raw"
    refuse_others(folder, Folder.at(folder).sizes().keys() - {*FILES}, "files that are not simulated", remedy)


def plant(config: SimulateConfig, seed: int) -> tuple[Catalogue, Population]:
    """Draw the hidden truth behind the log: catalogue and communities."""
    rng = np.random.default_rng([seed, 0])
    catalogue = plant_catalogue(config, rng)
    return catalogue, plant_population(config, catalogue, rng)


def chunks(config: SimulateConfig, seed: int, catalogue: Catalogue, population: Population) -> Iterator[UserChunk]:
    """Simulate the users in chunks of a bounded number of events, each with random numbers of its own."""
    size = max(1, int(_CHUNK_EVENTS / config.events_per_user))
    for number, start in enumerate(range(0, config.users, size)):
        rng = np.random.default_rng([seed, 1, number])
        users = slice(start, min(start + size, config.users))
        yield UserChunk(users=users, sessions=simulate_sessions(config, catalogue, population, users, rng), rng=rng)


def _write_items(path: Path, catalogue: Catalogue, seed: int) -> None:
    items = len(catalogue.topic_I)
    progress = tqdm(total=items, desc="items", unit="item", unit_scale=True, disable=None)
    with path.open("wb") as file, progress:
        for number, start in enumerate(range(0, items, _CHUNK_ITEMS)):
            rng = np.random.default_rng([seed, 2, number])
            stop = min(start + _CHUNK_ITEMS, items)
            _append(file, item_features(catalogue, start, stop, rng), header=start == 0)
            progress.update(stop - start)


def _append(file: BinaryIO, rows: pl.DataFrame, *, header: bool) -> None:
    with numbered_errors(Path(file.name)):
        rows.write_csv(file, include_header=header)


def _clock(timestamp: pl.Expr) -> pl.Expr:
    return pl.from_epoch(timestamp.cast(pl.Int64) + _CLOCK_MS, time_unit="ms").dt.strftime(_CLOCK_FORMAT)


def _recommendations(chunk: UserChunk, searched_N: np.ndarray) -> pl.DataFrame:
    """Rows of `rec_inter.csv`."""
    sessions, rng = chunk.sessions, chunk.rng
    shown_R = np.flatnonzero(~searched_N)
    click_R = sessions.click_N[shown_R]
    duration_R = rng.integers(5_000, 120_000, len(shown_R))
    watched_R = np.where(click_R, rng.uniform(0.3, 1.2, len(shown_R)), rng.uniform(0.0, 0.1, len(shown_R)))
    search_R = rng.random(len(shown_R)) < 0.02
    rows = pl.DataFrame(
        {
            "user_id": chunk.users.start + sessions.user_S[sessions.session_N[shown_R]] + 1,
            "item_id": sessions.item_N[shown_R] + 1,
            "playing_time": (duration_R * watched_R).astype(np.int64),
            "duration_ms": duration_R,
            "timestamp": (START_MS + sessions.time_N[shown_R]).astype(np.float64),
            "click": click_R.astype(np.int8),
            "forward": (click_R & (rng.random(len(shown_R)) < 0.01)).astype(np.int8),
            "like": (click_R & (rng.random(len(shown_R)) < 0.05)).astype(np.int8),
            "follow": (click_R & (rng.random(len(shown_R)) < 0.01)).astype(np.int8),
            "search": search_R.astype(np.int8),
            "search_item_related": (search_R & (rng.random(len(shown_R)) < 0.5)).astype(np.int8),
        }
    )
    return rows.insert_column(4, rows.select(time=_clock(pl.col("timestamp")))["time"])


def _searches(chunk: UserChunk, searched_N: np.ndarray, sessions_before: int) -> pl.DataFrame:
    """Rows of `src_inter.csv`."""
    sessions, rng = chunk.sessions, chunk.rng
    shown_R = np.flatnonzero(searched_N)
    session_R = sessions.session_N[shown_R]
    number_S = np.cumsum(sessions.search_S) + sessions_before
    source_S = rng.choice(["USER_INPUT", "SUGGEST", "HISTORY", "RELATED"], len(number_S), p=[0.55, 0.25, 0.1, 0.1])
    timestamp_R = (START_MS + sessions.time_N[shown_R]).astype(np.float64)
    rows = pl.DataFrame(
        {
            "user_id": chunk.users.start + sessions.user_S[session_R] + 1,
            "search_session_id": number_S[session_R],
            "search_session_timestamp": timestamp_R,
            "keyword": word_lists(sessions.query_SW)[session_R],
            "search_source": source_S[session_R],
            "item_id": sessions.item_N[shown_R] + 1,
            "click_cnt": sessions.click_N[shown_R].astype(np.int8),
            "item_type": np.full(len(shown_R), "VIDEO"),
        }
    )
    clock = rows.select(search_session_time=_clock(pl.col("search_session_timestamp")))
    return rows.insert_column(2, clock["search_session_time"])


def _user_features(chunk: UserChunk, searched_N: np.ndarray) -> pl.DataFrame:
    """Rows of `user_features.csv`."""
    users = chunk.users.stop - chunk.users.start
    user_N = chunk.sessions.user_S[chunk.sessions.session_N]
    level_edges = np.array([1, 5, 20, 80])
    return pl.DataFrame(
        {
            "user_id": np.arange(chunk.users.start + 1, chunk.users.stop + 1),
            "search_active_level": np.digitize(np.bincount(user_N[searched_N], minlength=users), level_edges),
            "rec_active_level": np.digitize(np.bincount(user_N[~searched_N], minlength=users), level_edges),
            "onehot_feat1": chunk.rng.integers(0, 7, users),
            "onehot_feat2": chunk.rng.integers(0, 20, users),
        }
    )


def _follows(chunk: UserChunk, population: Population) -> pl.DataFrame:
    """Rows of `social_network.csv`: about two users of the same community for each user."""
    by_community = np.argsort(population.community_U, kind="stable")
    size_C = np.bincount(population.community_U)
    start_C = np.cumsum(size_C) - size_C
    user_R = np.repeat(np.arange(chunk.users.start, chunk.users.stop), 2)
    community_R = population.community_U[user_R]
    friend_R = by_community[start_C[community_R] + (chunk.rng.random(len(user_R)) * size_C[community_R]).astype(int)]
    rows = pl.DataFrame({"user_id": user_R + 1, "user_follow_id": friend_R + 1})
    return rows.filter(pl.col("user_id") != pl.col("user_follow_id")).unique(maintain_order=True)
