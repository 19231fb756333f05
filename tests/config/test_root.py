import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gensr_dist.config.explanation import explained_yaml
from gensr_dist.config.root import Config, load_config, resolved_yaml
from gensr_dist.config.settings_file import base_type, keys_of, nearest_key
from gensr_dist.errors import InputError
from gensr_dist.model.config import SIZES
from gensr_dist.storage.records import digest

KEYS = keys_of(Config)
SEARCH = "a {query} {history_cf} {history_text} {item_cf} {item_text}"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        load_config(written(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(tmp_path), "")


def assert_answers_or_one_line(path: Path | None, overrides: list[str]) -> None:
    message = ""
    try:
        load_config(path, overrides)
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_an_empty_file_gives_the_defaults_and_a_run_folder_of_its_name(tmp_path: Path) -> None:
    for text in ("", "# nothing\n", "---\n", "train:\n", "null\n"):
        assert load_config(written(tmp_path, text)) == dataclasses.replace(Config(), run="runs/mine")
    assert load_config(None) == Config()


def test_sections_overrides_and_their_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"run: here\ntrain:\n  steps: 500\n  learning_rate: 1e-3\nmodel:\n  prompts: {{search: '{SEARCH}'}}\n",
    )
    overrides = ["train.steps=700", "train.clip=2", "train.steps=900", "data.raw=", "model.cf_view=false"]
    config = load_config(path, overrides)
    assert (config.run, config.train.steps, config.train.learning_rate, config.train.clip) == ("here", 900, 1e-3, 2.0)
    assert config.model.prompts.search == SEARCH
    assert config.model.cf_view is False
    assert config.data.raw == ""


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "1.e-3", "+.1e-2", "0.001", "1.0e-3"])
def test_every_way_to_write_a_number(tmp_path: Path, number: str) -> None:
    assert load_config(written(tmp_path, f"train: {{learning_rate: {number}}}")).train.learning_rate == 1e-3
    assert load_config(None, [f"train.learning_rate={number}"]).train.learning_rate == 1e-3


def test_text_overrides_are_taken_as_they_stand() -> None:
    config = load_config(None, ["run=2026-11-21", "data.source=tables", "data.raw=a: [b", "data.tokenizer=7"])
    assert (config.run, config.data.raw, config.data.tokenizer) == ("2026-11-21", "a: [b", "7")


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("/a #b", "/a #b"),
        ("/a: b", "/a: b"),
        ("0123", "0123"),
        ("1:30", "1:30"),
        ("!!str x", "!!str x"),
        ("&a x", "&a x"),
        ("*a", "*a"),
        ("null", "null"),
        ("'/a #b'", "/a #b"),
        ('"/a\\tb"'.replace("\\t", "é"), "/aéb"),
        ("'/a' #b", "'/a' #b"),
        ("'a", "'a"),
        (" /a ", "/a"),
    ],
)
def test_a_text_override_is_never_another_text(written: str, taken: str) -> None:
    assert load_config(None, ["data.source=tables", f"data.raw={written}"]).data.raw == taken


@pytest.mark.parametrize("number", ["20", "+20", "2_0"])
def test_decimal_numbers(tmp_path: Path, number: str) -> None:
    assert load_config(written(tmp_path, f"data: {{history: {number}}}")).data.history == 20
    assert load_config(None, [f"data.history={number}"]).data.history == 20


@pytest.mark.parametrize(
    ("key", "value", "written"),
    [
        ("seed", "!!int", ""),
        ("seed", "!!int ''", ""),
        ("train.clip", "!!float ''", ""),
        ("train.clip", "!!float", ""),
        ("model.cf_view", "!!bool maybe", "maybe"),
        ("seed", "!!timestamp x", "x"),
        ("seed", "!!bool 7", "7"),
    ],
)
def test_tags_that_do_not_fit(tmp_path: Path, key: str, value: str, written: str) -> None:
    tag = value.split()[0]
    section, _, name = key.rpartition(".")
    text = f"{section}:\n  {name}: {value}\n" if section else f"\n{name}: {value}\n"
    expected = f"{key} cannot be read ({written!r} is no {tag}); write a plain value"
    assert refusal(tmp_path, text) == f"/mine.yaml:2: {expected}"
    with pytest.raises(InputError) as caught:
        load_config(None, [f"{key}={value}"])
    assert str(caught.value) == f"--set {key}={value}: {expected}"


def test_a_timestamp_that_is_none_as_text(tmp_path: Path) -> None:
    assert refusal(tmp_path, "run: !!timestamp x") == (
        "/mine.yaml:1: run cannot be read ('x' is no !!timestamp); write a plain value"
    )


