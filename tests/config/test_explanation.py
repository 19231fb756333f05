"""What is said of each key: of all of them, and in configs/README.md as in the code."""

from pathlib import Path

from gensr_dist.config.explanation import explained_yaml, keys, keys_markdown
from gensr_dist.config.root import Config, flattened, load_config

PAGE = Path(__file__).parents[2] / "configs" / "README.md"


def test_every_key_has_a_meaning_and_its_default() -> None:
    found = [key for _, _, section in keys() for key in section]
    assert [key.name for key in found] == list(flattened(Config()))
    assert [key.name for key in found if not key.meaning.endswith(".")] == []
    assert {key.name: key.default for key in found}["train.steps"] == "1000"
    assert {key.name: key.values for key in found}["train.zero_stage"] == "integer >= 0 and <= 3"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == keys_markdown()


def test_an_explained_config_reads_back(tmp_path: Path) -> None:
    config = load_config(
        None, ["train.steps=300", "model.prompts.recommendation=Say {history_cf}{history_text}{item_cf}{item_text}"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(explained_yaml(config), encoding="utf-8")
    assert load_config(path) == config
