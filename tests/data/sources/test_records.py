"""Records of CSV text against Python's reader."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.data.sources.records import count_records, find_records

WIDTH = 3
FIELDS = st.sampled_from(["", "a", '"b"', '"c, d"', '"e\nf"', '"g ""h"""'])
RECORDS = st.lists(FIELDS, min_size=1, max_size=WIDTH + 2).map(",".join)


@given(st.lists(RECORDS, max_size=8), st.booleans())
def test_each_record_has_all_its_fields_and_no_more(records: list[str], ends: bool) -> None:
    text = "\n".join(records) + "\n" * (ends and bool(records))
    rows = list(csv.reader(io.StringIO(text, newline="")))
    data = memoryview(text.encode())
    counts = count_records(data, WIDTH)
    wrong = [number for number, row in enumerate(rows) if row and len(row) != WIDTH]
    if wrong:
        assert counts is None
        assert find_records(data, WIDTH).first_wrong == wrong[0]
    else:
        assert counts is not None
        assert counts.records == len(rows)
        assert counts.breaks == sum(field.count("\n") for row in rows for field in row)
        assert counts.unended == bool(text and not text.endswith("\n"))


def test_a_long_record_and_a_short_or_blank_one_do_not_make_up_for_each_other() -> None:
    for other in ("", "d,e"):
        text = f"a,b,c\na, red,b,c{',d' if not other else ''}\n{other}\n"
        assert count_records(memoryview(text.encode()), WIDTH) is None
        assert find_records(memoryview(text.encode()), WIDTH).first_wrong == 1
