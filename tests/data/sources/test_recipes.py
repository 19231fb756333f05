"""Recipes of known data sets: their scripts run on small files of the real form, and our reader reads the result."""

import gzip
import json
import re
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour, EventLog
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError

RECIPES = Path(__file__).resolve().parents[3] / "shards" / "recipes"
Event = tuple[str, str, str, int, str | None, bool]


def blocks(recipe: str, language: str) -> list[str]:
    """The code blocks of a recipe."""
    return re.findall(rf"```{language}\n(.*?)```", (RECIPES / f"{recipe}.md").read_text(), flags=re.DOTALL)


def convert(recipe: str, folder: Path, monkeypatch: pytest.MonkeyPatch, script: int = 0, **changes: str) -> EventLog:
    """Run a recipe's script in a folder, with lines `NAME = value` changed, and read the log as its config says."""
    monkeypatch.chdir(folder)
    code = blocks(recipe, "python")[script]
    for name, value in changes.items():
        code, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", code, flags=re.MULTILINE)
        assert count == 1
    exec(compile(code, f"{recipe}.md", "exec"), {})
    return read_config(recipe)


def read_config(recipe: str) -> EventLog:
    (config,) = blocks(recipe, "yaml")
    data = DataConfig(**yaml.safe_load(config)["data"])
    return read_source(data, data.raw)


def events(log: EventLog) -> Counter[Event]:
    users, items, queries = log.users["user_id"], log.items["item_id"], log.queries["text"]
    return Counter(
        (users[user], items[item], "src" if behaviour == Behaviour.SEARCH else "rec", time, query_text, positive)
        for user, item, behaviour, time, query, positive in log.events.rows()
        for query_text in [queries[query] if query >= 0 else None]
    )


def recommended(*rows: tuple[str, str, int, bool]) -> Counter[Event]:
    return Counter((user, item, "rec", time, None, positive) for user, item, time, positive in rows)


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=timezone.utc).timestamp() * 1000)  # type: ignore[misc, arg-type]


def write(folder: Path, **files: str | bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_movielens_1m(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "ml-1m",
        ratings__dat="1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978824330\n2::73::1::978298413\n",
        movies__dat=(
            "73::Misérables, Les (1995)::Drama|Musical\n"
            "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
            "1193::One Flew Over: the Cuckoo's Nest (1975)::Drama\n"
        ).encode("latin-1"),
    )
    log = convert("movielens", tmp_path, monkeypatch)
    assert events(log) == recommended(
        ("1", "1193", 978300760000, True),
        ("1", "661", 978302109000, False),
        ("2", "1193", 978824330000, True),
        ("2", "73", 978298413000, False),
    )
    assert log.items.rows() == [
        ("73", "Drama Musical Misérables, Les (1995)"),
        ("661", "Animation Children's Musical James and the Giant Peach (1996)"),
        ("1193", "Drama One Flew Over: the Cuckoo's Nest (1975)"),
    ]
    assert log.repairs == ()


def test_movielens_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "ml-latest",
        ratings__csv="userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,11,3.5,964981247\n2,11,4.5,1445714835\n",
        movies__csv=(
            "movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n"
            '11,"American ""President"", The (1995)",(no genres listed)\n'
        ),
    )
    log = convert("movielens", tmp_path, monkeypatch, script=1)
    assert events(log) == recommended(
        ("1", "1", 964982703000, True), ("1", "11", 964981247000, False), ("2", "11", 1445714835000, True)
    )
    assert log.items.rows() == [
        ("1", "Adventure Animation Toy Story (1995)"),
        ("11", 'American "President", The (1995)'),
    ]


@pytest.mark.parametrize("script", [0, 1])
def test_movielens_without_some_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: int
) -> None:
    rows = [
        ("1", "1", "5", 964982703),
        ("1", "11", "", 964981247),
        ("2", "1", "nan", 964981247),
        ("2", "11", "3", 1445714835),
    ]
    texts = {mark: "".join(mark.join(map(str, row)) + "\n" for row in rows) for mark in ("::", ",")}
    write(tmp_path / "ml-1m", ratings__dat=texts["::"], movies__dat="1::Toy::Adventure\n11::Sun::Drama\n")
    movies = "movieId,title,genres\n1,Toy,Adventure\n11,Sun,Drama\n"
    write(tmp_path / "ml-latest", ratings__csv="userId,movieId,rating,timestamp\n" + texts[","], movies__csv=movies)
    log = convert("movielens", tmp_path, monkeypatch, script=script)
    assert events(log) == recommended(("1", "1", 964982703000, True), ("2", "11", 1445714835000, False))
    assert capsys.readouterr().out == "dropped: 2 rows without a rating\n"


