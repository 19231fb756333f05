"""Fingerprints and records; the stages' own work is replaced, so these take milliseconds."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gensr_dist import __version__
from gensr_dist.cli.main import main
from gensr_dist.config.marks import Mark, marked
from gensr_dist.config.root import Config, flattened, load_config
from gensr_dist.errors import InputError, Paused
from gensr_dist.runs.event_files import forget_events
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.outside_files import OutsideFolder
from gensr_dist.runs.records import check_config, check_consistent, locked, read_record, record_path
from gensr_dist.stages import order, status
from gensr_dist.stages.order import BY_NAME
from gensr_dist.stages.runner import run_all, run_stage
from gensr_dist.stages.stage import Job, Outcome
from gensr_dist.stages.status import RunStatus
from gensr_dist.storage.records import digest

STAGES = tuple(stage.name for stage in order.STAGES)
RESULTS: dict[str, Callable[[RunFolder], tuple[Path, ...]]] = {
    "simulate": lambda run: (run.raw,),
    "prepare": lambda run: (run.root / "shards" / "manifest.json",),
    "lightgcn": lambda run: tuple(
        run.cf / name
        for name in ("items.npy", "users.npy", "lightgcn.json", "items_without_0.npy", "items_without_1.npy")
    ),
    "channels": lambda run: (run.channels,),
    "train": lambda run: (run.model,),
    "index": lambda run: (run.index,),
    "evaluate": lambda run: (run.metrics, run.report, run.report_page, run.ranks),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder whose stages only make the files that a finished stage leaves."""
    run = RunFolder(tmp_path / "run")

    def work(name: str) -> None:
        def make(job: Job) -> Outcome:
            for path in RESULTS[name](job.run):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.name == "manifest.json":
                    path.write_text(json.dumps({"digest": digest_of_shards(job.config)}))
                elif path.suffix:
                    path.write_text(name)
                else:
                    path.mkdir(exist_ok=True)
                    (path / "result").write_text(name)
            return Outcome(summary=(f"{name} summary",), result={"stage": name})

        replace(monkeypatch, name, make)

    for name in STAGES:
        work(name)
    return run


def replace(monkeypatch: pytest.MonkeyPatch, name: str, do: Callable[[Job], Outcome]) -> None:
    """Let a stage do something else."""
    monkeypatch.setattr(type(BY_NAME[name]), "do", lambda _, job: do(job))


def digest_of_shards(config: Config) -> str:
    """Of settings and contents of the tables, as that of real shards is."""
    log = [path.read_text() for path in sorted(Path(config.data.raw).glob("*.csv"))] if config.data.raw else []
    settings = {**BY_NAME["prepare"].settings(config), "log": log, "simulate": str(config.simulate)}
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
    later = [] if first is None else list(STAGES[STAGES.index(first) :])
    if first == "lightgcn":
        later.remove("channels")  # reads shards alone
    assert done(run, override) == later


def test_every_setting_belongs_to_a_stage() -> None:
    config = Config()
    seen = {key for stage in STAGES for key in BY_NAME[stage].settings(config)}
    # `gensr analyse` and `gensr paper`, no stages of a run, read theirs
    unseen = {key for key in flattened(config) if not key.startswith(("analysis.", "paper."))} - seen
    left_out = {"run", "kernels", "data.raw", "data.cache", "data.cache_gb", "data.on_corrupt"}
    assert unseen == {*left_out, *marked(Config, Mark.OPERATIONAL)}


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
        run_stage(BY_NAME["train"], configured(run, *settings), print)
    assert done(run, *settings) == list(STAGES[1:])
    (raw / "events.csv").write_text("ab")
    said: list[str] = []
    run_all(configured(run, *settings), said.append)
    assert (
        "prepare: stage prepare was made from other files: events.csv of data.raw changed since; it starts over" in said
    )
    assert not run_stage(BY_NAME["train"], configured(run, *TABLES, "train.steps=500"), print).skipped
    assert done(run, *settings) == ["train"]  # index and tables are those of these settings
    shutil.rmtree(raw)
    assert done(run, *settings) == []


