"""Tiny valid raw folders, for tests of the sources and of what reads their logs."""

from pathlib import Path

REC_HEADER = (
    "user_id,item_id,playing_time,duration_ms,time,timestamp,click,forward,like,follow,search,search_item_related"
)
SRC_HEADER = (
    "user_id,search_session_id,search_session_time,search_session_timestamp,keyword,search_source,item_id,"
    "click_cnt,item_type"
)
CATEGORY_FIELDS = [
    f"{level}_level_category_{field}"
    for level in ("first", "second", "third", "fourth")
    for field in ("id", "name", "name_en")
]
ITEM_HEADER = ",".join(["item_id", "caption", "author_id", "item_type", "upload_time", "upload_type", *CATEGORY_FIELDS])
USER_HEADER = "user_id,search_active_level,rec_active_level,onehot_feat1,onehot_feat2"
START = 1_684_713_600_000  # ms
DAY = 86_400_000


def rec_row(user: object, item: object, time: object = float(START), click: object = 1) -> str:
    return f"{user},{item},1000.0,2000.0,2023-05-22 00:00:00,{time},{click},0,0,0,0,0"


def src_row(user: object, item: object, keyword: str = "[1, 22]", time: object = START, clicks: object = 1) -> str:
    return f'{user},7,2023-05-22 00:00:00,{time},"{keyword}",USER_INPUT,{item},{clicks},NORMAL'


def item_row(item: object, caption: str = "[5, 66]", categories: tuple[str, ...] = ("Food", "Cake")) -> str:
    levels = (*categories, *("empty",) * (4 - len(categories)))
    fields = ",".join(f"{int(name != 'empty')},空,{name}" for name in levels)
    return f'{item},"{caption}",0,NORMAL,2023-04-22,Short,{fields}'


def write_kuaisar(folder: Path, **changed: str | bytes) -> Path:
    """A KuaiSAR folder: users 1, 2 and 10, items 3, 4 and 20; `rec_inter="text"` replaces a file's content."""
    files: dict[str, str | bytes] = {
        "rec_inter": "\n".join(
            [REC_HEADER, rec_row(10, 3), rec_row(2, 4, START + 1.0, 0), rec_row(2, 20, float(START + DAY)), ""]
        ),
        "src_inter": "\n".join(
            [SRC_HEADER, src_row(2, 3, "[7]"), src_row(10, 20, clicks=0), src_row(10, 0), src_row(2, "", "[]"), ""]
        ),
        "item_features": "\n".join(
            [ITEM_HEADER, item_row(20), item_row(3, "[]", ("Food", "Food")), item_row(4, "[]", ()), ""]
        ),
        "user_features": "\n".join([USER_HEADER, "10,1,1,1,1", "1,1,1,1,1", "2,1,1,1,1", ""]),
    }
    return _write(folder, {f"{name}.csv": content for name, content in (files | changed).items()})


def write_tables(folder: Path, **changed: str | bytes) -> Path:
    """A folder for source `tables`: users a and b, items x, y and z; `events="text"` replaces a file's content."""
    files: dict[str, str | bytes] = {
        "events": "user_id,item_id,behaviour,time,query,positive\n"
        "b,x,rec,1700000000000,,true\n"
        "a,y,search,2023-11-14T22:13:20Z,red  shoes,1\n"
        "a,x,recommendation,2023-11-17 00:13:20+02:00,,false\n",
        "items": 'item_id,text\ny,"Shoes, red"\nx,Hat\nz,\n',
    }
    return _write(folder, {f"{name}.csv": content for name, content in (files | changed).items()})


def _write(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
