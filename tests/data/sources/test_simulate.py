from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gensr_dist.data.config import DataConfig, SimulateConfig
from gensr_dist.data.events import Behaviour, EventLog
from gensr_dist.data.preparation.filtering import keep_active
from gensr_dist.data.sources import read_source, simulate
from gensr_dist.data.sources.simulated_catalogue import TOPIC_WORDS, Catalogue
from gensr_dist.data.sources.simulated_sessions import CLICK_LOGIT, RECOMMENDED_FROM, STYLE_WEIGHT, SimulatedSessions
from gensr_dist.data.sources.times import DAY_MS
from gensr_dist.errors import InputError

CONFIG = SimulateConfig()
LEVELS = [
    f"{level}_level_category_{part}"
    for level in ("first", "second", "third", "fourth")
    for part in ("id", "name", "name_en")
]
COLUMNS = {
    "rec_inter.csv": "user_id item_id playing_time duration_ms time timestamp click forward like follow search "
    "search_item_related",
    "src_inter.csv": "user_id search_session_id search_session_time search_session_timestamp keyword search_source "
    "item_id click_cnt item_type",
    "user_features.csv": "user_id search_active_level rec_active_level onehot_feat1 onehot_feat2",
    "item_features.csv": " ".join(["item_id caption author_id item_type upload_time upload_type", *LEVELS]),
    "social_network.csv": "user_id user_follow_id",
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> simulate.SimulatedLog:
    return simulate.simulate(CONFIG, 0, tmp_path_factory.mktemp("log") / "raw")


@pytest.fixture(scope="module")
def events(log: simulate.SimulatedLog) -> EventLog:
    return read_source(DataConfig(), log.folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("events.csv", "rec_inter.csv"):
        (raw / name).write_text("mine")
    with pytest.raises(InputError, match=r"raw: the folder holds files that are not simulated \(1, .*events\.csv'\)"):
        simulate.simulate(CONFIG, 0, raw)
    with pytest.raises(InputError, match=r"events\.csv: expected a folder, found a file"):
        simulate.simulate(CONFIG, 0, raw / "events.csv")
    assert contents(tmp_path / "raw") == {"events.csv": b"mine", "rec_inter.csv": b"mine"}


def test_files_and_columns_are_those_of_kuaisar(log: simulate.SimulatedLog) -> None:
    assert {path.name for path in log.folder.iterdir()} == set(COLUMNS)
    tables = {name: pl.read_csv(log.folder / name) for name in COLUMNS}
    for name, columns in COLUMNS.items():
        assert tables[name].columns == columns.split(), name
    recommended, searched = tables["rec_inter.csv"], tables["src_inter.csv"]
    assert (recommended.height, recommended["click"].sum()) == (log.recommendations, log.recommendation_clicks)
    assert (searched.height, searched["click_cnt"].sum()) == (log.search_results, log.search_clicks)
    assert recommended["timestamp"].dtype == searched["search_session_timestamp"].dtype == pl.Float64
    assert searched["keyword"].str.contains(r"^\[\d+, \d+(, \d+)?\]$").all()
    assert tables["item_features.csv"]["caption"].str.contains(r"^\[\d+(, \d+)*\]$").all()
    none = tables["item_features.csv"].filter(pl.col("fourth_level_category_id") == 0)
    assert none["fourth_level_category_name"].unique().to_list() == ["空"]
    # The readable clock is the timestamp's, in China.
    clock = pl.from_epoch(pl.col("timestamp").cast(pl.Int64) + 8 * 3_600_000, "ms").dt.truncate("1s")
    assert recommended.select((pl.col("time").str.to_datetime() == clock).all()).item()


def test_same_seed_same_bytes(log: simulate.SimulatedLog, tmp_path: Path) -> None:
    again = simulate.simulate(CONFIG, 0, tmp_path / "again")
    other = simulate.simulate(CONFIG, 1, tmp_path / "other")
    assert contents(again.folder) == contents(log.folder)
    assert all(contents(other.folder)[name] != text for name, text in contents(log.folder).items())


def test_kuaisar_reads_it_without_repairs(log: simulate.SimulatedLog, events: EventLog) -> None:
    assert events.repairs == () or not any(repair.count for repair in events.repairs)
    assert (events.users.height, events.items.height) == (CONFIG.users, CONFIG.items)
    counts = dict(events.events.group_by("behaviour").len().rows())
    assert counts == {Behaviour.RECOMMENDATION: log.recommendations, Behaviour.SEARCH: log.search_results}
    assert not events.events.select("user", "item").is_duplicated().any()
    assert events.items["text"].str.contains(r"^[A-Z][A-Za-z ]+( w\d+)+$").all()


def test_most_users_and_items_survive_the_filter(events: EventLog) -> None:
    kept = keep_active(events, min_interactions=5, both_behaviours=True)
    assert kept.users.height > 0.9 * CONFIG.users
    assert kept.items.height > 0.75 * CONFIG.items
    positives = kept.events.filter("positive").height
    assert 15 < positives / kept.users.height < 40


def test_times_rise_and_fill_every_day(events: EventLog) -> None:
    moments = events.events.select("user", "time", "behaviour", "query").unique()
    assert not moments.select("user", "time").is_duplicated().any()
    positives = events.events.filter("positive")
    assert not positives.select("user", "time").is_duplicated().any()
    share_D = positives.group_by(pl.col("time") // DAY_MS).len().sort("time")["len"].to_numpy() / positives.height
    assert len(share_D) == CONFIG.days
    assert share_D.min() > 0.7 / CONFIG.days
    assert share_D.max() < 1.3 / CONFIG.days


@pytest.fixture(scope="module")
def truth() -> tuple[Catalogue, SimulatedSessions]:
    catalogue, population = simulate.plant(CONFIG, 0)
    (chunk,) = simulate.chunks(CONFIG, 0, catalogue, population)
    return catalogue, chunk.sessions


def ndcg_at_10(score_RC: np.ndarray) -> float:
    rank_R = 1 + (score_RC[:, 1:] >= score_RC[:, :1]).sum(axis=1)
    return float(np.where(rank_R <= 10, 1 / np.log2(1 + rank_R), 0).mean())


def last_day_rows(truth: tuple[Catalogue, SimulatedSessions], *, search: bool) -> tuple[np.ndarray, np.ndarray]:
    """Last-day clicks and, for each, the clicked item followed by 99 that the user never met."""
    catalogue, sessions = truth
    on_last_day_N = sessions.time_N // DAY_MS == CONFIG.days - 1
    row_R = np.flatnonzero(sessions.click_N & on_last_day_N & (sessions.search_S[sessions.session_N] == search))
    user_N = sessions.user_S[sessions.session_N]
    unmet_UI = np.ones((CONFIG.users, len(catalogue.topic_I)))
    unmet_UI[user_N, sessions.item_N] = 0
    draw_RI = unmet_UI[user_N[row_R]] * np.random.default_rng(1).random((len(row_R), len(catalogue.topic_I)))
    return row_R, np.column_stack([sessions.item_N[row_R], draw_RI.argsort(axis=1)[:, -99:]])


def popularity(truth: tuple[Catalogue, SimulatedSessions]) -> np.ndarray:
    _, sessions = truth
    before_N = sessions.click_N & (sessions.time_N // DAY_MS < CONFIG.days - 2)
    return np.bincount(sessions.item_N[before_N], minlength=CONFIG.items)


def test_tastes_beat_popularity_and_drift(truth: tuple[Catalogue, SimulatedSessions]) -> None:
    catalogue, sessions = truth
    row_R, item_RC = last_day_rows(truth, search=False)
    session_R = sessions.session_N[row_R]
    user_R = sessions.user_S[session_R]
    topic_RC = catalogue.topic_I[item_RC]
    match_RC = np.einsum("rf,rcf->rc", sessions.style_UF[user_R], catalogue.style_IF[item_RC]) * STYLE_WEIGHT
    popularity_RC = catalogue.popularity_I[item_RC]
    total_T = np.bincount(catalogue.topic_I, weights=catalogue.popularity_I)
    shown = (
        (topic_RC == sessions.focus_S[session_R, None]) * popularity_RC / total_T[topic_RC],
        (topic_RC[:, :, None] == sessions.liked_SK[session_R, None]).mean(axis=2) * popularity_RC / total_T[topic_RC],
        popularity_RC / total_T.sum(),
    )
    oracle_RC = sum(
        share * chance / (1 + np.exp(-logit - match_RC))
        for share, chance, logit in zip(RECOMMENDED_FROM, shown, CLICK_LOGIT, strict=True)
    )

    def topic_share(newest: int) -> np.ndarray:
        """Share of each candidate's topic among the user's newest clicks before the row."""
        counts_RT = np.zeros((len(row_R), catalogue.topics))
        user_N = sessions.user_S[sessions.session_N]
        for r, row in enumerate(row_R):
            past = np.flatnonzero((user_N[:row] == user_R[r]) & sessions.click_N[:row])[-newest:]
            np.add.at(counts_RT[r], catalogue.topic_I[sessions.item_N[past]], 1)
        return np.take_along_axis(counts_RT, topic_RC, axis=1) + 1e-6 * popularity_RC

    by_popularity, by_oracle = ndcg_at_10(popularity(truth)[item_RC]), ndcg_at_10(oracle_RC)
    recent, ever = ndcg_at_10(topic_share(8)), ndcg_at_10(topic_share(10**6))
    figures = (
        f"popularity {by_popularity:.3f}, all topics {ever:.3f}, recent topics {recent:.3f}, oracle {by_oracle:.3f}"
    )
    assert 0.05 < by_popularity < 0.2, figures
    assert by_popularity + 0.25 < ever < recent < by_oracle, figures
    assert by_oracle > 0.65, figures


def test_queries_find_items_but_leave_room_for_taste(truth: tuple[Catalogue, SimulatedSessions]) -> None:
    catalogue, sessions = truth
    row_R, item_RC = last_day_rows(truth, search=True)
    query_RW = sessions.query_SW[sessions.session_N[row_R]]
    in_caption_IW = np.unpackbits(catalogue.caption_mask_I[:, None], axis=1, bitorder="little").astype(bool)
    assert in_caption_IW.shape == (CONFIG.items, TOPIC_WORDS)
    words_IW = np.where(in_caption_IW, catalogue.topic_words_TW[catalogue.topic_I], -1)
    named_RC = (words_IW[item_RC][:, :, :, None] == query_RW[:, None, None, :]).sum(axis=(2, 3))
    jitter_RC = np.random.default_rng(2).random(named_RC.shape) * 1e-3
    text = ndcg_at_10(named_RC + jitter_RC)
    match_RC = np.einsum(
        "rf,rcf->rc", sessions.style_UF[sessions.user_S[sessions.session_N[row_R]]], catalogue.style_IF[item_RC]
    )
    on_intent_RC = catalogue.topic_I[item_RC] == sessions.intent_S[sessions.session_N[row_R], None]
    oracle = ndcg_at_10(5.0 * on_intent_RC + named_RC + match_RC)
    by_popularity = ndcg_at_10(popularity(truth)[item_RC])
    figures = f"popularity {by_popularity:.3f}, text {text:.3f}, oracle {oracle:.3f}"
    assert by_popularity < 0.2, figures
    assert 0.35 < text < 0.62, figures
    assert oracle > text + 0.12, figures


def test_chunks_of_users_join_without_seams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "_CHUNK_EVENTS", 1_000)
    monkeypatch.setattr(simulate, "_CHUNK_ITEMS", 100)
    config = SimulateConfig(users=100, items=350, days=4)
    log = simulate.simulate(config, 3, tmp_path / "raw")
    tables = {name: pl.read_csv(log.folder / name) for name in COLUMNS}
    assert tables["item_features.csv"]["item_id"].to_list() == list(range(1, 351))
    assert tables["user_features.csv"]["user_id"].to_list() == list(range(1, 101))
    assert tables["rec_inter.csv"]["user_id"].is_sorted()
    sessions = tables["src_inter.csv"].select("search_session_id", "user_id", "search_session_timestamp").unique()
    assert not sessions["search_session_id"].is_duplicated().any()
    assert read_source(DataConfig(), log.folder).users.height == 100


@pytest.mark.parametrize(
    "config",
    [
        SimulateConfig(users=2, items=20, days=3, events_per_user=20.0),
        SimulateConfig(users=3, items=20, days=3, events_per_user=5_000.0),  # far more than there is to see
        SimulateConfig(users=50, items=9_000, days=40, events_per_user=30.0),  # every leaf topic
    ],
)
def test_extreme_sizes(config: SimulateConfig, tmp_path: Path) -> None:
    log = simulate.simulate(config, 0, tmp_path / "raw")
    times = pl.concat(
        [
            pl.read_csv(log.folder / "rec_inter.csv").select("user_id", time="timestamp"),
            pl.read_csv(log.folder / "src_inter.csv").select("user_id", time="search_session_timestamp").unique(),
        ]
    ).with_columns(pl.col("time") - simulate.START_MS)
    assert times.height > 0
    assert not times.is_duplicated().any()
    assert times["time"].is_between(0, config.days * DAY_MS, closed="left").all()
    items = pl.read_csv(log.folder / "item_features.csv")
    assert items.height == config.items
    names = [f"{level}_level_category_name_en" for level in ("first", "second", "third")]
    assert items.select(names).unique().height == min(240, max(4, config.items // 33))


def test_failure_leaves_the_old_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SimulateConfig(users=5, items=20, days=3)
    log = simulate.simulate(config, 0, tmp_path / "raw")
    before = contents(log.folder)

    def fail(*_: object) -> pl.DataFrame:
        raise OSError("disk full")

    monkeypatch.setattr(simulate, "_user_features", fail)
    with pytest.raises(OSError, match="disk full"):
        simulate.simulate(config, 1, tmp_path / "raw")
    assert contents(log.folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
