"""Fingerprints and records; the stages' own work is replaced, so these take milliseconds."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gensr_dist import __version__
from gensr_dist.cli.main import main
from gensr_dist.config.root import Config, digest, flattened, load_config
from gensr_dist.errors import InputError, Paused
from gensr_dist.run import records as stages
from gensr_dist.run.event_files import forget_events
from gensr_dist.run.folder import RunFolder
from gensr_dist.run.records import STAGES, check_consistent, locked, read_record, record_path
from gensr_dist.stages import runner as pipeline
from gensr_dist.stages.runner import Outcome, run_all, run_stage
from gensr_dist.train.config import OPERATIONAL

RESULTS: dict[stages.StageName, Callable[[RunFolder], tuple[Path, ...]]] = {
    "simulate": lambda run: (run.raw,),
    "prepare": lambda run: (run.root / "shards" / "manifest.json",),
    "lightgcn": lambda run: tuple(
        run.cf / name
        for name in ("items.npy", "users.npy", "lightgcn.json", "items_without_0.npy", "items_without_1.npy")
    ),
    "channels": lambda run: (run.channels,),
    "train": lambda run: (run.model,),
    "index": lambda run: (run.index,),
    "evaluate": lambda run: (run.metrics, run.report),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder whose stages only make the files that a finished stage leaves."""
    run = RunFolder(tmp_path / "run")

    def work(stage: stages.StageName) -> None:
        def make(config: Config, run: RunFolder, **_: object) -> Outcome:
            for path in RESULTS[stage](run):
                if path.name == "manifest.json":
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(json.dumps({"digest": digest_of_shards(config)}))
                elif path.suffix:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(stage)
                else:
                    path.mkdir(parents=True, exist_ok=True)
            return Outcome(summary=(f"{stage} summary",), result={"stage": stage})

        monkeypatch.setattr(pipeline, f"_{stage}", make)

    for stage in STAGES:
        work(stage)
    monkeypatch.setattr(pipeline, "_show_examples", lambda config, run, say: say("examples"))
    return run


def digest_of_shards(config: Config) -> str:
    """Of settings and contents of the tables, as that of real shards is."""
    log = [path.read_text() for path in sorted(Path(config.data.raw).glob("*.csv"))] if config.data.raw else []
    settings = {**stages._settings("prepare", config), "log": log, "simulate": str(config.simulate)}
    return digest(settings)


def configured(run: RunFolder, *overrides: str) -> Config:
    return load_config(None, [f"run={run.root}", *overrides])


def done(run: RunFolder, *overrides: str) -> list[str]:
    return list(run_all(configured(run, *overrides), lambda line: None).done)


def test_a_second_run_does_nothing(run: RunFolder) -> None:
    assert done(run) == list(STAGES)
    said: list[str] = []
    result = run_all(configured(run), said.append)
    assert result.done == ()
    assert result.skipped == STAGES
    assert result.stages["train"] == {"stage": "train"}
    assert said[0].startswith("simulate: unchanged, skipped (")
    assert "  evaluate summary" in said
    assert "examples" in said


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("seed=7", "simulate"),
        ("simulate.users=50", "simulate"),
        ("data.title_tokens=3", "prepare"),
        ("model.prompts.search=find {query} {history_cf} {history_text} {item_cf} {item_text}", "prepare"),
        ("lightgcn.epochs=3", "lightgcn"),
        ("lightgcn.folds=0", "lightgcn"),
        ("train.steps=300", "train"),
        ("model.scoring=joint", "train"),
        ("data.history=3", "train"),
        ("data.train_negatives=3", "train"),
        ("retrieval.index=hnsw", "index"),
        ("retrieval.exclude_seen=false", "index"),
        ("evaluation.rows=10", "evaluate"),
        ("train.workers=0", None),
        ("train.log_every=3", None),
        ("train.keep_last=9", None),
    ],
)
def test_a_setting_redoes_its_stage_and_all_after_it(run: RunFolder, override: str, first: str | None) -> None:
    done(run)
    assert done(run, override) == ([] if first is None else list(STAGES[STAGES.index(first) :]))  # type: ignore[arg-type]


def test_every_setting_belongs_to_a_stage() -> None:
    config = Config()
    seen = {key for stage in STAGES for key in stages._settings(stage, config)}
    unseen = set(flattened(config)) - seen
    left_out = {"run", "kernels", "data.raw", "data.cache", "data.cache_gb", "data.on_corrupt"}
    assert unseen == {*left_out, *OPERATIONAL}


def test_a_fixed_tokenizer_does_not_depend_on_the_prompts(run: RunFolder) -> None:
    search = "model.prompts.search=find {query} {history_cf} {history_text} {item_cf} {item_text}"
    done(run, "data.tokenizer=google/flan-t5-base")
    assert done(run, "data.tokenizer=google/flan-t5-base", search) == ["train", "index", "evaluate"]