def write_recbole(folder: Path, factor: int = 1) -> None:
    times = [time * factor for time in (881250949, 891717742, 878887116)]
    write(
        folder / "ml-100k",
        **{
            "ml-100k__inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            f"196\t242\t3\t{times[0]}\n186\t302\t4\t{times[1]}.0\n22\t242\t4.5\t{times[2]}\n",
            "ml-100k__item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            '242\tKolya "uncut"\t1996\tComedy\n302\tL.A. Confidential\t\tCrime Film-Noir\n',
        },
    )


def test_recbole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recbole(tmp_path)
    log = convert("recbole", tmp_path, monkeypatch)
    expected = recommended(
        ("196", "242", 881250949000, False), ("186", "302", 891717742000, True), ("22", "242", 878887116000, True)
    )
    assert events(log) == expected
    assert log.items.rows() == [("242", 'Comedy Kolya "uncut" 1996'), ("302", "Crime Film-Noir L.A. Confidential")]
    write_recbole(tmp_path, factor=1000)
    with pytest.raises(
        InputError, match=r"events.parquet row 1: time is '881250949000000'.*as microseconds 1997-12-04"
    ):
        convert("recbole", tmp_path, monkeypatch)
    assert events(convert("recbole", tmp_path, monkeypatch, MILLISECONDS="1")) == expected


def test_recbole_without_some_ratings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_recbole(tmp_path)
    path = tmp_path / "ml-100k" / "ml-100k.inter"
    path.write_text(path.read_text() + "22\t302\t\t878887117\n196\t302\tnan\t878887118\n")
    assert events(convert("recbole", tmp_path, monkeypatch)).total() == 3
    assert capsys.readouterr().out == "dropped: 2 rows without a rating\n"


def write_kuairec(folder: Path) -> None:
    header = "video_id,manual_cover_text,caption,topic_tag,first_level_category_id,first_level_category_name,"
    header += "second_level_category_id,second_level_category_name,third_level_category_id,third_level_category_name\n"
    write(
        folder / "KuaiRec 2.0" / "data",
        big_matrix__csv="user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
        "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.273397\n"
        "0,9598,13665,6000,2020-07-05 00:13:41.297,20200705,1593879221.297,2.2775\n"
        "1,3649,20000,10000,2020-07-06 00:16:06.687,20200706,1593965766.687,2.0\n"
        "1,9598,0,6000,,,,0.0\n"
        "2,9598,0,6000,2020-07-06 00:16:06.687,20200706,1593965766.687,\n"
        "2,3649,0,0,2020-07-06 00:16:06.687,20200706,1593965766.687,NaN\n",
        kuairec_caption_category__csv=header
        + '3649,UNKNOWN,"精神小伙 路难走 ,程哥你狗粮慢点撒","[搞笑,感谢快手]",8,颜值,673,颜值随拍,-124,UNKNOWN\n'
        + "9598,封面,two lines\nof a caption,[],27,高新数码,-124,UNKNOWN,-124,UNKNOWN\n",
    )


@pytest.mark.parametrize(
    ("recipe", "name", "exact"),
    [
        ("recbole", "ml-100k/ml-100k.inter", "891717742.0"),
        ("kuairec", "KuaiRec 2.0/data/big_matrix.csv", "1593879221.297"),
    ],
)
def test_times_that_lost_digits_are_refused(
    recipe: str, name: str, exact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write_recbole if recipe == "recbole" else write_kuairec)(tmp_path)
    path = tmp_path / name
    path.write_text(path.read_text().replace(exact, "1.700958e+09"))
    with pytest.raises(SystemExit, match=r"lost digits, such as 1\.700958e\+09"):
        convert(recipe, tmp_path, monkeypatch)


def test_kuairec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_kuairec(tmp_path)
    log = convert("kuairec", tmp_path, monkeypatch)
    assert events(log) == recommended(
        ("0", "3649", 1593878903438, False), ("0", "9598", 1593879221297, True), ("1", "3649", 1593965766687, True)
    )
    assert log.items.rows() == [
        ("3649", "颜值 颜值随拍 精神小伙 路难走 ,程哥你狗粮慢点撒"),
        ("9598", "封面 two lines"),
    ]
    assert capsys.readouterr().out == "dropped: 1 views without a time, 2 without a watch_ratio, 1 parts of captions\n"


