"""`gensr study`: train and compare many systems."""

import argparse
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gensr_dist.cli.arguments import local_path
from gensr_dist.cli.commands import Commands, add_ray, check_ray, told
from gensr_dist.stages.runner import Say

if TYPE_CHECKING:
    from gensr_dist.study.engines import TrialEngine


def add_studies(commands: Commands) -> None:
    """Add the command."""
    added = commands.add(
        "study",
        _study,
        "train and evaluate a list of systems on the same rows, and write the tables that compare them",
        "STUDY lists systems, trials and seeds; configs/studies/ holds some. Results: study.json, report.md and\n"
        "report.html of its folder. A killed study is resumed; several processes may work on one folder; a\n"
        "system that fails does not stop the others. --set replaces settings of the run whose data all systems share.",
        "gensr study configs/studies/beauty.yaml --set data.raw=/data/amazon_beauty",
    )
    added.add_argument("study", metavar="STUDY", type=local_path, help="YAML file, e.g. configs/studies/small.yaml")
    added.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="replace a setting of the run's config; repeatable",
    )
    add_ray(added)


def _study(options: argparse.Namespace, say: Say) -> Any:
    check_ray(options)
    from gensr_dist.study.driver import prepare_study, run_study
    from gensr_dist.study.plan import open_study

    study = open_study(options.study, options.set)
    engine = trial_engine(options)
    prepare_study(study, say)
    with tqdm(desc="trials", unit="trial", disable=None) as bar:
        result = run_study(study, engine, say, bar.update)
    told(result, say)
    say(f"the whole report: {study.folder / 'report.md'}")
    return result


def trial_engine(options: argparse.Namespace) -> "TrialEngine":
    """Who does trials: this machine, or the cluster of --address."""
    if options.engine == "ray":
        from gensr_dist.study.ray_trials import RayTrials

        return RayTrials(options.address)
    from gensr_dist.study.engines import LocalTrials

    return LocalTrials()
