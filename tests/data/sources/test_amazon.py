import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EVENT_SCHEMA, ITEM_SCHEMA, QUERY_SCHEMA, USER_SCHEMA, Behaviour, EventLog, Repair
from gensr_dist.data.sources import json_lines, read_source
from gensr_dist.errors import InputError

BEAUTY = Path(__file__).resolve().parents[4] / "shared" / "data" / "amazon_beauty"
REVIEWS = [
    {"reviewerID": "B", "asin": "Y", "unixReviewTime": 1_300_000_000, "overall": 5.0},
    {"reviewerID": "A", "asin": "X", "unixReviewTime": 1_300_086_400},
    {"reviewerID": "A", "asin": "Z", "unixReviewTime": 1_300_172_800},
    {"reviewerID": "B", "asin": "X", "unixReviewTime": 1_300_259_200},
]
META = [
    {"asin": "unseen", "title": "Not reviewed", "categories": [["Beauty", "Never"]]},
    {
        "asin": "X",
        "title": "Big  Soap &amp; Oil",
        "brand": "ACME",
        "categories": [["Beauty", "Bath & Body", "Women's Bath"], ["Gifts", "For the Home"], ["Gifts"]],
    },
    {"asin": "Y", "title": "Comb", "brand": None, "categories": [["Beauty"]]},
    {"asin": "Z", "categories": [["Beauty", "Hair-Care"]]},
]


def read(folder: Path) -> EventLog:
    return read_source(DataConfig(source="amazon"), folder)


def write(folder: Path, reviews: list[Any] = REVIEWS, meta: list[Any] = META, *, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("reviews_Toy_5.json", reviews), ("meta_Toy.json", meta)):
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(text) if packed else text)
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_gzip_is_known_by_its_bytes(tmp_path: Path, packed: bool) -> None:
    folder = write(tmp_path, packed=packed)
    for path in list(folder.iterdir()):
        path.rename(folder / (path.name.removesuffix(".gz") if packed else f"{path.name}.gz"))
    assert read(folder).events.equals(read(write(tmp_path / "right")).events)


@pytest.mark.parametrize("packed", [True, False])
def test_events_queries_and_texts(tmp_path: Path, packed: bool) -> None:
    log = read(write(tmp_path, packed=packed))
    assert (log.users.schema, log.items.schema) == (USER_SCHEMA, ITEM_SCHEMA)
    assert (log.queries.schema, log.events.schema) == (QUERY_SCHEMA, EVENT_SCHEMA)
    assert log.users["user_id"].to_list() == ["A", "B"]
    assert dict(log.items.rows()) == {
        "X": "beauty bath body womens gifts home big soap & oil acme",
        "Y": "beauty comb",
        "Z": "beauty hair care",
    }
    assert log.queries["text"].to_list() == ["beauty bath body womens", "beauty hair care", "gifts home"]
    recommended = log.events.filter(pl.col("behaviour") == Behaviour.RECOMMENDATION)
    assert recommended.select("user", "item", "time", "query").rows() == [
        (1, 1, 1_300_000_000_000, -1),
        (0, 0, 1_300_086_400_000, -1),
        (0, 2, 1_300_172_800_000, -1),
        (1, 0, 1_300_259_200_000, -1),
    ]
    searched = log.events.filter(pl.col("behaviour") == Behaviour.SEARCH)
    assert searched.select("user", "item").rows() == [(0, 0), (0, 2), (1, 0)]  # item Y has no path of two levels
    assert set(searched.filter(pl.col("item") == 0)["query"]) <= {0, 2}
    assert log.events["positive"].all()
    assert {repair.what: repair.count for repair in log.repairs} == {
        "titles, brands and levels of categories with HTML entities decoded": 1,
        "items without a title": 1,
        "items without a brand or store": 2,
        "items without a query (no category path of two levels)": 1,
    }


def test_result_does_not_depend_on_the_order_of_lines(tmp_path: Path) -> None:
    forward, backward = (
        read(write(tmp_path / "a")),
        read(write(tmp_path / "b", REVIEWS[::-1], META[::-1])),
    )
    assert forward.items.equals(backward.items)
    assert forward.queries.equals(backward.queries)
    assert forward.events.sort("time", "behaviour").equals(backward.events.sort("time", "behaviour"))