TABLES = ("data.source=tables", "data.both_behaviours=false")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("events.csv", "items.csv"):
        (raw / name).write_text("a")
    return raw


def test_changed_raw_files_are_prepared_again_and_absent_ones_are_not_missed(run: RunFolder, raw: Path) -> None:
    settings = (*TABLES, f"data.raw={raw}")
    assert done(run, *settings) == list(STAGES[1:])
    assert done(run, *settings) == []
    (raw / "events.csv").write_text("b")  # of the same size
    with pytest.raises(
        InputError, match=r"prepare was made from other files: events.csv of data.raw changed since; run"
    ):
        run_stage("train", configured(run, *settings), print)
    assert done(run, *settings) == list(STAGES[1:])
    (raw / "events.csv").write_text("ab")
    said: list[str] = []
    run_all(configured(run, *settings), said.append)
    assert (
        "prepare: stage prepare was made from other files: events.csv of data.raw changed since; it starts anew" in said
    )
    assert not run_stage("train", configured(run, *TABLES, "train.steps=500"), print).skipped
    assert done(run, *settings) == ["train"]  # index and tables are those of these settings
    shutil.rmtree(raw)
    assert done(run, *settings) == []


def test_touched_files_and_strangers_beside_the_tables_change_nothing(
    run: RunFolder, raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*TABLES, f"data.raw={raw}")
    done(run, *settings)
    os.utime(raw / "events.csv", ns=(1, 1))
    (raw / "notes.txt").write_text("note")
    (raw / "old").mkdir()
    (raw / "old" / "events.csv").write_text("older")
    assert done(run, *settings) == []
    monkeypatch.setattr("gensr_dist.run.outside_files._digest", None)  # a touched file is read once only
    assert done(run, *settings) == []


def test_a_run_folder_below_the_log_does_not_belong_to_it(tmp_path: Path, run: RunFolder) -> None:
    run.root.mkdir()
    for name in ("events.csv", "items.csv"):
        (tmp_path / name).write_text("a")
    settings = (*TABLES, f"data.raw={tmp_path}")
    assert done(run, *settings) == list(STAGES[1:])
    assert done(run, *settings) == []


def test_shards_that_are_prepared_again_as_they_were_keep_what_was_made_of_them(run: RunFolder, raw: Path) -> None:
    settings = (*TABLES, f"data.raw={raw}")
    done(run, *settings)
    record_path("prepare", run).unlink()
    assert done(run, *settings) == ["prepare"]
    check_consistent("index", run)
    manifest = run.root / "shards" / "manifest.json"
    manifest.write_text(json.dumps({"digest": "of other shards"}))
    with pytest.raises(
        InputError, match=r"shards/manifest.json, a result of stage prepare, is gone; run `gensr prepare`"
    ):
        run_stage("train", configured(run, *settings), print)
    assert done(run, *settings) == ["prepare"]


@pytest.mark.parametrize(
    ("stage", "name"),
    [("train", "model"), ("train", "model/a.safetensors"), ("index", "index/cf.faiss"), ("evaluate", "ranks/rec.npy")],
)
def test_the_stage_whose_result_is_gone_runs_again_and_is_named(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: stages.StageName, name: str
) -> None:
    """Whichever file it was, and nothing else."""
    make = getattr(pipeline, f"_{stage}")

    def more(config: Config, run: RunFolder, **given: object) -> Outcome:
        outcome: Outcome = make(config, run, **given)
        path = run.root / name
        if path.suffix:
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
        return outcome

    monkeypatch.setattr(pipeline, f"_{stage}", more)
    assert done(run) == list(STAGES)
    path = run.root / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stage != "evaluate":
        with pytest.raises(InputError, match=rf"{name}, a result of {stage}, is gone; run `gensr {stage}` again"):
            check_consistent("index", run)
        with pytest.raises(InputError, match=rf"{name}, a result of stage {stage}, is gone; run `gensr {stage}` with"):
            run_stage("evaluate", configured(run), print)
    said: list[str] = []
    assert run_all(configured(run), said.append).done == (stage,)
    assert f"{stage}: {path}, a result of stage {stage}, is gone" in said
    assert path.exists()
    check_consistent("index", run)


def test_a_missing_result_is_made_again(run: RunFolder) -> None:
    done(run)
    (run.cf / "items.npy").unlink()
    assert done(run) == ["lightgcn"]  # which gives the same vectors, so that nothing after it changes


def test_another_version_alone_redoes_nothing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    done(run)
    monkeypatch.setattr(stages, "__version__", "9.9")
    assert done(run) == []
    monkeypatch.setitem(stages.FORMS, "lightgcn", 2)
    said: list[str] = []
    assert run_all(configured(run), said.append).done == STAGES[2:]
    forms = f"{__version__} (form 1), this is 9.9 (form 2)"
    why = f"stage lightgcn was made by gensr_dist {forms}, which gives other results"
    assert f"lightgcn: {why}; it starts anew" in said
    assert "channels: stage channels was made from other results of lightgcn; it starts anew" in said