@pytest.mark.parametrize("name", ["...yaml", "..yaml"])
def test_a_file_name_that_is_no_name_of_a_run(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("seed: 1")
    with pytest.raises(InputError, match=r"a run named after this file would be in runs/.*, which is no folder of its"):
        load_config(path)
    assert load_config(path, ["run=mine"]).run == "mine"


@pytest.mark.parametrize("tokenizer", ["", " ", " corpus", "corpus "])
def test_a_tokenizer_without_a_name(tmp_path: Path, tokenizer: str) -> None:
    assert refusal(tmp_path, f"data:\n  tokenizer: '{tokenizer}'\n").startswith(
        f"/mine.yaml:2: data.tokenizer is {tokenizer!r}, expected 'corpus', a folder or a Hub name"
    )


def test_more_hard_negatives_than_negatives(tmp_path: Path) -> None:
    assert refusal(tmp_path, "data:\n  train_negatives: 4\n  hard_negatives: 5\n") == (
        "/mine.yaml:3: data.hard_negatives: 5 hard negatives of 4 negatives a row; "
        "lower it or raise data.train_negatives"
    )
    assert refusal(tmp_path, "data:\n  query_negatives: 5\n").startswith("/mine.yaml:2: data.query_negatives: 5 hard")
    text = "data: {hard_negatives: 3, query_negatives: 1}"
    assert load_config(written(tmp_path, text)).data.hard_negatives == 3


def test_the_home_folder_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = load_config(
        written(tmp_path, "run: ~/x1\ndata: {source: tables}\n"),
        ["data.raw=~/log", "data.shards=~/s", "data.cache=~", "data.tokenizer=~/t"],
    )
    data = config.data
    assert (config.run, data.raw, data.shards, data.cache) == ("/home/me/x1", "/home/me/log", "/home/me/s", "/home/me")
    assert data.tokenizer == "/home/me/t"
    path = ["model.backbone=~/b", "data.tokenizer=~/b", "run=./~", "data.source=tables", "data.raw=s3://bucket/~"]
    config = load_config(None, path)
    assert (config.model.backbone, config.run, config.data.raw) == ("/home/me/b", "./~", "s3://bucket/~")


def test_a_run_of_before_is_read_though_its_warm_up_was_longer_than_it(tmp_path: Path) -> None:
    path = written(tmp_path, "train: {steps: 20}")
    assert load_config(path, done=True).train.warmup_steps == 100
    assert load_config(path, ["train.warmup_steps=20"]).train.steps == 20


def test_a_run_of_before_is_read_though_its_log_was_never_read(tmp_path: Path) -> None:
    path = written(tmp_path, "data: {raw: /log}")
    assert load_config(path, done=True).data.raw == "/log"
    assert load_config(path, ["data.source=amazon"]).data.raw == "/log"


def test_a_date_and_a_byte_order_mark_are_no_trap(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "\ufeffrun: 2026-11-21\r\nseed: 4\r\n")).run == "2026-11-21"