def test_each_of_several_queries_is_used(tmp_path: Path) -> None:
    reviews = [{"reviewerID": f"U{n}", "asin": "X", "unixReviewTime": 1_300_000_000 + 86_400 * n} for n in range(400)]
    log = read(write(tmp_path, reviews))
    used = log.events.filter(pl.col("query") >= 0).group_by("query").len()
    assert used.height == 2
    assert (used["len"] > 150).all()


def test_repeats_bad_times_and_absent_meta_are_counted(tmp_path: Path) -> None:
    bad = [REVIEWS[0], {**REVIEWS[0], "unixReviewTime": -5}, {**REVIEWS[0], "unixReviewTime": 8_600_000_000}]
    log = read(write(tmp_path, [*REVIEWS, *bad], [*META[:3], META[1]]))
    assert log.events.filter(pl.col("behaviour") == 0).height == len(REVIEWS)
    assert {repair.what: repair.count for repair in log.repairs} == {
        "reviews dropped: negative or future time, or what is no id": 2,
        "reviews dropped: repeats of user, item and time": 1,
        "meta lines dropped: repeats of an item": 1,
        "reviewed items without a meta line": 1,
        "titles, brands and levels of categories with HTML entities decoded": 1,
        "items without a title": 1,
        "items without a brand or store": 2,
        "items without a query (no category path of two levels)": 2,
        "items with no text kept": 1,
    }


def test_words_for_none_and_decimals_as_ids(tmp_path: Path) -> None:
    day = 1_300_000_000
    pairs = [("nan", "12"), ("7", "None"), (" 7 ", "12.0"), ("7", "12"), ("\ufeff7", "12")]
    reviews = [
        {"reviewerID": user, "asin": item, "unixReviewTime": day + 86_400 * n} for n, (user, item) in enumerate(pairs)
    ]
    log = read(write(tmp_path, reviews, [{"asin": "12.0", "title": "NULL", "categories": [["Beauty", "Hair"]]}]))
    assert log.users["user_id"].to_list() == ["7"]
    assert log.items.rows() == [("12", "beauty hair null")]
    counts = {repair.what: repair.count for repair in log.repairs}
    assert counts["reviews dropped: negative or future time, or what is no id"] == 3
    assert counts["asin of reviews written with .0 read as whole numbers"] == 1
    assert counts["titles and brands that are NULL, nan or the like kept"] == 1
    assert log.read == log.events.height + 3


@pytest.mark.parametrize("value", [True, False, 12.5, 1e20, 12345678901234567.0, ["X"]])
def test_ids_that_are_neither_text_nor_whole_numbers(tmp_path: Path, value: object) -> None:
    line = {"reviewerID": value, "asin": "X", "unixReviewTime": 1_300_000_000}
    with pytest.raises(InputError, match=r"reviews_Toy_5.json.gz:5: reviewerID is .*, not a text"):
        read(write(tmp_path, [*REVIEWS, line]))


@pytest.mark.parametrize(
    ("field", "number"),
    [("unixReviewTime", "1.300e+09"), ("asin", "1e3"), ("reviewerID", "1.5E2"), ("asin", "2e0")],
)
@pytest.mark.parametrize("literal", [False, True])
def test_scientific_notation_is_refused(tmp_path: Path, field: str, number: str, literal: bool) -> None:
    review = {"reviewerID": "A", "asin": "X", "unixReviewTime": 1_300_000_000, field: "HERE"}
    line = (repr(review) if literal else json.dumps(review)).replace(repr("HERE") if literal else '"HERE"', number)
    message = rf"reviews_Toy_5.json.gz:5: {field} is {re.escape(number)}, scientific notation, which may have lost dig"
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, [*REVIEWS, line]))