def test_a_run_of_before_there_were_forms_serves_and_is_made_again(run: RunFolder) -> None:
    done(run)
    fingerprints: dict[str, str] = {}
    for stage in STAGES:
        body = json.loads(record_path(stage, run).read_text())
        fingerprints[stage] = f"fingerprint of {stage}"
        body = {key: value for key, value in body.items() if key not in ("form", "made", "files")}
        inputs = {name: fingerprints[name] for name in body["inputs"]}
        body |= {"outside": {"data.raw": "digest"}, "fingerprint": fingerprints[stage], "inputs": inputs}
        record_path(stage, run).write_text(json.dumps(body))
    check_consistent("index", run)
    with pytest.raises(InputError, match=r"stage prepare was made by gensr_dist .* \(form 0\), this is .* \(form 1\)"):
        run_stage("train", configured(run), print)
    assert done(run) == list(STAGES)


def test_a_failed_stage_is_not_skipped_and_names_no_result(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    done(run)

    def fail(config: Config, run: RunFolder, **_: object) -> Outcome:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_prepare", fail)
        with pytest.raises(KeyboardInterrupt):
            done(run, "data.title_tokens=3")
    with pytest.raises(InputError, match=r"prepare.json: stage prepare was interrupted.*run `gensr prepare`"):
        run_stage("lightgcn", configured(run, "data.title_tokens=3"), print)
    assert done(run, "data.title_tokens=3") == list(STAGES[1:])


@pytest.mark.parametrize("history", ["5", "6"])
def test_an_interrupted_training_is_never_thrown_away(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, history: str
) -> None:
    calls: list[bool] = []

    def interrupt(config: Config, run: RunFolder, *, resume: bool) -> Outcome:
        raise KeyboardInterrupt

    def train(config: Config, run: RunFolder, *, resume: bool) -> Outcome:
        calls.append(resume)
        run.model.mkdir(exist_ok=True)
        return Outcome(summary=(), result={})

    monkeypatch.setattr(pipeline, "_train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        done(run, "data.history=5")
    monkeypatch.setattr(pipeline, "_train", train)
    done(run, f"data.history={history}")
    assert calls == [True]  # with other settings, training itself refuses to go on from its checkpoints
    said: list[str] = []
    run_all(configured(run, "data.history=7"), said.append)
    assert calls == [True, False]  # those of a finished training have served
    changed = f"data.history was {history}, now 7"
    assert f"train: stage train was made with another config: {changed}; it starts anew" in said


@pytest.mark.parametrize("stage", STAGES[1:])
def test_bad_input_leaves_the_run_folder_as_it_was(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: stages.StageName
) -> None:
    done(run)
    refused = configured(run, "seed=5", "data.source=tables", "data.raw=nowhere")
    records = {name: record_path(name, run).read_bytes() for name in STAGES}
    config = run.config.read_bytes()

    def refuse(config: Config, run: RunFolder, **_: object) -> Outcome:
        assert not read_record(stage, run).finished  # type: ignore[union-attr]
        raise InputError("here", "this is wrong", "do that")

    monkeypatch.setattr(pipeline, f"_{stage}", refuse)
    monkeypatch.setattr(pipeline, "check_inputs", lambda *_: None)
    monkeypatch.setattr(stages, "check_inputs", lambda *_: None)
    with pytest.raises(InputError, match="this is wrong"):
        run_stage(stage, refused, print)
    assert {name: record_path(name, run).read_bytes() for name in STAGES} == records
    assert run.config.read_bytes() == config
    assert done(run) == []


def test_results_that_a_failed_stage_has_changed_are_not_taken_for_its_earlier_ones(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run)

    def spoil(config: Config, run: RunFolder, **_: object) -> Outcome:
        (run.model / "gensr.safetensors").write_text("new weights")
        raise InputError("train", "the loss is nan", "lower the learning rate")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_train", spoil)
        with pytest.raises(InputError, match="the loss is nan"):
            done(run, "train.steps=300")
    assert done(run) == ["train"]


def test_a_paused_training_ends_the_command_well_and_is_not_finished(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def pause(config: Config, run: RunFolder, *, resume: bool) -> Outcome:
        raise Paused("stopped after step 3 of 9")

    whole = pipeline._train
    monkeypatch.setattr(pipeline, "_train", pause)
    config = run.root.parent / "given.yaml"
    config.write_text(f"run: {run.root}\n")
    assert main(["run", str(config)]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "stopped after step 3 of 9"
    assert main(["run", str(config), "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"paused": "stopped after step 3 of 9"}
    record = read_record("train", run)
    assert record is not None
    assert not record.finished
    assert not run.index.exists()
    monkeypatch.setattr(pipeline, "_train", whole)
    assert done(run) == ["train", "index", "evaluate"]


def test_warnings_of_a_training_are_lines_of_its_summary() -> None:
    @dataclass(frozen=True)
    class Result:
        steps: int
        warnings: tuple[str, ...]

    assert pipeline._outcome(Result(3, ())).summary == ("steps 3",)
    outcome = pipeline._outcome(Result(3, ("rec: parted", "search: parted")))
    assert outcome.summary == ("steps 3", "warning: rec: parted", "warning: search: parted")
    assert outcome.result["warnings"] == ("rec: parted", "search: parted")


def test_stage_commands_ask_for_what_they_need(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"simulate.json: stage simulate has not run in .*; run `gensr simulate` with"):
        run_stage("prepare", configured(run), print)
    assert not run.shards.sizes()
    done(run)
    with pytest.raises(InputError, match=r"prepare was made with another config: data.title_tokens was 16, now 3; run"):
        run_stage("train", configured(run, "data.title_tokens=3"), print)
    with pytest.raises(InputError, match=r"made with another config: data.source was 'simulate', now 'kuaisar'"):
        run_stage("evaluate", configured(run, "data.source=kuaisar", "data.raw=x"), print)
    assert load_config(run.config).data.title_tokens == 16  # refused commands leave the run folder as it was
    said: list[str] = []
    result = run_stage("train", configured(run), said.append)
    assert result.skipped
    assert said == [
        f"train: unchanged, skipped ({result.seconds:.1f} s when it ran); delete {record_path('train', run)} to do it "
        "again",
        "  train summary",
    ]
    assert not run_stage("train", configured(run, "train.steps=400"), print).skipped
    with pytest.raises(InputError, match=r"train was made with another config: train.steps was 400, now 1000"):
        run_stage("index", configured(run), print)


def test_a_run_folder_moves_and_serves_without_its_raw_log(run: RunFolder, tmp_path: Path) -> None:
    done(run)
    moved = RunFolder(run.root.rename(tmp_path / "elsewhere"))
    check_consistent("index", moved)
    assert done(moved) == []
    record_path("simulate", moved).unlink()
    check_consistent("index", moved)
    record_path("lightgcn", moved).unlink()
    with pytest.raises(InputError, match=r"lightgcn.json: stage lightgcn has not finished"):
        check_consistent("index", moved)
    with pytest.raises(InputError, match=r"no such run folder; give the folder of a finished `gensr run`"):
        check_consistent("index", run)


def test_serving_refuses_results_that_do_not_belong_together(run: RunFolder) -> None:
    done(run)
    run_stage("train", configured(run, "train.steps=400"), print)
    with pytest.raises(InputError, match=r"index.json: index was made from other results of train; run `gensr index`"):
        check_consistent("index", run)


def test_records_are_checked(run: RunFolder) -> None:
    done(run)
    for content in ("{", "[]", '{"stage": "train"}', json.dumps({"stage": "x"}), "\xff"):
        record_path("train", run).write_text(content, encoding="latin-1")
        with pytest.raises(InputError, match=r"train.json: expected .*delete it and run `gensr train` again"):
            read_record("train", run)


def test_two_processes_do_not_share_a_run_folder(run: RunFolder, tmp_path: Path) -> None:
    with locked(run), pytest.raises(InputError, match="another gensr works in this run folder"):
        done(run)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write there"), locked(RunFolder(tmp_path / "file" / "run")):
        pass


def test_prepare_asks_for_the_raw_folder(tmp_path: Path) -> None:
    config = load_config(None, [f"run={tmp_path / 'run'}", "data.source=amazon"])
    with pytest.raises(InputError, match=r"data.raw: not set, expected the folder of the raw log; add --set data.raw="):
        run_stage("prepare", config, print)


def test_old_curves_are_forgotten(tmp_path: Path) -> None:
    for name in ("events.out.tfevents.1", "keep.txt"):
        (tmp_path / name).write_text("")
    forget_events(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]


def test_a_markdown_table_becomes_columns() -> None:
    table = ["| | R@1 | lead |", "| --- | ---: | ---: |", "| GenSR | 0.5 | |", "| Popularity | 0.25 | +0.2 |"]
    assert pipeline._aligned(table) == ["            R@1   lead", "GenSR       0.5", "Popularity  0.25  +0.2"]


def test_a_result_in_words() -> None:
    values = {
        "users": 1200,
        "share": 0.12345,
        "early": True,
        "best": None,
        "seconds": 3.5,
        "task": {"train": 3},
        "x": [1],
    }
    assert pipeline._sentence(values) == "users 1,200, share 0.1235, early yes, best none, task (train 3)"