def test_an_unknown_key_names_its_line_and_the_nearest_key(tmp_path: Path) -> None:
    message = refusal(tmp_path, "seed: 1\ntrain:\n  steps: 3\n  learning_rat: 1e-3\n")
    assert message.startswith("/mine.yaml:4: unknown key 'train.learning_rat', expected one of steps, batch, ")
    assert message.endswith("; did you mean 'train.learning_rate'")


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("train.lr", "train.learning_rate"),
        ("learning_rate", "train.learning_rate"),
        ("lightgcn.learning_rat", "lightgcn.learning_rate"),
        ("trian", "train"),
        ("trian.steps", "train.steps"),
        ("model.prompts.serch", "model.prompts.search"),
        ("zero_stage", "train.zero_stage"),
        ("data.eval_negative", "data.eval_negatives"),
        ("train.history", "data.history"),
        ("sed", "seed"),
    ],
)
def test_nearest_key(typo: str, meant: str) -> None:
    assert nearest_key(typo, KEYS) == meant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train:\n  steps: 0\n",
            "/mine.yaml:2: train.steps is 0, expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        ("train:\n  steps: many\n", "/mine.yaml:2: train.steps is 'many', expected an integer >= 1"),
        (
            "train:\n  steps: 1.5\n",
            "/mine.yaml:2: train.steps is 1.5, expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        (
            "train:\n  steps: true\n",
            "/mine.yaml:2: train.steps is true, expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        (
            "train:\n  steps: '5'\n",
            "/mine.yaml:2: train.steps is '5', expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        (
            "train:\n  steps:\n",
            "/mine.yaml:2: train.steps is empty, expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        ("train: {clip: .inf}", "/mine.yaml:1: train.clip is .inf, expected a finite number; write a finite number"),
        ("train: {clip: .nan}", "/mine.yaml:1: train.clip is .nan, expected a finite number; write a finite number"),
        ("train: {steps: [1]}", "/mine.yaml:1: expected train.steps to be one plain value"),
        ("data: {valid_share: 0.5}", "/mine.yaml:1: data.valid_share is 0.5, expected a number > 0 and < 0.5"),
        (
            "train: {precision: fp16}",
            "/mine.yaml:1: train.precision is 'fp16', expected one of fp32, bf16; T5 overflows in fp16; use bf16",
        ),
        (
            "train: {precision: tf32}",
            "/mine.yaml:1: train.precision is 'tf32', expected one of fp32, bf16; the default",
        ),
        (
            "train:\n  offload: optimizer\n",
            "/mine.yaml:2: train.offload 'optimizer' needs train.zero_stage >= 1, which is 0; "
            "set train.zero_stage to 1",
        ),
        (
            "train: {zero_stage: 2, offload: parameters}",
            "/mine.yaml:1: train.offload 'parameters' needs train.zero_stage >= 3, which is 2; set train.zero_stage to",
        ),
        (
            "kernels: triton\nevaluation:\n  compile: true\n",
            "/mine.yaml:3: evaluation.compile leaves T5's kernels to torch.compile, but kernels 'triton' insists on "
            "ours; set one of them",
        ),
        ("data: {split: day}", "/mine.yaml:1: data.split is 'day', expected one of days, leave_one_out, time"),
        ("model: {cf_view: 1}", "/mine.yaml:1: model.cf_view is 1, expected true or false; the default is true"),
        ("run: 5", "/mine.yaml:1: run is 5, expected text; quote the value"),
        ("train: 5", "/mine.yaml:1: expected section 'train' to be a mapping of keys to values"),
        ("- a\n- b", "/mine.yaml:1: expected the config to be a mapping of keys to values"),
        ("seed: 1\nseed: 2\n", "/mine.yaml:2: duplicate key 'seed', first on line 1"),
        ("train:\n  steps: 1\n  steps: 1\n", "/mine.yaml:3: duplicate key 'train.steps', first on line 2"),
        ("seed: 1\ntrain: {}\ntrain: {}\n", "/mine.yaml:3: duplicate key 'train', first on line 2"),
        ("train.steps: 3\n", "/mine.yaml:1: key 'train.steps' has a dot in it; put `steps` below `train:`"),
        ("seed: !!python/object:os.system x\n", "/mine.yaml:1: seed cannot be read"),
        ("a: [\n", "/mine.yaml:2: expected YAML"),
        ("seed: 1\n\tx: 2\n", "/mine.yaml:2: expected YAML"),
        ("seed: 1\n---\nseed: 2\n", "/mine.yaml:2: expected YAML"),
        ("seed: \x01\n", "/mine.yaml: expected YAML"),
        (b"seed: 1\nrun: \xff\n", "/mine.yaml:2: expected UTF-8 text, byte 0xff is not; save the file as UTF-8"),
        (b"\xef\xbb\xbfseed: 1\n\xe9", "/mine.yaml:2: expected UTF-8 text, byte 0xe9 is not; save the file as UTF-8"),
        ("train:\n  steps: 064\n", "/mine.yaml:2: train.steps is 064, expected a number in decimal digits without"),
        ("train: {steps: 0123}", "/mine.yaml:1: train.steps is 0123, expected a number in decimal digits without"),
        ("train: {steps: !!int 064}", "/mine.yaml:1: train.steps is 064, expected a number in decimal digits without"),
        ("train: {steps: 089}", "/mine.yaml:1: train.steps is 089, expected a number in decimal digits without"),
        ("train: {steps: 0x40}", "/mine.yaml:1: train.steps is 0x40, expected a number in decimal digits without"),
        ("train: {steps: 1:30}", "/mine.yaml:1: train.steps is 1:30, expected a number in decimal digits without"),
        ("train: {max_hours: 1:30}", "/mine.yaml:1: train.max_hours is 1:30, expected a number in decimal digits"),
        ("train: {max_hours: 1:30.5}", "/mine.yaml:1: train.max_hours is '1:30.5', expected a number >= 0"),
        ("train: {clip: 01.5}", "/mine.yaml:1: train.clip is 01.5, expected a number in decimal digits without"),
        ("train: {clip: 1e-400}", "/mine.yaml:1: train.clip is 1e-400, which is too near to 0 for a float; write 0"),
        (
            "train: {steps: 1e3}",
            "/mine.yaml:1: train.steps is 1e3, expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        ("model: {cf_view: 'yes'}", "/mine.yaml:1: model.cf_view is 'yes', expected true or false"),
        ("run: 0123", "/mine.yaml:1: run is 0123, expected text; quote the value"),
        ("run: yes", "/mine.yaml:1: run is yes, expected text; quote the value"),
        ("064: 1", "/mine.yaml:1: unknown key '064', expected one of run, "),
        ('run: "\\ud800"', "/mine.yaml:1: run is '\\ud800', expected UTF-8 text, character 1 is none"),
        (
            "run: s3://bucket/x1",
            "/mine.yaml:1: run is 's3://bucket/x1', expected a folder of this machine; set run",
        ),
        ("data: {cache: 's3://b/c'}", "/mine.yaml:1: data.cache is 's3://b/c', expected a folder of this machine"),
        ("run: ~no_such_user_here/x", "/mine.yaml:1: run is '~no_such_user_here/x', and there is no such user here"),
        (
            "run: $HOME/x",
            "/mine.yaml:1: run is '$HOME/x', and variables of the environment are not replaced; write the",
        ),
        ("data: {source: tables, raw: 's3://${B}/x'}", "/mine.yaml:1: data.raw is 's3://${B}/x', and variables of the"),
        ("train:\n  steps: 20\n", "/mine.yaml:2: train.warmup_steps is 100, but train.steps is 20: the training would"),
        (
            "train:\n  steps: 20\n  warmup_steps: 21\n",
            "/mine.yaml:3: train.warmup_steps is 21, but train.steps is 20: the training would end before its learning "
            "rate is reached; lower train.warmup_steps, or raise train.steps",
        ),
        ("run: ''", "/mine.yaml:1: run is '', expected the path of a folder; set run to a path"),
        (
            "data: {history: 20, title_tokens: 16}\ntrain:\n  micro_tokens: 344\n",
            "/mine.yaml:3: train.micro_tokens is 344, but a training row can have 345 (data.history x "
            "data.title_tokens, and 5 a candidate); raise it; 0 sets no limit",
        ),
        (
            "lightgcn:\n  folds: 1\n",
            "/mine.yaml:2: lightgcn.folds: one fold leaves no user to learn from; set it to 0, or to 2 or more",
        ),
        ("lightgcn: {width: 30}", "/mine.yaml:1: lightgcn.width 30 is not a multiple of model.cf_heads 4"),
        (
            "model: {backbone: google/flan-t5-base}",
            "/mine.yaml:1: model.backbone 'google/flan-t5-base' is pretrained on",
        ),
        (
            "model: {semantic_heads: 7}",
            "/mine.yaml:1: the width 128 of model.backbone 'nano' is not a multiple of model.semantic_heads 7; change",
        ),
        (
            "model:\n  semantic_heads: 3\n  backbone: mini\n",
            "/mine.yaml:2: the width 256 of model.backbone 'mini' is not a multiple of model.semantic_heads 3; change",
        ),
        ("model:\n  cf_heads: 3\n", "/mine.yaml:2: lightgcn.width 64 is not a multiple of model.cf_heads 3; change"),
        (
            "model:\n  prompts:\n    search: hello\n",
            "/mine.yaml:3: model.prompts.search: expected {history_cf} once, found 0; fix the template",
        ),
        (
            "model:\n  prompts:\n    recommendation: '{history_cf} {history_text} {item_cf} {item_text}'\n",
            "/mine.yaml:3: model.prompts.recommendation: expected text before the first slot; begin",
        ),
        (
            f"model: {{prompts: {{search: '</s> {SEARCH}'}}}}",
            "/mine.yaml:1: model.prompts.search: the text holds the special token </s>; remove it",
        ),
        ("model: {cf_view: false, semantic_view: false}", "/mine.yaml:1: model.cf_view and model.semantic_view are"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert refusal(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.steps", "--set train.steps: expected KEY=VALUE; write for instance --set train.steps=100"),
        ("train=5", "--set train=5: 'train' is a section; set one of its keys, for instance --set train.steps=..."),
        (
            "train.steps=",
            "--set train.steps=: train.steps is '', expected an integer >= 1 and <= 1000000000; the default is 1000",
        ),
        ("train.steps=[1", "--set train.steps=[1: expected a YAML value"),
        ("train.steps={a: 1}", "--set train.steps={a: 1}: expected train.steps to be one plain value"),
        ("=5", "--set =5: unknown key '', expected one of run, seed, "),
        (
            "model.prompts.search={nope",
            "--set model.prompts.search={nope: model.prompts.search: '{nope' is not a template (",
        ),
        ("model.semantic_heads=7", "--set model.semantic_heads=7: the width 128 of model.backbone 'nano' is not a"),
        ("train.steps=064", "--set train.steps=064: train.steps is 064, expected a number in decimal digits"),
        ("train.steps=5 # five", "--set train.steps=5 # five: train.steps is '5 # five', expected an integer >= 1"),
        (
            "data.raw=/data/\udce9",
            "--set data.raw=/data/ : data.raw is '/data/\\udce9', expected UTF-8 text, char",
        ),
        ("train.steps=20", "--set train.steps=20: train.warmup_steps is 100, but train.steps is 20: the training"),
        (
            "data.raw=/log",
            "--set data.raw=/log: data.raw is '/log', but data.source is 'simulate', whose log lies in the run folder; "
            "set data.source to one of kuaisar, amazon, tables, or leave data.raw empty",
        ),
        ("train.lr=1", "--set train.lr=1: unknown key 'train.lr', expected one of steps, "),
    ],
)
def test_bad_overrides(override: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(None, [override])
    assert str(caught.value).startswith(expected)


def test_heads_must_divide_the_widths_of_our_own_backbones_only() -> None:
    widths = {"nano": 128, "mini": 256, "small": 512, "base": 768}
    assert {name: size[0] for name, size in SIZES.items()} == widths
    for name, width in widths.items():
        assert load_config(None, [f"model.backbone={name}", f"model.semantic_heads={width}"])
        with pytest.raises(InputError, match=f"the width {width} of model.backbone"):
            load_config(None, [f"model.backbone={name}", "model.semantic_heads=5"])
    load_config(
        None, ["model.backbone=google/flan-t5-xl", "data.tokenizer=google/flan-t5-xl", "model.semantic_heads=5"]
    )


def test_unreadable_files(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path / "none.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(InputError, match=problem):
            load_config(path)


def test_deep_nesting_and_wide_aliases_end_at_once(tmp_path: Path) -> None:
    assert "expected YAML" in refusal(tmp_path, "[" * 20_000)
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(12)
    )
    assert "unknown key 'a'" in refusal(tmp_path, bomb)


def test_the_resolved_config_reads_back(tmp_path: Path) -> None:
    config = load_config(
        None, ["train.learning_rate=1e-5", "run=日本", f"model.prompts.search=x: {SEARCH} #", "seed=12"]
    )
    text = resolved_yaml(config)
    assert load_config(written(tmp_path, text)) == config
    assert set(yaml.safe_load(text)) == {key.split(".")[0] for key in KEYS}


@given(
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\x85"), min_size=1, max_size=20),
        st.from_regex(r"[-+.0-9e_:~#x]{1,9}", fullmatch=True),
        st.sampled_from(
            ["73412e8", "1e-3", "12e4567", ".inf", "1:30", "0x1f", "null", "yes", "2024-05-01", "= a", "<<"]
        ),
    )
)
def test_any_text_of_a_resolved_config_reads_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    config = dataclasses.replace(Config(), paper=dataclasses.replace(Config().paper, peer=text))
    path = tmp_path_factory.getbasetemp() / "resolved.yaml"
    for as_text in (resolved_yaml, explained_yaml):
        path.write_text(as_text(config), encoding="utf-8")
        assert load_config(path, done=True) == config
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["paper"]["peer"] == text  # other readers agree


def test_the_digest_sees_every_setting_and_nothing_else() -> None:
    config = Config()
    assert digest(config.train) == digest(load_config(None, ["seed=4"]).train)
    assert digest(config.train) != digest(load_config(None, ["train.steps=400"]).train)


def test_every_bound_has_words() -> None:
    """A constraint that the message cannot phrase would be a traceback."""
    for key in KEYS:
        with pytest.raises(InputError, match=r"expected|unknown"):
            load_config(None, [f"{key}={{}}" if base_type(KEYS[key]) is not str else f"{key}.x=1"])
        if base_type(KEYS[key]) is not str:
            with pytest.raises(InputError, match="expected"):
                load_config(None, [f"{key}=nonsense"])


@given(st.one_of(st.text(max_size=60), st.binary(max_size=60)))
def test_no_file_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    assert_answers_or_one_line(path, [])


@given(st.sampled_from(sorted(KEYS)), st.text(max_size=12))
def test_no_override_ends_in_a_traceback(key: str, value: str) -> None:
    for text in (f"{key}={value}", f"{value}={key}", f"{key}{value}"):
        assert_answers_or_one_line(None, [text])