@pytest.mark.parametrize("number", ["1e20", "1e-7"])
def test_numbers_that_polars_writes_like_an_id(tmp_path: Path, number: str) -> None:
    line = f'{{"reviewerID": {number}, "asin": "X", "unixReviewTime": 1300000000}}'
    with pytest.raises(InputError, match=r"json.gz:5: reviewerID is "):
        read(write(tmp_path, [*REVIEWS, line]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"reviewerID": "\u200bA"},
            r"no review has a user \(reviewerID\) that is an id, the first is '\\u200bA' \(with ch",
        ),
        ({"asin": "nil"}, r"no review has an item \(asin\) that is an id, the first is 'nil' \(a word for no value\)"),
        (
            {"unixReviewTime": -1},
            r"no review has a time \(unixReviewTime\) between 1990 and today, the first is -1; give",
        ),
        ({"unixReviewTime": -1, "asin": "nil"}, r"no review has a time \(.*\) between .* or an item \(asin\) that is"),
    ],
)
def test_what_no_review_has_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, [row | change for row in REVIEWS]))


def test_reviews_that_each_lack_something_else(tmp_path: Path) -> None:
    reviews = [REVIEWS[0] | {"reviewerID": "nil"}, REVIEWS[1] | {"asin": "nil"}]
    message = r"no review has time, user and item: of 2, 2 have a time .*, 1 have a user .*, 1 have an item"
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, reviews))


@pytest.mark.parametrize("doubt", ["", "X.5", "1234567890123456"])
def test_whole_floats_and_repeated_names_do_not_depend_on_how_a_block_is_parsed(tmp_path: Path, doubt: str) -> None:
    lines = [
        '{"reviewerID": 12.0, "asin": "X", "unixReviewTime": 1300000000}',
        '{"reviewerID": "13", "asin": "X", "unixReviewTime": 1300086400, "reviewerID": "14"}',
        json.dumps({"reviewerID": doubt or "15", "asin": "X", "unixReviewTime": 1_300_172_800}),
    ]
    assert set(read(write(tmp_path, lines)).users["user_id"]) == {"12", "13", doubt or "15"}


def test_control_characters_of_titles_become_blanks(tmp_path: Path) -> None:
    log = read(write(tmp_path, meta=[{**META[1], "title": "Big\0Soap"}, *META[2:]]))
    assert "big soap acme" in log.items["text"][0]
    assert Repair("texts of items with control characters, which became blanks", 1) in log.repairs


def test_python_literal_meta_gives_the_same_log(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "json"))
    literal = read(write(tmp_path / "literal", meta=[repr(row) for row in META]))
    assert literal.items.equals(plain.items)
    assert literal.events.equals(plain.events)
    assert ("meta lines that were Python literals, not JSON", 4) in [(r.what, r.count) for r in literal.repairs]


def test_literals_are_never_executed(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    line = f"{{'asin': open({str(target)!r}, 'w').name}}"
    with pytest.raises(InputError, match=r"meta_Toy.json.gz:1: expected a JSON object"):
        read(write(tmp_path, meta=[line]))
    assert not target.exists()


def test_byte_order_mark_and_line_ends_are_read(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "plain", packed=False))
    path = write(tmp_path / "windows", packed=False) / "reviews_Toy_5.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n").rstrip())
    assert read(path.parent).events.equals(plain.events)


def test_blocks_of_any_size_give_the_same_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(write(tmp_path))
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 200)
    assert read(tmp_path).events.equals(whole.events)
    assert read(tmp_path).items.equals(whole.items)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"reviewerID": "A", "asin": "X"', r"reviews_Toy_5.json.gz:5: expected a JSON object"),
        ("[1, 2]", r"reviews_Toy_5.json.gz:5: expected a JSON object, found list"),
        ("[" * 100_000, r":5: expected a JSON object"),
        ({"asin": "X", "unixReviewTime": 3}, r":5: the field reviewerID is missing"),
        ({"reviewerID": "A", "asin": ["X"], "unixReviewTime": 3}, r":5: asin is \['X'\], not a text"),
        (
            {"reviewerID": "A", "asin": "X", "unixReviewTime": "soon"},
            r":5: unixReviewTime is 'soon', not a whole number",
        ),
        ({"reviewerID": "A", "asin": "X", "unixReviewTime": 10**30}, r":5: unixReviewTime is 1000"),
        ('{"reviewerID": "A", "asin": "X", "unixReviewTime": 1e999}', r":5: unixReviewTime is inf, not a whole number"),
    ],
)
def test_malformed_line_is_named(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, [*REVIEWS, line]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {"title": ["Soap"]},
        {"title": [None]},
        {"title": [5, 7]},
        {"title": [-0.5]},
        {"title": False},
        {"brand": {"name": "Acme"}},
        {"categories": [[{"name": "Toys"}, "Games"]]},
        {"categories": [["Toys", [None]]]},
    ],
)
@pytest.mark.parametrize("literal", [False, True])
def test_what_is_no_text_is_refused_whatever_stands_beside_it(
    tmp_path: Path, changed: dict[str, Any], literal: bool
) -> None:
    """polars writes it as JSON, and a Python literal in the same block would have it parsed line by line."""
    others = [repr(row) if literal else json.dumps(row) for row in META[1:]]
    with pytest.raises(InputError, match=r"meta_Toy.json.gz:1: (?:title|brand|categories) is .*, not a"):
        read(write(tmp_path, meta=[json.dumps({**META[0], **changed}), *others]))


