"""`gensr evaluate`: how good it is."""

from pathlib import Path

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Stage


class Evaluate(Stage):
    """Ranks test rows among frozen negatives and over the whole catalogue, by GenSR and by baselines."""

    name = "evaluate"
    summary = "evaluate GenSR and the baselines; write RUN/metrics.json, RUN/report.md and RUN/report.html"
    help = "One positive among frozen negatives, each task by itself, then the whole catalogue through its candidates."
    form = 4  # intervals over users
    sections = ("evaluation.", "retrieval.", "data.history")

    def needs(self, config: Config) -> tuple[str, ...]:
        """Everything."""
        return ("prepare", "lightgcn", "channels", "train", "index")

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """Metrics, reports, and the ranks and users of all rows for `gensr compare`."""
        return (run.metrics, run.report, run.report_page, run.ranks)

    def do(self, job: Job) -> Outcome:
        """See `evaluation.stage` and `retrieval.catalogue`."""
        from gensr_dist.baselines.untrained.systems import compared_scorers
        from gensr_dist.evaluation.markdown import result_lines
        from gensr_dist.evaluation.report import metrics_json
        from gensr_dist.evaluation.stage import evaluate
        from gensr_dist.retrieval.candidate_recall import evaluate_candidates
        from gensr_dist.retrieval.catalogue import evaluate_catalogue
        from gensr_dist.retrieval.stage import open_ranker
        from gensr_dist.runs.trained_run import TrainedRun

        config = job.config
        trained = TrainedRun.open(job.run, config)
        if config.evaluation.compile:
            trained.compile()
        ranker = open_ranker(trained, config)
        catalogue = evaluate_catalogue(trained, ranker, config.retrieval.candidates, config.evaluation, config.seed)
        candidates = evaluate_candidates(trained, ranker.generator, config.evaluation, config.seed)
        result = evaluate(
            trained,
            config.evaluation,
            config.seed,
            training_negatives=config.data.train_negatives,
            compared=compared_scorers(trained.data),
            catalogue=catalogue,
            candidates=candidates,
        )
        summary = (*result_lines(result), f"charts: {job.run.report_page}")
        return Outcome(summary=summary, result=metrics_json(result))
