"""What simulated users do: sessions of recommendations and searches that follow their drifting tastes.

A user keeps a few liked topics, drawn mostly from his community's; they are replaced slowly. A session has a focus, one
of them, which tends to stay from one session to the next, so recent items say more than old ones. Liking an item also
takes a match of styles. Words of a query mean several topics, so who asks matters.

Dimensions: U users of the chunk, S sessions, N shown items, M moments (one time each), K liked topics of a user,
T topics, C communities, W words of a query, F style dimensions, D days. Flat arrays are ordered by (user, session,
place).
"""

from dataclasses import dataclass

import numpy as np

from gensr_dist.data.config import SimulateConfig
from gensr_dist.data.sources.simulated_catalogue import TOPIC_WORDS, Catalogue
from gensr_dist.data.sources.times import DAY_MS

FOCUS_WEIGHTS_K = np.array([0.36, 0.24, 0.17, 0.13, 0.10])  # how often each liked topic becomes the focus
KEEP_FOCUS = 0.6  # chance that a session keeps the focus of the one before
REPLACE_PER_DAY = 0.03  # chance that a liked topic is replaced, each day
FROM_COMMUNITY = 0.75  # share of liked topics that come from the community's
RECOMMENDED_FROM = np.array([0.55, 0.20, 0.25])  # focus, another liked topic, anything popular
CLICK_LOGIT = np.array([0.9, 0.2, -2.5])  # the same three
SEARCHED_FROM = np.array([0.35, 0.25, 0.40])  # focus, another liked topic, one that may be new to the user
OFF_INTENT = 0.25  # share of search results from another topic of a query word
SEARCH_SHARE_CONCENTRATION = 12.0  # of the beta distribution over users of the share of searches
SEARCH_CLICK = 0.85  # chance that a search session ends in a click
STYLE_WEIGHT = 1.0
SHOWN_PER_SESSION = 4.0  # mean; 5 of a recommendation session, 3 of a search
_REDRAWS = 8
_BITS_SET = np.array([number.bit_count() for number in range(1 << TOPIC_WORDS)])


@dataclass(frozen=True, kw_only=True)
class Population:
    """What outlives the chunks: the communities."""

    community_U: np.ndarray  # int32, of all users
    cumulative_CT: np.ndarray  # float64: running sums of each community's topic shares


@dataclass(frozen=True, kw_only=True)
class SimulatedSessions:
    """All that a chunk of users did. `user` counts within the chunk."""

    style_UF: np.ndarray  # float32, unit variance of the match with items
    user_S: np.ndarray
    search_S: np.ndarray  # bool
    liked_SK: np.ndarray  # int32 topics
    focus_S: np.ndarray  # int32 topic
    intent_S: np.ndarray  # int32 topic searched for; the focus in recommendation sessions
    query_SW: np.ndarray  # int32 word ids, 0 for none
    session_N: np.ndarray  # row of the arrays above
    item_N: np.ndarray  # int64 item rows; a user never sees an item twice
    click_N: np.ndarray  # bool
    time_N: np.ndarray  # int64 ms since the log began; rises within a user, but a search's items share one time


