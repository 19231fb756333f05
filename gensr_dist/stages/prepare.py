"""`gensr prepare`: from a raw log to shards."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gensr_dist.config.marks import Mark, marked
from gensr_dist.config.root import Config, flattened
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.outside_files import OutsideFolder, log_folder, tokenizer_folder
from gensr_dist.runs.records import StageRecord
from gensr_dist.stages.stage import Job, Outcome, Settings, Stage
from gensr_dist.storage.folder import Folder

if TYPE_CHECKING:
    from gensr_dist.analysis.log.brief import LogBrief
    from gensr_dist.data.preparation.engine import PreparationEngine as Engine


class Prepare(Stage):
    """The shards may lie elsewhere: the manifest among them says what they are."""

    name = "prepare"
    summary = "read a raw log and write timeline shards"
    help = (
        "SOURCE says how the raw log is written and stands in for data.source of the config:\n"
        "  simulate  what `gensr simulate` wrote\n"
        "  kuaisar   rec_inter.csv, src_inter.csv, user_features.csv, item_features.csv\n"
        "  amazon    one file of reviews and one of items, releases of 2014, 2018 and 2023 (shards/recipes/amazon.md)\n"
        "  tables    your own CSV or Parquet: events (user_id, item_id, behaviour, time; if you have them query,\n"
        "            positive) and items (item_id, text); shards/recipes/tables.md says what the columns may hold\n"
        "The raw log lies in data.raw. What was dropped or fixed is counted and printed."
    )
    form = 1
    sections = ("data.",)

    def needs(self, config: Config) -> tuple[str, ...]:
        """The simulated log, where it is one."""
        return ("simulate",) if config.data.source == "simulate" else ()

    def settings(self, config: Config) -> Settings:
        """Neither how shards are read nor where the log lies; where they lie, since elsewhere others may lie."""
        read = (marked(Config, Mark.PLACE) | marked(Config, Mark.BATCHING)) - {"data.shards"}
        # Of a corpus tokenizer, the words of the prompts become tokens.
        prompts = ("model.prompts.",) if config.data.tokenizer == "corpus" else ()
        sections = (*self.sections, *prompts)
        flat = flattened(config)
        return {k: v for k, v in flat.items() if k == "seed" or (k.startswith(sections) and k not in read)}

    def outside(self, config: Config) -> Mapping[str, OutsideFolder]:
        """The log and the tokenizer, unless they are made here or come from the Hub."""
        return {**log_folder(config.data), **tokenizer_folder(config.data)}

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """None that a record lists: the manifest does."""
        return ()

    def do(self, job: Job) -> Outcome:
        """See `data.preparation.prepare`; then a look at what was prepared."""
        engine = _engine(job)
        from gensr_dist.data.preparation.prepare import prepare

        prompts = job.config.model.prompts
        phrases = [re.sub(r"\{\w*\}", " ", prompt) for prompt in (prompts.recommendation, prompts.search)]
        outcome = Outcome.of(prepare(engine, job.config.data, job.config.seed, job.run.shards, phrases))
        brief = _look_at(job.run.shards)
        return Outcome(
            summary=(*outcome.summary, *brief.text()), result={**outcome.result, "warnings": list(brief.warnings)}
        )

    def made(self, record: StageRecord, run: RunFolder) -> str:
        """The digest in the manifest; empty without one.

        Raises:
            InputError: the storage cannot be read.
        """
        if "manifest.json" not in run.shards.sizes():
            return ""
        try:
            body = run.shards.read_json("manifest.json", "run `gensr prepare` first")
        except InputError:
            return ""
        return str(body.get("digest", "")) if isinstance(body, dict) else ""

    def lost(self, record: StageRecord, run: RunFolder) -> str:
        """Whether the manifest is that of this record."""
        made, where = self.made(record, run), run.shards.where("manifest.json")
        if made == record.made:
            return ""
        return f"{where} is of another preparation" if made else f"{where}, a result of stage prepare, is gone"

    def states(self, run: RunFolder) -> Mapping[str, Any]:
        """Sizes of all files of the shards."""
        return run.shards.sizes()


def _look_at(shards: Folder) -> "LogBrief":
    """What the log is like, and what in it will spoil results; the shards are done, whatever comes of it."""
    from gensr_dist.analysis.log.brief import LogBrief

    try:
        return LogBrief.of_shards(shards)
    except InputError as fault:
        return LogBrief(lines=(), warnings=(f"the log could not be looked at: {fault}",))


def _engine(job: Job) -> "Engine":
    raw, workers = Folder.at(job.run.raw_log(job.config)), job.workers
    if workers.engine == "ray":
        from gensr_dist.data.preparation.ray_engine import RayEngine

        return RayEngine(raw.place, workers.address)
    from gensr_dist.data.preparation.local_engine import LocalEngine
    from gensr_dist.data.sources import read_source

    return LocalEngine(read_source(job.config.data, raw.place), workers.processes)