def test_a_log_that_is_not_there_is_named_where_its_stage_is_skipped(run: RunFolder, raw: Path) -> None:
    settings = (*TABLES, f"data.raw={raw}")
    done(run, *settings)
    said: list[str] = []
    run_all(configured(run, *settings), said.append)
    assert not [line for line in said if "taken as" in line]
    for override, place in ((f"data.raw={raw}s", f" {raw}s"), ("data.raw=", "")):
        said.clear()
        run_all(configured(run, *TABLES, override), said.append)
        assert said[0].endswith(f"s when it ran); no files at data.raw{place}: taken as unchanged")
        assert not [line for line in said[1:] if "taken as" in line]


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
    monkeypatch.setattr("gensr_dist.runs.outside_files._digest", None)  # a touched file is read once only
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
    with pytest.raises(InputError, match=r"shards/manifest.json is of another preparation; run `gensr prepare`"):
        run_stage(BY_NAME["train"], configured(run, *settings), print)
    manifest.unlink()
    with pytest.raises(
        InputError, match=r"shards/manifest.json, a result of stage prepare, is gone; run `gensr prepare`"
    ):
        run_stage(BY_NAME["train"], configured(run, *settings), print)
    assert done(run, *settings) == ["prepare"]


@pytest.mark.parametrize(
    ("stage", "name"),
    [("train", "model"), ("train", "model/a.safetensors"), ("index", "index/cf.faiss"), ("evaluate", "ranks/rec.npy")],
)
def test_the_stage_whose_result_is_gone_runs_again_and_is_named(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: str, name: str
) -> None:
    """Whichever file it was, and nothing else."""
    make = type(BY_NAME[stage]).do

    def more(job: Job) -> Outcome:
        outcome = make(BY_NAME[stage], job)
        path = run.root / name
        if path.suffix:
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
        return outcome

    replace(monkeypatch, stage, more)
    assert done(run) == list(STAGES)
    path = run.root / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if stage != "evaluate":
        with pytest.raises(InputError, match=rf"{name}.*, a result of stage {stage}, is gone; run `gensr {stage}`"):
            check_consistent("index", run)
        with pytest.raises(InputError, match=rf"{name}.*, a result of stage {stage}, is gone; run `gensr"):
            run_stage(BY_NAME["evaluate"], configured(run), print)
    said: list[str] = []
    assert run_all(configured(run), said.append).done == (stage,)
    assert any(line.startswith(f"{stage}: {path}") and line.endswith("is gone") for line in said)
    assert path.exists()
    check_consistent("index", run)


def test_a_missing_result_is_made_again(run: RunFolder) -> None:
    done(run)
    (run.cf / "items.npy").unlink()
    assert done(run) == ["lightgcn"]  # which gives the same vectors, so that nothing after it changes


@pytest.mark.parametrize(
    ("stage", "name"),
    [("lightgcn", "cf/items.npy"), ("train", "model/result"), ("index", "index/result"), ("evaluate", "metrics.json")],
)
@pytest.mark.parametrize("damage", ["other bytes", "none", "a folder"])
def test_a_damaged_result_is_refused_and_made_again(run: RunFolder, stage: str, name: str, damage: str) -> None:
    done(run)
    path = run.root / name
    whole = path.read_bytes()
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(bytes(len(whole)) if damage == "other bytes" else b"")
    became = "is gone" if damage == "a folder" else "was changed or damaged since"
    if stage != "evaluate":
        with pytest.raises(InputError, match=rf"{name}, a result of stage {stage}, {became}; run `gensr {stage}`"):
            check_consistent("index", run)
    if damage == "a folder":
        path.rmdir()
    assert done(run) == [stage]
    assert path.read_bytes() == whole
    check_consistent("index", run)