def test_mind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entities = '[{"Label": "Prince Philip", "Type": "P"}]'
    news = [
        f'N88753\tlifestyle\tlifestyleroyals\tThe "Brands" Queen Elizabeth Swears By\tShop them.\thttps://x\t{entities}\t[]',
        "N19639\thealth\tweightloss\t50 Worst Habits\t\thttps://y\t[]\t[]",
        "N23144\tsports\tgolf\tHe's out, \"again\tGolf.\thttps://z\t[]\t[]",
    ]
    write(
        tmp_path / "MINDsmall_train",
        news__tsv="\n".join([*news[:2], ""]),
        behaviors__tsv="1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782\tN88753-1 N19639-0\n"
        "2\tU91836\t11/12/2019 12:11:30 AM\t\tN19639-1\n",
    )
    write(
        tmp_path / "MINDsmall_dev",
        news__tsv="\n".join([*news[1:], ""]),
        behaviors__tsv="1\tU13740\t11/15/2019 12:55:22 PM\tN88753\tN23144-0 N88753-0 N19639-1\n",
    )
    log = convert("mind", tmp_path, monkeypatch)
    morning, midnight, noon = ms(2019, 11, 11, 9, 5, 58), ms(2019, 11, 12, 0, 11, 30), ms(2019, 11, 15, 12, 55, 22)
    assert events(log) == recommended(
        ("U13740", "N88753", morning, True),
        ("U13740", "N19639", morning, False),
        ("U91836", "N19639", midnight, True),
        ("U13740", "N23144", noon, False),
        ("U13740", "N88753", noon, False),
        ("U13740", "N19639", noon, True),
    )
    assert dict(log.items.rows()) == {
        "N88753": 'lifestyle lifestyleroyals The "Brands" Queen Elizabeth Swears By Shop them.',
        "N19639": "health weightloss 50 Worst Habits",
        "N23144": "sports golf He's out, \"again Golf.",
    }
    write(tmp_path / "MINDsmall_dev", behaviors__tsv="1\tU13740\t11/15/2019 12:55:22 PM\tN88753\tN23144 N88753\n")
    with pytest.raises(InputError, match=r"events.parquet row 4: item_id is empty"):
        convert("mind", tmp_path, monkeypatch)


