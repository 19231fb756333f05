from gensr_dist.pages.table import Table


def test_a_bar_within_a_cell_ends_no_cell_of_markdown() -> None:
    table = Table(title="T", heads=("", "a|b"), rows=(("one | two", "3"),), marks=(("", "best"),))
    assert table.lines() == [r"|  | a\|b |", "| --- | ---: |", r"| one \| two | **3** |"]