def test_a_stage_that_goes_on_does_not_keep_a_damaged_result(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(job: Job) -> Outcome:
        job.run.model.mkdir(exist_ok=True)
        if not (weights := job.run.model / "weights").exists():  # restored from a checkpoint
            weights.write_text("best")
        return Outcome(summary=(), result={})

    replace(monkeypatch, "train", export)
    done(run)
    (run.model / "weights").write_text("bits")
    assert done(run) == ["train"]
    assert (run.model / "weights").read_text() == "best"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", r"config.yaml: data.history is 20, but stage index was made with 5; run `gensr run`"),
        ("retrieval: {candidates: 150}\n", r"config.yaml: data.history is 20, but stage index was made with 5"),
    ],
)
def test_a_config_that_is_not_that_of_the_results_is_refused_and_written_anew(
    run: RunFolder, written: str, said: str
) -> None:
    config = configured(run, "retrieval.candidates=150", "data.history=5", f"data.shards={run.root / 'shards'}")
    run_all(config, print)
    check_config(load_config(run.config, done=True), "index", run)
    run.config.write_text(written)
    with pytest.raises(InputError, match=said):
        check_config(load_config(run.config, done=True), "index", run)
    assert run_all(config, print).done == ()
    assert load_config(run.config, done=True) == config


def test_another_version_alone_redoes_nothing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    done(run)
    monkeypatch.setattr(status, "__version__", "9.9")
    assert done(run) == []
    monkeypatch.setattr(type(BY_NAME["lightgcn"]), "form", 2)
    said: list[str] = []
    assert run_all(configured(run), said.append).done == ("lightgcn", "train", "index", "evaluate")
    forms = f"{__version__} (form 1), this is 9.9 (form 2)"
    why = f"stage lightgcn was made by gensr_dist {forms}, which gives other results"
    assert f"lightgcn: {why}; it starts over" in said
    assert "train: stage train was made from other results of lightgcn; it starts over" in said


def test_a_run_of_an_earlier_version_is_refused_in_one_line(run: RunFolder) -> None:
    done(run)
    for stage in STAGES:
        body = json.loads(record_path(stage, run).read_text())
        record_path(stage, run).write_text(json.dumps({k: v for k, v in body.items() if k not in ("form", "made")}))
    refusal = r"index.json: expected the record of a finished stage, form: .*; delete it and run `gensr index` again"
    with pytest.raises(InputError, match=refusal):
        check_consistent("index", run)
    with pytest.raises(InputError, match=refusal.replace("index", "simulate")):
        done(run)