def test_yelp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = [
        {"review_id": "r1", "user_id": "mh_-eMZ6K5RLWhZyISBhwA", "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "stars": 3.0}
        | {"useful": 0, "text": 'Ate "here"\nonce', "date": "2018-07-07 22:09:11"},
        {"review_id": "r2", "user_id": "OyoGAe7OKpv6SyGZT5g77Q", "business_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "stars": 4}
        | {"useful": 1, "text": "Good", "date": "2012-01-03 15:28:18"},
        {"review_id": "r3", "user_id": "OyoGAe7OKpv6SyGZT5g77Q", "business_id": "-P-b", "stars": 5.0}
        | {"useful": 1, "text": "", "date": "2014-02-05"},
        {"review_id": "r4", "user_id": "a", "business_id": "-P-b", "stars": None, "date": "2014-02-05"},
        {"review_id": "r5", "user_id": "b", "business_id": "-P-b", "date": "2014-02-05"},
    ]
    places = [
        {"business_id": "XQfwVwDr-v0ZS3_CbbE5Xw", "name": 'Turning "Point"', "city": "North Wales", "hours": None}
        | {"attributes": {"Wifi": "u'free'"}, "categories": "Restaurants, Breakfast & Brunch"},
        {"business_id": "-P-b", "name": "Zaika", "city": "", "categories": None, "attributes": None},
    ]
    write(
        tmp_path / "yelp_dataset",
        yelp_academic_dataset_review__json=lines(reviews),
        yelp_academic_dataset_business__json=lines(places),
    )
    log = convert("yelp", tmp_path, monkeypatch)
    assert events(log) == recommended(
        ("mh_-eMZ6K5RLWhZyISBhwA", "XQfwVwDr-v0ZS3_CbbE5Xw", ms(2018, 7, 7, 22, 9, 11), False),
        ("OyoGAe7OKpv6SyGZT5g77Q", "XQfwVwDr-v0ZS3_CbbE5Xw", ms(2012, 1, 3, 15, 28, 18), True),
        ("OyoGAe7OKpv6SyGZT5g77Q", "-P-b", ms(2014, 2, 5), True),
    )
    assert dict(log.items.rows()) == {
        "XQfwVwDr-v0ZS3_CbbE5Xw": 'Restaurants, Breakfast & Brunch Turning "Point" North Wales',
        "-P-b": "Zaika",
    }
    assert capsys.readouterr().out == "dropped: 2 reviews without stars\n"


def test_amazon_2018(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = [
        {
            "overall": 1.0,
            "verified": True,
            "reviewTime": "09 1, 2016",
            "reviewerID": "A3CIUOJXQ5VDQ2",
            "asin": "B0000530HU",
        }
        | {"style": {"Size:": " 7.0 oz"}, "reviewText": "As advertised", "unixReviewTime": 1472688000},
        {
            "overall": 5.0,
            "verified": True,
            "reviewTime": "11 14, 2013",
            "reviewerID": "A3H7T87S984REU",
            "asin": "B0000530HU",
        }
        | {"reviewerName": "theDean", "unixReviewTime": 1384387200},
    ]
    meta = [
        {
            "category": ["Beauty", "Hair Care", "For the Men"],
            "tech1": "",
            "description": ["x"],
            "title": "Aqua &amp; Velva",
        }
        | {"also_buy": [], "brand": "Aqua Velva", "price": "$4.55", "asin": "B0000530HU"}
    ]
    write(
        tmp_path / "amazon_log",
        All_Beauty_5__json__gz=gzip.compress(lines(reviews).encode()),
        meta_All_Beauty__json__gz=gzip.compress(lines(meta).encode()),
    )
    monkeypatch.chdir(tmp_path)
    log = read_config("amazon")
    query = "beauty hair care men"
    assert events(log) == Counter(
        (user, "B0000530HU", behaviour, time, query if behaviour == "src" else None, True)
        for user, time in (("A3CIUOJXQ5VDQ2", 1472688000000), ("A3H7T87S984REU", 1384387200000))
        for behaviour in ("rec", "src")
    )
    assert log.items.rows() == [("B0000530HU", "beauty hair care men aqua & velva aqua velva")]


def test_amazon_2023(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = [
        {
            "rating": 5.0,
            "title": "Such a scent",
            "text": "x",
            "images": [],
            "asin": "B00YQ6X8EO",
            "parent_asin": "B0PARENT01",
        }
        | {"user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", "timestamp": 1588687728923, "helpful_vote": 0},
        {"rating": 2.0, "title": "Bad", "text": "", "images": [], "asin": "B081TJ8YS3", "parent_asin": "B0PARENT02"}
        | {"user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", "timestamp": 1588615855070, "verified_purchase": True},
        {"rating": 2.0, "title": "Bad", "text": "", "images": [], "asin": "B081TJ8YS3", "parent_asin": "B0PARENT02"}
        | {"user_id": "AE2", "timestamp": 1598615855070, "verified_purchase": True},
    ]
    meta = [
        {
            "main_category": "All Beauty",
            "title": "Howard Mist",
            "average_rating": 4.8,
            "store": "Howard",
            "categories": [],
        }
        | {"parent_asin": "B0PARENT01", "details": {"Package": "7.1 x 5.5"}, "bought_together": None},
        {"main_category": "All Beauty", "title": "Soap", "store": None, "categories": ["Beauty & Care", "Bath"]}
        | {"parent_asin": "B0PARENT02"},
    ]
    write(
        tmp_path / "amazon_log",
        All_Beauty__jsonl=lines(reviews),
        meta_All_Beauty__jsonl__gz=gzip.compress(lines(meta).encode()),
    )
    monkeypatch.chdir(tmp_path)
    log = read_config("amazon")
    user = "AGKHLEW2SOWHNMFQIJGBECAF7INQ"
    assert events(log) == Counter(
        [
            (user, "B0PARENT01", "rec", 1588687728923, None, True),
            (user, "B0PARENT02", "rec", 1588615855070, None, True),
            (user, "B0PARENT02", "src", 1588615855070, "beauty care bath", True),
            ("AE2", "B0PARENT02", "rec", 1598615855070, None, True),
            ("AE2", "B0PARENT02", "src", 1598615855070, "beauty care bath", True),
        ]
    )
    assert log.items.rows() == [("B0PARENT01", "howard mist howard"), ("B0PARENT02", "beauty care bath soap")]
    counts = {repair.what: repair.count for repair in log.repairs}
    assert counts["items without a query (no category path of two levels)"] == 1


def test_every_recipe_with_a_script_is_tested() -> None:
    scripts = {path.stem: len(blocks(path.stem, "python")) for path in RECIPES.glob("*.md")}
    tested = {"movielens": 2, "recbole": 1, "kuairec": 1, "mind": 1, "yelp": 1}
    assert {name: count for name, count in scripts.items() if count} == tested
