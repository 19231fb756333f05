"""The notebook that goes from a CSV log to answers: its cells run in order and say what their comments promise."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "shards" / "recipes" / "csv_to_answers.ipynb"


def cells(kind: str) -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_it_has_ten_cells_that_can_be_compiled() -> None:
    assert len(cells("markdown")) == 1
    assert len(cells("code")) == 9
    for number, source in enumerate(cells("code"), start=1):
        assert source.startswith(f"# {number}. ")
        compile(source, f"cell {number}", "exec")


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_its_cells_run_and_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    said = []
    for number, source in enumerate(cells("code"), start=1):
        exec(compile(source, f"cell {number}", "exec"), names)
        said.append(capsys.readouterr().out)
    metrics = names["metrics"]
    for task in ("rec", "search"):
        assert metrics[task]["ndcg@10"] > 2 * metrics["baselines"]["popularity"][task]["ndcg@10"]
    texts = [[line[11:43].strip() for line in output.splitlines() if "  B" in line] for output in said[5:]]
    assert [len(found) for found in texts] == [5, 5, 5, 6]
    assert all(text.endswith("watering can") for text in texts[1][:3])
    assert sum(text.startswith("fishing") for text in texts[2]) >= 3
    baker, painter = texts[3][:3], texts[3][3:]
    assert sum("painting" in text for text in painter) > sum("painting" in text for text in baker)