@pytest.mark.parametrize("command", ["run", "prepare", "train", "evaluate"])
def test_a_command_lists_the_raw_log_once(
    run: RunFolder, raw: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    config = configured(run, *TABLES, f"data.raw={raw}")
    run_all(config, print)
    listed: list[str] = []
    found = OutsideFolder._found

    def counted(folder: OutsideFolder) -> Mapping[str, int]:
        listed.append(folder.place)
        return found(folder)

    monkeypatch.setattr(OutsideFolder, "_found", counted)
    run_all(config, print) if command == "run" else run_stage(BY_NAME[command], config, print)
    assert listed == [str(raw)]
    listed.clear()
    run_all(configured(run, *TABLES, f"data.raw={raw}", "data.title_tokens=3"), print)  # everything is made again
    assert listed == [str(raw)]


def test_a_failed_stage_is_not_skipped_and_names_no_result(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    done(run)

    def fail(job: Job) -> Outcome:
        (run.root / "shards" / "shard-00000.tar").write_text("half of them")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        replace(patch, "prepare", fail)
        with pytest.raises(KeyboardInterrupt):
            done(run, "data.title_tokens=3")
    with pytest.raises(InputError, match=r"prepare.json: stage prepare was interrupted.*run `gensr prepare`"):
        run_stage(BY_NAME["lightgcn"], configured(run, "data.title_tokens=3"), print)
    assert done(run, "data.title_tokens=3") == list(STAGES[1:])


@pytest.mark.parametrize("history", ["5", "6"])
def test_an_interrupted_training_is_never_thrown_away(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, history: str
) -> None:
    calls: list[bool] = []

    def interrupt(job: Job) -> Outcome:
        raise KeyboardInterrupt

    def train(job: Job) -> Outcome:
        calls.append(job.resume)
        job.run.model.mkdir(exist_ok=True)
        return Outcome(summary=(), result={})

    replace(monkeypatch, "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        done(run, "data.history=5")
    replace(monkeypatch, "train", train)
    done(run, f"data.history={history}")
    assert calls == [True]  # with other settings, training itself refuses to go on from its checkpoints
    said: list[str] = []
    run_all(configured(run, "data.history=7"), said.append)
    assert calls == [True, False]  # those of a finished training have served
    changed = f"data.history was {history}, now 7"
    assert f"train: stage train was made with another config: {changed}; it starts over" in said


@pytest.mark.parametrize("error", [InputError("here", "this is wrong", "do that"), KeyboardInterrupt(), OSError(28)])
@pytest.mark.parametrize("stage", STAGES[1:])
def test_what_ends_a_stage_before_it_changes_anything_leaves_the_run_folder_as_it_was(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, stage: str, error: BaseException
) -> None:
    done(run)
    refused = configured(run, "seed=5", "data.source=tables", "data.raw=nowhere")
    records = {name: record_path(name, run).read_bytes() for name in STAGES}
    config = run.config.read_bytes()

    def refuse(job: Job) -> Outcome:
        assert not read_record(stage, run).finished  # type: ignore[union-attr]
        raise error

    replace(monkeypatch, stage, refuse)
    monkeypatch.setattr(RunStatus, "check_inputs", lambda *_: None)
    with pytest.raises(type(error)):
        run_stage(BY_NAME[stage], refused, print)
    assert {name: record_path(name, run).read_bytes() for name in STAGES} == records
    assert run.config.read_bytes() == config
    assert done(run) == []


def test_results_that_a_failed_stage_has_changed_are_not_taken_for_its_earlier_ones(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run)

    def spoil(job: Job) -> Outcome:
        (run.model / "gensr.safetensors").write_text("new weights")
        raise InputError("train", "the loss is nan", "lower the learning rate")

    with monkeypatch.context() as patch:
        replace(patch, "train", spoil)
        with pytest.raises(InputError, match="the loss is nan"):
            done(run, "train.steps=300")
    assert done(run) == ["train"]


def test_a_paused_training_ends_the_command_well_and_is_not_finished(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def pause(job: Job) -> Outcome:
        raise Paused("stopped after step 3 of 9")

    whole = type(BY_NAME["train"]).do
    replace(monkeypatch, "train", pause)
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
    monkeypatch.setattr(type(BY_NAME["train"]), "do", whole)
    assert done(run) == ["train", "index", "evaluate"]


def test_stage_commands_ask_for_what_they_need(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"simulate.json: stage simulate has not run in .*; run `gensr simulate` with"):
        run_stage(BY_NAME["prepare"], configured(run), print)
    assert not run.shards.sizes()
    done(run)
    with pytest.raises(InputError, match=r"prepare was made with another config: data.title_tokens was 16, now 3; run"):
        run_stage(BY_NAME["train"], configured(run, "data.title_tokens=3"), print)
    with pytest.raises(InputError, match=r"made with another config: data.source was 'simulate', now 'kuaisar'"):
        run_stage(BY_NAME["evaluate"], configured(run, "data.source=kuaisar", "data.raw=x"), print)
    assert load_config(run.config).data.title_tokens == 16  # refused commands leave the run folder as it was
    said: list[str] = []
    result = run_stage(BY_NAME["train"], configured(run), said.append)
    assert result.skipped
    assert said == [
        f"train: unchanged, skipped ({result.seconds:.1f} s when it ran); delete {record_path('train', run)} to do it "
        "again",
        "  train summary",
    ]
    assert not run_stage(BY_NAME["train"], configured(run, "train.steps=400"), print).skipped
    with pytest.raises(InputError, match=r"train was made with another config: train.steps was 400, now 1000"):
        run_stage(BY_NAME["index"], configured(run), print)


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
    run_stage(BY_NAME["train"], configured(run, "train.steps=400"), print)
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
        run_stage(BY_NAME["prepare"], config, print)


def test_old_curves_are_forgotten(tmp_path: Path) -> None:
    for name in ("events.out.tfevents.1", "keep.txt"):
        (tmp_path / name).write_text("")
    forget_events(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]