@pytest.mark.parametrize("block", [200, 8 << 20])
def test_a_time_in_another_unit_is_named_with_its_line(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", block)
    late = {"reviewerID": "A", "asin": "X", "unixReviewTime": 1_302_160_000_000}
    path = write(tmp_path, [*REVIEWS, late, late], packed=False) / "reviews_Toy_5.json"
    path.write_text(path.read_text().replace("\n", "\n\n", 2))
    with pytest.raises(InputError, match=r"5.json:7: unixReviewTime is 1302160000000 \(as seconds the year"):
        read(tmp_path)


def test_meta_of_other_items(tmp_path: Path) -> None:
    others = [{**META[0], "asin": f"other{number}"} for number in range(20)]
    with pytest.raises(InputError, match=r"are not among the 20 items listed"):
        read(write(tmp_path, meta=others))
    with pytest.raises(InputError, match=r"meta_Toy.json.gz: holds no items; give a file with one item a line"):
        read(write(tmp_path, meta=[]))


def test_decoded_entities_are_counted(tmp_path: Path) -> None:
    log = read(write(tmp_path, meta=[{**META[1], "title": "R&amp;B", "brand": "A&amp;B"}, *META[2:]]))
    assert ("titles, brands and levels of categories with HTML entities decoded", 2) in [
        (r.what, r.count) for r in log.repairs
    ]


def test_letters_that_are_written_otherwise_give_the_same_log(tmp_path: Path) -> None:
    path = ["Beauty", "Café & Bath"]
    odd = ["Beau\u200bty", "Cafe\u0301 &amp;\0Bath"]
    names = [("Crème", "L\u2019Oréal"), ("Cre\u0300me", "\u200eL&rsquo;Ore\u0301al")]
    plain, spoiled = (
        read(write(tmp_path / title, meta=[{**META[1], "title": title, "brand": brand, key: levels}, *META[2:]]))
        for (title, brand), key, levels in zip(names, ("categories",) * 2, ([path], [odd]), strict=True)
    )
    assert plain.items.equals(spoiled.items)
    assert plain.queries.equals(spoiled.queries)
    assert plain.events.equals(spoiled.events)
    what = "titles, brands and levels of categories with"
    assert set(spoiled.repairs) - set(plain.repairs) == {
        Repair(f"{what} HTML entities decoded", 2),
        Repair(f"{what} characters that cannot be seen, which were dropped", 2),
        Repair(f"{what} letters and marks apart, which were composed", 3),
        Repair("levels of categories with control characters, which became blanks", 1),
    }


def test_lines_of_another_release_show_their_fields(tmp_path: Path) -> None:
    of_2023 = {"user_id": "A", "parent_asin": "X", "timestamp": 1_300_000_000_000}
    with pytest.raises(InputError) as caught:
        read(write(tmp_path, [of_2023]))
    place, fault = f"{tmp_path}/reviews_Toy_5.json.gz:1", "the field reviewerID is missing, found user_id, parent_asin,"
    assert str(caught.value).startswith(f"{place}: {fault} timestamp; fix the line or leave it out; if all lines lack")
    with pytest.raises(InputError, match=r"gz:5: the field asin is null; fix the line or leave it out$"):
        read(write(tmp_path, [*REVIEWS, {**REVIEWS[0], "asin": None}]))


def test_what_pages_are_written_in_is_left_out(tmp_path: Path) -> None:
    """Lines of the release of 2018 have titles and categories like these."""
    script = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();"
    meta = [
        {
            **META[1],
            "title": script,
            "brand": 'by\n <span class="a">Acme</span>',
            "categories": [["Toys", "</span></span>"]],
        },
        {
            **META[2],
            "title": "<b>Red &lt;i&gt;ball</b> <3 x>y",
            "categories": [["Toys", "Balls", "</span>", ""], ["<br/>"]],
        },
    ]
    known = read(write(tmp_path, meta=[*meta, *META[3:]]))
    counts = {repair.what: repair.count for repair in known.repairs}
    assert counts["titles, brands and levels of categories with HTML tags removed"] == 2 + 3
    assert counts["titles left out that are the script of a page"] == 1
    texts = dict(known.items.rows())
    assert texts[META[1]["asin"]] == "toys by acme"
    assert texts[META[2]["asin"]].startswith("toys balls red ball <3 x>y")
    assert not known.queries["text"].str.contains("span|br").any()


def test_two_releases_in_one_folder_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "Toy_5.json").write_text("")
    with pytest.raises(InputError, match=r"expected exactly one .*, found Toy_5.json, .*.gz; leave one of them there"):
        read(tmp_path)


