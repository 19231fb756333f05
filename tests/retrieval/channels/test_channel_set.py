"""What every channel promises, whichever it is: agreement of `best` and `of`, allowed items, groups of their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.events import Behaviour
from gensr_dist.data.history_evidence import DECAY, LATEST
from gensr_dist.retrieval.channels.channel_set import ChannelSet
from gensr_dist.retrieval.channels.contract import Channel
from tests.retrieval.world import World, random_world

RECOMMENDING = [
    "neighbours",
    "covisitation",
    "covisitation of the latest",
    "text",
    "text of the latest",
    "sessions",
    "lightgcn",
    "tower",
    "popularity",
]
SEARCHING = ["clicks", "lexical", "semantic", "tower"]
EVERY = list(dict.fromkeys(SEARCHING + RECOMMENDING))


def channel_of(channels: ChannelSet, name: str) -> Channel:
    return {**channels.recommending, **channels.searching}[name]


@pytest.fixture(scope="module")
def world() -> World:
    return random_world(0)


@pytest.fixture(scope="module")
def channels(world: World) -> ChannelSet:
    return world.channels()


def test_channels_of_each_task(channels: ChannelSet) -> None:
    assert list(channels.proposing(Behaviour.RECOMMENDATION)) == RECOMMENDING
    assert list(channels.scoring(Behaviour.RECOMMENDATION)) == RECOMMENDING
    assert list(channels.proposing(Behaviour.SEARCH)) == SEARCHING
    assert list(channels.scoring(Behaviour.SEARCH)) == EVERY
    assert channels.popular is channels.recommending["popularity"]
    assert channels.notes == ()


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), k=st.integers(1, 150), search=st.booleans(), all_=st.booleans())
def test_proposals_are_distinct_allowed_and_scored_as_asked(
    world: World, channels: ChannelSet, name: str, seed: int, k: int, search: bool, all_: bool
) -> None:
    allowed_I = None if all_ else np.random.default_rng(seed).random(world.items) < 0.5
    scores = channel_of(channels, name).scores(world.requests(seed, search=search, allowed_I=allowed_I))
    found = scores.best(k)
    assert found.item_GK.shape == found.score_GK.shape
    assert found.item_GK.shape[1] <= k
    real_GK = found.item_GK >= 0
    assert (np.diff(real_GK.astype(int), axis=1) <= 0).all()  # pads are at the end
    assert np.isneginf(found.score_GK[~real_GK]).all()
    of_GK = scores.of(found.item_GK)
    assert np.isfinite(of_GK).all()
    np.testing.assert_allclose(found.score_GK[real_GK], of_GK[real_GK], rtol=1e-4, atol=1e-4)
    for item_K, score_K in zip(found.item_GK, found.score_GK, strict=True):
        real_K = item_K[item_K >= 0]
        assert len(set(real_K.tolist())) == len(real_K)
        assert (np.diff(score_K[: len(real_K)]) <= 0).all()
        assert allowed_I is None or allowed_I[real_K].all()
    more_GK = scores.best(k + 20).item_GK  # begins with the same ones
    width = min(found.item_GK.shape[1], more_GK.shape[1])
    np.testing.assert_array_equal(more_GK[:, :width], found.item_GK[:, :width])


@pytest.mark.parametrize("name", EVERY)
def test_scores_do_not_depend_on_the_other_groups(world: World, channels: ChannelSet, name: str) -> None:
    requests, channel = world.requests(5, groups=30, search=True), channel_of(channels, name)
    every_GI = np.tile(np.arange(world.items), (30, 1))
    together = channel.scores(requests)
    found, of_GI = together.best(12), together.of(every_GI)
    for group in range(0, 30, 3):
        alone = channel.scores(requests.take(np.array([group])))
        np.testing.assert_array_equal(alone.best(12).item_GK[0], found.item_GK[group])
        np.testing.assert_allclose(alone.of(every_GI[:1])[0], of_GI[group], rtol=1e-6, atol=1e-6)


def test_channels_of_the_latest_forget_sooner(world: World, channels: ChannelSet) -> None:
    for name in ("covisitation", "text"):
        slow, fast = channels.recommending[name], channels.recommending[f"{name} of the latest"]
        assert (slow.decay, fast.decay) == (DECAY, LATEST)  # type: ignore[attr-defined]
        every_GI = np.tile(np.arange(world.items), (9, 1))
        requests = world.requests(1)
        assert np.abs(slow.scores(requests).of(every_GI) - fast.scores(requests).of(every_GI)).max() > 0.01


def test_a_silent_log_leaves_channels_empty_and_they_say_so() -> None:
    silent = random_world(silent=True)
    channels = silent.channels()
    reasons = {note.split("'")[1]: note for note in channels.notes}
    assert set(reasons) == set(EVERY) - {"lightgcn", "tower", "popularity"}
    assert reasons["lexical"] == "channel 'lexical' is empty: no item text has words"
    assert "no user met two items in training, and no two item texts share a word" in reasons["neighbours"]
    requests = silent.requests(0, search=True)
    for name in reasons:
        scores = channel_of(channels, name).scores(requests)
        assert (scores.best(4).item_GK == -1).all()
        assert np.isfinite(scores.of(np.tile(np.arange(silent.items), (9, 1)))).all()
    assert (channels.popular.scores(requests).best(4).item_GK == [0, 1, 2, 3]).all()