def plant_population(config: SimulateConfig, catalogue: Catalogue, rng: np.random.Generator) -> Population:
    """Draw the communities and who belongs to which."""
    communities = int(np.clip(catalogue.topics // 4, 2, 40))
    share_CT = rng.dirichlet(np.full(catalogue.topics, 0.15), communities)
    return Population(
        community_U=rng.integers(0, communities, config.users).astype(np.int32),
        cumulative_CT=share_CT.cumsum(axis=1),
    )


def simulate_sessions(
    config: SimulateConfig,
    catalogue: Catalogue,
    population: Population,
    users: slice,
    rng: np.random.Generator,
) -> SimulatedSessions:
    """Everything that the users of one chunk see, search and click."""
    community_U = population.community_U[users]
    style_UF = rng.standard_normal((len(community_U), catalogue.style_IF.shape[1]), dtype=np.float32)
    style_UF /= np.linalg.norm(style_UF, axis=1, keepdims=True)

    mean = max(config.events_per_user / SHOWN_PER_SESSION - 1, 0.0)
    sessions_U = 1 + rng.poisson(mean * rng.gamma(config.activity_shape, 1 / config.activity_shape, len(community_U)))
    user_S = np.repeat(np.arange(len(community_U)), sessions_U)
    start_S = rng.random(len(user_S)) * (config.days * DAY_MS - DAY_MS // 24)
    start_S = start_S[np.lexsort((start_S, user_S))].astype(np.int64)
    searches = SEARCH_SHARE_CONCENTRATION * config.search_share
    draw_S = rng.random(len(user_S))
    search_S = draw_S < rng.beta(searches, SEARCH_SHARE_CONCENTRATION - searches, len(community_U))[user_S]

    liked_SK = _liked_topics(community_U, population, user_S, start_S, config.days, rng)
    focus_S = liked_SK[np.arange(len(user_S)), _sticky_slot(user_S, rng)]
    fresh_S = _community_topics(population, community_U[user_S], rng)
    intent_S = np.where(search_S, _choose(SEARCHED_FROM, focus_S, _any_of(liked_SK, rng), fresh_S, rng)[0], focus_S)
    asked_S, query_SW = _queries(catalogue, intent_S, search_S, rng)
    own_S = _own_words(catalogue.noise_words, config.own_word_share, search_S, rng.spawn(1)[0])
    query_SW = np.column_stack([query_SW, own_S])

    shown_S = np.where(search_S, 2 + rng.poisson(1.0, len(user_S)), 3 + rng.poisson(2.0, len(user_S)))
    session_N = np.repeat(np.arange(len(user_S)), shown_S)
    item_N, origin_N = _shown_items(catalogue, session_N, user_S, search_S, focus_S, liked_SK, intent_S, query_SW, rng)
    first_N = np.sort(np.unique(user_S[session_N] * len(catalogue.topic_I) + item_N, return_index=True)[1])
    session_N, item_N, origin_N = session_N[first_N], item_N[first_N], origin_N[first_N]

    match_N = np.einsum("nf,nf->n", style_UF[user_S[session_N]], catalogue.style_IF[item_N])
    click_N = _clicks(catalogue, session_N, item_N, origin_N, match_N, search_S, intent_S, asked_S, rng)
    return SimulatedSessions(
        style_UF=style_UF,
        user_S=user_S,
        search_S=search_S,
        liked_SK=liked_SK,
        focus_S=focus_S,
        intent_S=intent_S,
        query_SW=query_SW,
        session_N=session_N,
        item_N=item_N,
        click_N=click_N,
        time_N=_times(user_S, start_S, search_S, session_N, config.days, rng),
    )


def _community_topics(population: Population, community_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A topic for each community in `community_N`: mostly of its own, else any."""
    communities, topics = population.cumulative_CT.shape
    offset_CT = population.cumulative_CT / population.cumulative_CT[:, -1:] + np.arange(communities)[:, None]
    place_N = np.searchsorted(offset_CT.ravel(), community_N + rng.random(len(community_N)), "right")
    own_N = np.clip(place_N - community_N * topics, 0, topics - 1)
    any_N = rng.integers(0, topics, len(community_N))
    return np.where(rng.random(len(community_N)) < FROM_COMMUNITY, own_N, any_N).astype(np.int32)


def _liked_topics(
    community_U: np.ndarray,
    population: Population,
    user_S: np.ndarray,
    start_S: np.ndarray,
    days: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """[S, K] topics that the user likes at each session."""
    slots = len(FOCUS_WEIGHTS_K)
    topic_UDK = _community_topics(population, np.repeat(community_U, days * slots), rng)
    topic_UDK = topic_UDK.reshape(len(community_U), days, slots)
    replaced_UDK = rng.random(topic_UDK.shape) < REPLACE_PER_DAY
    replaced_UDK[:, 0] = True
    since_UDK = np.maximum.accumulate(np.where(replaced_UDK, np.arange(days)[None, :, None], 0), axis=1)
    topic_UDK = np.take_along_axis(topic_UDK, since_UDK, axis=1)
    return topic_UDK[user_S, start_S // DAY_MS]


def _sticky_slot(user_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[S] which liked topic is the focus: kept from the user's session before, or drawn again."""
    drawn_S = rng.choice(len(FOCUS_WEIGHTS_K), len(user_S), p=FOCUS_WEIGHTS_K)
    redrawn_S = rng.random(len(user_S)) >= KEEP_FOCUS
    redrawn_S[np.flatnonzero(np.diff(user_S, prepend=-1))] = True
    return drawn_S[np.maximum.accumulate(np.where(redrawn_S, np.arange(len(user_S)), 0))]


def _any_of(liked_SK: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return liked_SK[np.arange(len(liked_SK)), rng.integers(0, liked_SK.shape[1], len(liked_SK))]


def _choose(
    shares: np.ndarray, first_N: np.ndarray, second_N: np.ndarray, third_N: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Take each element from one of three arrays; also which (0, 1, 2)."""
    origin_N = rng.choice(3, len(first_N), p=shares)
    return np.choose(origin_N, [first_N, second_N, third_N]), origin_N


def _queries(
    catalogue: Catalogue, intent_S: np.ndarray, search_S: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two or three words of the topic, as a bit mask over its words [S] and as word ids [S, 3]."""
    place_SW = rng.random((len(intent_S), TOPIC_WORDS)).argsort(axis=1)[:, :3]
    bits_SW = np.left_shift(1, place_SW)
    query_SW = catalogue.topic_words_TW[intent_S[:, None], place_SW]
    short_S = rng.random(len(intent_S)) < 0.5
    bits_SW[short_S, 2] = 0
    query_SW[short_S, 2] = 0
    query_SW[~search_S] = 0
    return bits_SW.sum(axis=1).astype(np.uint8), query_SW


def _own_words(noise_words: np.ndarray, share: float, search_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[S] a further word for some queries, names and misspellings for instance; 0 for none. Zipf's law, exponent 1."""
    rank_S = np.exp(rng.random(len(search_S)) * np.log(len(noise_words))).astype(np.int64) - 1
    return np.where(search_S & (rng.random(len(search_S)) < share), noise_words[rank_S], 0).astype(np.int32)


def _shown_items(
    catalogue: Catalogue,
    session_N: np.ndarray,
    user_S: np.ndarray,
    search_S: np.ndarray,
    focus_S: np.ndarray,
    liked_SK: np.ndarray,
    intent_S: np.ndarray,
    query_SW: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """[N] items and where they come from: 0 focus or intent, 1 another liked topic, 2 elsewhere."""
    popular_N = catalogue.topic_I[_draw_popular(catalogue, len(session_N), rng)]
    topic_N, origin_N = _choose(RECOMMENDED_FROM, focus_S[session_N], _any_of(liked_SK[session_N], rng), popular_N, rng)
    result_N = search_S[session_N]
    stray_N = rng.random(len(session_N)) < OFF_INTENT
    found_N = np.where(stray_N, _topics_of_words(catalogue, query_SW[session_N, 0], rng), intent_S[session_N])
    topic_N = np.where(result_N, found_N, topic_N)
    origin_N = np.where(result_N, np.where(stray_N, 2, 0), origin_N)

    item_N = catalogue.draw_from_topic(topic_N, rng)
    owner_N = user_S[session_N] * len(catalogue.topic_I)
    for attempt in range(_REDRAWS):  # what the user has seen is drawn again; the caller drops the few that remain
        repeat_N = np.ones(len(item_N), dtype=bool)
        repeat_N[np.unique(owner_N + item_N, return_index=True)[1]] = False
        if attempt >= _REDRAWS // 2:  # he has seen most of the topic: recommend from elsewhere
            repeat_N &= ~result_N
            origin_N[repeat_N] = 2
            topic_N[repeat_N] = rng.permutation(popular_N)[: repeat_N.sum()]
        item_N[repeat_N] = catalogue.draw_from_topic(topic_N[repeat_N], rng)
    return item_N, origin_N


def _draw_popular(catalogue: Catalogue, count: int, rng: np.random.Generator) -> np.ndarray:
    place = np.searchsorted(catalogue.cumulative_I, rng.random(count) * catalogue.cumulative_I[-1], "right")
    return catalogue.by_topic_I[np.minimum(place, len(catalogue.by_topic_I) - 1)]


def _topics_of_words(catalogue: Catalogue, word_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[N] one of the topics that each word belongs to; any for word 0."""
    flat = catalogue.topic_words_TW.ravel()
    order = np.argsort(flat, kind="stable")
    first_N = np.searchsorted(flat[order], word_N, "left")
    count_N = np.searchsorted(flat[order], word_N, "right") - first_N
    place_N = first_N + (rng.random(len(word_N)) * count_N).astype(np.int64)
    return order[np.minimum(place_N, len(order) - 1)] // TOPIC_WORDS


def _clicks(
    catalogue: Catalogue,
    session_N: np.ndarray,
    item_N: np.ndarray,
    origin_N: np.ndarray,
    match_N: np.ndarray,
    search_S: np.ndarray,
    intent_S: np.ndarray,
    asked_S: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """[N] clicks: of each recommendation by itself, of a search at most the best of its results."""
    logit_N = CLICK_LOGIT[origin_N] + STYLE_WEIGHT * match_N
    recommended_N = rng.random(len(item_N)) < 1 / (1 + np.exp(-logit_N))

    on_intent_N = catalogue.topic_I[item_N] == intent_S[session_N]
    named_N = _BITS_SET[np.where(on_intent_N, catalogue.caption_mask_I[item_N] & asked_S[session_N], 0)]
    value_N = 2.0 * on_intent_N + 1.0 * named_N + STYLE_WEIGHT * match_N + rng.gumbel(size=len(item_N))
    best_N = np.zeros(len(item_N), dtype=bool)
    order_N = np.lexsort((value_N, session_N))
    best_N[order_N[np.flatnonzero(np.diff(session_N[order_N], append=-1))]] = True
    satisfied_S = rng.random(len(search_S)) < SEARCH_CLICK
    return np.where(search_S[session_N], best_N & satisfied_S[session_N], recommended_N)


def _times(
    user_S: np.ndarray,
    start_S: np.ndarray,
    search_S: np.ndarray,
    session_N: np.ndarray,
    days: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """[N] ms since the log began. Each recommendation, and each search as a whole, has a time of its own."""
    if not len(session_N):
        return np.zeros(0, dtype=np.int64)
    opens_N = np.diff(session_N, prepend=-1) != 0
    moment_N = np.cumsum(opens_N | ~search_S[session_N]) - 1
    session_M = session_N[np.flatnonzero(np.diff(moment_N, prepend=-1))]
    user_M = user_S[session_M]
    gap_M = rng.integers(4_000, 40_000, len(session_M))
    elapsed_M = np.cumsum(gap_M)
    opens_M = np.maximum.accumulate(np.where(np.diff(session_M, prepend=-1) != 0, np.arange(len(session_M)), 0))
    time_M = start_S[session_M] + elapsed_M - elapsed_M[opens_M]
    # Strictly rising within a user: a running maximum of (time - rank), users kept apart by an offset that only rises.
    rank_M = np.arange(len(session_M))
    apart_M = user_M * (2 * days * DAY_MS + len(session_M))
    time_M = np.maximum.accumulate(time_M + apart_M - rank_M) + rank_M - apart_M
    last_M = np.searchsorted(user_M, user_M, "right") - 1
    return np.minimum(time_M, days * DAY_MS - 1 - (last_M - rank_M))[moment_N]
