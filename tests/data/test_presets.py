import dataclasses
import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gensr_dist.config.root import load_config
from gensr_dist.data.config import SimulateConfig
from gensr_dist.data.presets import KUAISAR_ITEMS, KUAISAR_USERS, PRESETS, Preset
from gensr_dist.data.sources import simulate
from gensr_dist.data.sources.simulated_catalogue import HIT_EXPONENT
from gensr_dist.data.sources.times import DAY_MS

TINY = PRESETS["tiny"]
REC_COLUMNS = "user_id item_id playing_time duration_ms time timestamp click forward like follow search"
SEARCH_COLUMNS = "user_id search_session_id search_session_time search_session_timestamp keyword search_source item_id"
ITEM_COLUMNS = ["item_id", "caption", "author_id", "item_type", "upload_time", "upload_type"] + [
    f"{level}_level_category_{part}"
    for level in ("first", "second", "third", "fourth")
    for part in ("id", "name", "name_en")
]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> simulate.SimulatedLog:
    return simulate.simulate(TINY, 0, tmp_path_factory.mktemp("tiny") / "raw")


@pytest.fixture(scope="module")
def shown(log: simulate.SimulatedLog) -> pl.DataFrame:
    """Every shown item: user, item, positive, search, ms since the log began."""
    rec = pl.read_csv(log.folder / "rec_inter.csv")
    search = pl.read_csv(log.folder / "src_inter.csv")
    return pl.concat(
        [
            rec.select("user_id", "item_id", pl.col("click") > 0, search=pl.lit(False), time="timestamp"),
            search.select(
                "user_id",
                "item_id",
                click=pl.col("click_cnt") > 0,
                search=pl.lit(True),
                time="search_session_timestamp",
            ),
        ]
    ).with_columns(pl.col("time") - simulate.START_MS)


def digest(folder: Path) -> str:
    summary = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        summary.update(path.name.encode() + b"\0" + path.read_bytes())
    return summary.hexdigest()


@pytest.mark.parametrize(
    ("config", "seed", "expected"),
    [
        (SimulateConfig(), 0, "34ba87880a6cc2dd2d9eb262502cb92424d9b7f7d3049c29ea83689b8a22f2fd"),
        (
            SimulateConfig(users=40, items=400, days=5, events_per_user=30),
            3,
            "1dec4aaeaf9d9ea13bf48cd1a67540d5ef4c40b724aab8719ecd1a27acf6e1de",
        ),
    ],
)
def test_settings_of_presets_leave_other_logs_alone(
    config: SimulateConfig, seed: int, expected: str, tmp_path: Path
) -> None:
    # Digests of the simulator as it was before presets: the quickstart's published figures hang on these bytes.
    assert digest(simulate.simulate(config, seed, tmp_path / "raw").folder) == expected


def test_presets_differ_in_size_alone() -> None:
    full = PRESETS["kuaisar"]
    assert (full.users, full.items, full.days) == (KUAISAR_USERS, KUAISAR_ITEMS, 19)
    sizes: dict[Preset, int] = {"tiny": 512, "small": 64, "medium": 8, "kuaisar": 1}
    assert set(sizes) == set(PRESETS)
    for name, fraction in sizes.items():
        config = PRESETS[name]
        assert config.users * fraction == pytest.approx(KUAISAR_USERS, rel=0.02)
        assert config.items * fraction == pytest.approx(KUAISAR_ITEMS, rel=0.001)
        assert dataclasses.replace(config, users=full.users, items=full.items) == full


