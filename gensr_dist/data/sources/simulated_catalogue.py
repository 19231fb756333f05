"""The catalogue behind a simulated log: topics in a category tree, items with popularity, style and captions.

Dimensions: I items, T leaf topics, W words of a topic, F style dimensions, P style prototypes, H hits, M words of an
item's text, N drawn items.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gensr_dist.data.config import SimulateConfig

TOPIC_WORDS = 8  # W; a bit mask of them fits a byte
WORD_SHARE = 9  # a word belongs to a ninth of the topics, so a query alone does not settle which is meant
MAX_TOPICS_PER_WORD = 20
CAPTION_VOCABULARY = 4  # the topic's other words are only searched for: users and authors name things differently
CAPTION_TOPIC_WORDS = 3
STYLE_DIMENSIONS = 4
STYLE_PROTOTYPES = 24
HIT_LIFT = 12.0  # popularity of the least hit; an ordinary item's median is 1
HIT_EXPONENT = 2.6  # of the hits' Pareto law: lower is a heavier tail

_AREAS: dict[str, tuple[str, ...]] = {
    "Food": ("Baking", "Street Food", "Home Cooking", "Tea", "Seafood"),
    "Sports": ("Basketball", "Football", "Running", "Swimming", "Table Tennis"),
    "Music": ("Singing", "Guitar", "Piano", "Folk Songs", "Hip Hop"),
    "Travel": ("Mountains", "Islands", "Old Towns", "Camping", "Road Trips"),
    "Games": ("Puzzle Games", "Shooters", "Strategy", "Racing Games", "Card Games"),
    "Pets": ("Cats", "Dogs", "Birds", "Aquariums", "Hamsters"),
    "Beauty": ("Makeup", "Skin Care", "Hair Styling", "Nails", "Perfume"),
    "Fashion": ("Street Wear", "Shoes", "Handbags", "Jewellery", "Suits"),
    "Technology": ("Phones", "Laptops", "Cameras", "Drones", "Smart Home"),
    "Cars": ("Sedans", "Electric Cars", "Motorcycles", "Trucks", "Car Repair"),
    "Health": ("Yoga", "Nutrition", "Sleep", "Medicine", "Gym"),
    "Education": ("Mathematics", "Languages", "History", "Physics", "Exams"),
    "Home": ("Gardening", "Furniture", "Cleaning", "Woodwork", "Kitchens"),
    "Film": ("Comedy", "Drama", "Animation", "Documentaries", "Science Fiction"),
    "Family": ("Babies", "Weddings", "School Life", "Grandparents", "Toys"),
    "Countryside": ("Farming", "Fishing", "Beekeeping", "Tractors", "Festivals"),
}
_ASPECTS = ("Guides", "Reviews", "Daily Life")
_FORMS = ("Short Clips", "Live Shows")
_NONE = "空"  # what KuaiSAR writes for an absent category
_LEVELS = ("first", "second", "third", "fourth")
MAX_TOPICS = len(_ASPECTS) * sum(len(fields) for fields in _AREAS.values())


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Items and the hidden facts that users respond to. Row `i` has the id `i + 1`; words are ids from 1."""

    topic_I: np.ndarray  # int32
    popularity_I: np.ndarray  # float64, positive
    style_IF: np.ndarray  # float32, unit variance
    caption_mask_I: np.ndarray  # uint8: which of its topic's words the caption holds
    topic_words_TW: np.ndarray  # int32 word ids; a word belongs to several topics
    style_words_P: np.ndarray  # int32 word ids
    prototypes_PF: np.ndarray  # float32: an item's caption names its nearest style
    noise_words: np.ndarray  # int32 word ids that mean nothing
    by_topic_I: np.ndarray  # item rows sorted by topic
    cumulative_I: np.ndarray  # running sum of popularity over `by_topic_I`
    topic_end_T: np.ndarray  # where topics end in `by_topic_I`

    @property
    def topics(self) -> int:
        """Number of leaf topics."""
        return len(self.topic_end_T)

    def draw_from_topic(self, topic_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw for each topic one of its items, by popularity: [N] item rows."""
        upper_N = self.cumulative_I[self.topic_end_T[topic_N] - 1]
        starts_T = np.concatenate([[0], self.topic_end_T[:-1]])
        lower_N = np.where(starts_T[topic_N] > 0, self.cumulative_I[starts_T[topic_N] - 1], 0.0)
        place_N = np.searchsorted(self.cumulative_I, lower_N + rng.random(len(topic_N)) * (upper_N - lower_N), "right")
        return self.by_topic_I[np.clip(place_N, starts_T[topic_N], self.topic_end_T[topic_N] - 1)]


def plant_catalogue(config: SimulateConfig, rng: np.random.Generator) -> Catalogue:
    """Draw a catalogue of `config.items` items over up to `MAX_TOPICS` leaf topics."""
    topics = int(np.clip(config.items // config.items_per_topic, 4, MAX_TOPICS))
    every_topic = np.arange(topics)  # so that none is empty
    topic_I = np.concatenate([every_topic, rng.integers(0, topics, config.items - topics)]).astype(np.int32)
    rng.shuffle(topic_I)
    popularity_I = np.exp(config.popularity_spread * rng.standard_normal(config.items))
    _lift_hits(popularity_I, config, rng.spawn(1)[0])
    by_topic_I = np.argsort(topic_I, kind="stable")

    topics_per_word = int(np.clip(topics // WORD_SHARE, 2, MAX_TOPICS_PER_WORD))
    shared = -(-topics * TOPIC_WORDS // topics_per_word)
    noise = max(50, config.items // 8)
    word_ids = rng.permutation(shared + STYLE_PROTOTYPES + noise).astype(np.int32) + 1
    places = rng.permutation(np.tile(np.arange(shared), topics_per_word))[: topics * TOPIC_WORDS]
    chosen_IW = np.zeros((config.items, TOPIC_WORDS), dtype=bool)
    chosen_IW[:, :CAPTION_VOCABULARY] = (
        rng.random((config.items, CAPTION_VOCABULARY)).argsort(axis=1) < CAPTION_TOPIC_WORDS
    )
    return Catalogue(
        topic_I=topic_I,
        popularity_I=popularity_I,
        style_IF=rng.standard_normal((config.items, STYLE_DIMENSIONS), dtype=np.float32),
        caption_mask_I=np.packbits(chosen_IW, axis=1, bitorder="little")[:, 0],
        topic_words_TW=word_ids[places].reshape(topics, TOPIC_WORDS),
        style_words_P=word_ids[shared : shared + STYLE_PROTOTYPES],
        prototypes_PF=rng.standard_normal((STYLE_PROTOTYPES, STYLE_DIMENSIONS), dtype=np.float32),
        noise_words=word_ids[shared + STYLE_PROTOTYPES :],
        by_topic_I=by_topic_I,
        cumulative_I=np.cumsum(popularity_I[by_topic_I]),
        topic_end_T=np.cumsum(np.bincount(topic_I, minlength=topics)),
    )


def _lift_hits(popularity_I: np.ndarray, config: SimulateConfig, rng: np.random.Generator) -> None:
    """Give a share of the items, in place, a Pareto popularity: what platforms push once it proves itself.

    One law for all cannot have both: nearly every item of KuaiSAR occurs, and a tenth has five positives at fewer than
    three events an item. The random numbers are a generator's own, so that logs without hits do not change.
    """
    hits = round(config.hit_share * len(popularity_I))
    row_H = rng.permutation(len(popularity_I))[:hits] if hits else np.zeros(0, dtype=np.int64)
    popularity_I[row_H] = HIT_LIFT * (1 - rng.random(hits)) ** (-1 / HIT_EXPONENT)


def item_features(catalogue: Catalogue, start: int, stop: int, rng: np.random.Generator) -> pl.DataFrame:
    """Rows `start` to `stop` of KuaiSAR's `item_features.csv`."""
    count = stop - start
    topic_I = catalogue.topic_I[start:stop]
    day_I = rng.integers(0, 365, count)
    features = pl.DataFrame(
        {
            "item_id": np.arange(start + 1, stop + 1),
            "caption": _captions(catalogue, start, stop, rng),
            "author_id": np.where(rng.random(count) < 0.02, 0, topic_I * 50 + rng.integers(1, 50, count)),
            "item_type": np.where(rng.random(count) < 0.02, "AD", "NORMAL"),
            "upload_time": np.datetime64("2022-05-22") + day_I.astype("timedelta64[D]"),
            "upload_type": rng.choice(["ShortImport", "LongImport", "PhotoCopy"], count, p=[0.6, 0.3, 0.1]),
        }
    )
    return features.hstack(_categories(catalogue.topics)[topic_I])


def _captions(catalogue: Catalogue, start: int, stop: int, rng: np.random.Generator) -> pl.Series:
    """Word-id lists as text: the item's topic words, the word of its nearest style and noise, in random order."""
    topic_I = catalogue.topic_I[start:stop]
    has_IW = np.unpackbits(catalogue.caption_mask_I[start:stop, None], axis=1, bitorder="little").astype(bool)
    topical_IW = np.where(has_IW, catalogue.topic_words_TW[topic_I], 0)
    nearest_I = (catalogue.style_IF[start:stop] @ catalogue.prototypes_PF.T).argmax(axis=1)
    noise_IN = rng.choice(catalogue.noise_words, (stop - start, 2))
    noise_IN[rng.random(noise_IN.shape) < 0.5] = 0
    words_IM = np.concatenate([topical_IW, catalogue.style_words_P[nearest_I][:, None], noise_IN], axis=1)
    words_IM = rng.permuted(words_IM, axis=1)
    return word_lists(words_IM)


def word_lists(words_NM: np.ndarray) -> pl.Series:
    """Rows of word ids as KuaiSAR writes them, `[12, 7]`; zeros are left out."""
    words = pl.Series(words_NM, dtype=pl.Array(pl.Int32, words_NM.shape[1])).arr.to_list()
    kept = words.list.eval(pl.element().filter(pl.element() != 0).cast(pl.String))
    return "[" + kept.list.join(", ") + "]"


def _categories(topics: int) -> pl.DataFrame:
    """Category ids and names of each topic: neighbouring topics lie in different areas, so small catalogues vary."""
    areas = list(_AREAS)
    topic_T = np.arange(topics)
    area_T = topic_T % len(areas)
    field_T = topic_T // len(areas) % 5
    aspect_T = topic_T // (len(areas) * 5)
    form_T = topic_T % 3  # 0: the tree ends at the third level here
    names = (
        [areas[area] for area in area_T],
        [_AREAS[areas[area]][field] for area, field in zip(area_T, field_T, strict=True)],
        [_ASPECTS[aspect] for aspect in aspect_T],
        [_FORMS[form - 1] if form else _NONE for form in form_T],
    )
    second_T = area_T * 5 + field_T
    third_T = second_T * len(_ASPECTS) + aspect_T
    ids = (area_T + 1, second_T + 101, third_T + 1001, np.where(form_T > 0, third_T + 10_001, 0))
    columns: dict[str, object] = {}
    for level, id_T, name_T in zip(_LEVELS, ids, names, strict=True):
        columns[f"{level}_level_category_id"] = id_T
        columns[f"{level}_level_category_name"] = name_T
        columns[f"{level}_level_category_name_en"] = name_T
    return pl.DataFrame(columns)