def test_line_numbers_count_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 100)
    with pytest.raises(InputError, match=r"reviews_Toy_5.json.gz:21: "):
        read(write(tmp_path, [*REVIEWS * 5, "{"]))


def test_damaged_absent_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"expected exactly one reviews_\*_5.json.gz or .*found none"):
        read(tmp_path)
    path = write(tmp_path) / "reviews_Toy_5.json.gz"
    packed = path.read_bytes()
    path.write_bytes(packed[:-12])
    with pytest.raises(InputError, match=r"reviews_Toy_5.json.gz: the gzip file is cut short or damaged"):
        read(tmp_path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(InputError, match=r"reviews_Toy_5.json.gz:1: expected a JSON object"):
        read(tmp_path)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match="holds no reviews"):
        read(tmp_path)
    path.write_bytes(gzip.compress(b"\xe9\n"))
    with pytest.raises(InputError, match=r":1: is not UTF-8"):
        read(tmp_path)
    path.write_bytes(gzip.compress(json.dumps({**REVIEWS[0], "unixReviewTime": -1}).encode()))
    with pytest.raises(InputError, match="give unixReviewTime in seconds"):
        read(tmp_path)
    (tmp_path / "reviews_Other_5.json").write_text("")
    with pytest.raises(InputError, match="exactly one"):
        read(tmp_path)


def test_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "BLOCK_BYTES", 1 << 20)
    with pytest.raises(InputError, match="a line over 1 MiB"):
        read(write(tmp_path, ["x" * (3 << 20)]))


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
ROW = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")),
    st.dictionaries(
        st.sampled_from(["reviewerID", "asin", "unixReviewTime", "title", "brand", "categories"]), VALUE
    ).flatmap(lambda row: st.sampled_from([json.dumps(row), repr(row)])),
)


@settings(max_examples=200)
@given(reviews=st.lists(ROW, max_size=3), meta=st.lists(ROW, max_size=3), keep=st.booleans())
def test_any_input_gives_a_log_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, reviews: list[str], meta: list[str], keep: bool
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    write(folder, [*REVIEWS, *reviews] if keep else reviews, meta, packed=False)
    try:
        log = read(folder)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert (log.events["item"] < log.items.height).all()
        assert (log.events["query"] < log.queries.height).all()


@pytest.mark.skipif(not BEAUTY.is_dir(), reason="Amazon Beauty is not beside the project")
def test_beauty_has_the_known_counts() -> None:
    log = read(BEAUTY)
    assert (log.users.height, log.items.height, log.queries.height) == (22_363, 12_101, 244)
    assert log.events.group_by("behaviour").len().sort("behaviour").rows() == [(0, 198_502), (1, 198_502)]
    assert [(repair.what, repair.count) for repair in log.repairs] == [
        ("titles, brands and levels of categories with HTML entities decoded", 1_903),
        ("items without a title", 7),
        ("items without a brand or store", 2_098),
    ]
    assert log.events["time"].min() == 1_300_000_000_000