def test_rows_a_user_are_kuaisars() -> None:
    """Over enough users for the heavy-tailed activity to settle: 564 and 196 rows a user, here a twentieth."""
    config = dataclasses.replace(TINY, users=6_000, items=100_000, events_per_user=TINY.events_per_user / 20)
    catalogue, population = simulate.plant(config, 0)
    rec = search = 0
    for chunk in simulate.chunks(config, 0, catalogue, population):
        searched_N = chunk.sessions.search_S[chunk.sessions.session_N]
        rec += int((~searched_N).sum())
        search += int(searched_N.sum())
    assert rec / config.users == pytest.approx(14_605_716 / KUAISAR_USERS / 20, rel=0.06)
    assert search / config.users == pytest.approx(5_059_169 / KUAISAR_USERS / 20, rel=0.06)


def test_columns_and_days(log: simulate.SimulatedLog, shown: pl.DataFrame) -> None:
    tables = {path.name: pl.read_csv(path).columns for path in log.folder.iterdir()}
    assert tables == {
        "rec_inter.csv": [*REC_COLUMNS.split(), "search_item_related"],
        "src_inter.csv": [*SEARCH_COLUMNS.split(), "click_cnt", "item_type"],
        "item_features.csv": ITEM_COLUMNS,
        "user_features.csv": ["user_id", "search_active_level", "rec_active_level", "onehot_feat1", "onehot_feat2"],
        "social_network.csv": ["user_id", "user_follow_id"],
    }
    assert (shown["time"] // DAY_MS).unique().sort().to_list() == list(range(TINY.days))


def test_both_behaviours_show_what_is_not_clicked(shown: pl.DataFrame) -> None:
    share = dict(shown.group_by("search").agg(pl.col("click").mean()).rows())
    assert 0.4 < share[False] < 0.6
    assert 0.2 < share[True] < 0.4
    assert not shown.select("user_id", "item_id").is_duplicated().any()


def test_popularity_has_a_long_tail() -> None:
    """The default, a log-normal of spread 0.7, gives the top hundredth 5 % of the popularity."""
    catalogue, _ = simulate.plant(dataclasses.replace(TINY, items=200_000), 0)
    weight_I = np.sort(catalogue.popularity_I)[::-1]
    top = weight_I[:2_000].sum() / weight_I.sum()
    assert 0.1 < top < 0.3
    # Hill's estimate of the tail's exponent, from the greatest tenth.
    hill = 1 / np.log(weight_I[:20_000] / weight_I[20_000]).mean()
    assert hill == pytest.approx(HIT_EXPONENT, rel=0.05)
    assert np.median(weight_I) == pytest.approx(1.0, rel=0.1)  # the body: an item has a few shows at most


def test_queries_have_a_long_tail(log: simulate.SimulatedLog) -> None:
    sessions = pl.read_csv(log.folder / "src_inter.csv").select("search_session_id", "keyword").unique()
    words = sessions["keyword"].str.count_matches(",") + 1
    assert 0.9 * log.searches < sessions.height <= log.searches  # some users have seen all results
    assert set(words.unique().to_list()) == {2, 3, 4}
    counts = sessions["keyword"].value_counts()["count"]
    assert (counts == 1).sum() > 0.5 * len(counts)  # most queries are asked once
    assert counts.max() > 3


def test_same_seed_same_bytes(log: simulate.SimulatedLog, tmp_path: Path) -> None:
    again = simulate.simulate(TINY, 0, tmp_path / "again")
    assert digest(again.folder) == digest(log.folder)
    assert digest(simulate.simulate(TINY, 1, tmp_path / "other").folder) != digest(log.folder)


def test_memory_does_not_grow_with_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulate, "_CHUNK_EVENTS", 10_000)

    def peak(users: int) -> int:
        config = dataclasses.replace(TINY, users=users, items=5_000, events_per_user=50.0, activity_shape=20.0)
        tracemalloc.start()
        simulate.simulate(config, 0, tmp_path / str(users))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(200)  # first use of the libraries
    assert peak(4_000) < 1.2 * peak(500)


def test_the_config_of_the_small_log_has_its_sizes() -> None:
    path = Path(__file__).parents[2] / "configs" / "simulated_small.yaml"
    assert load_config(path).simulate == PRESETS["small"]
