"""Program of every rank in test_training: trains baselines one after the other, `train_on_ranks.py RUN NAME ...`."""

import sys
from pathlib import Path

from gensr_dist.baselines.training import train_baseline
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from tests.baselines.small_trainings import CONFIG, WITHOUT_CHANCE, settings_of

if __name__ == "__main__":
    run = RunFolder(Path(sys.argv[1]))
    data = PreparedData.open(run, CONFIG, folds=True)
    for name in sys.argv[2:]:
        train_baseline(name, settings_of(name, **WITHOUT_CHANCE), CONFIG, data, run.baseline(name))
