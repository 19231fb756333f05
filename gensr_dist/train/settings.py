"""What the result of a training depends on: its checkpoints and the record of its stage hold it."""

from collections.abc import Mapping

from gensr_dist.config.marks import Mark, marked
from gensr_dist.config.root import Config, flattened


def training_settings(config: Config) -> Mapping[str, str | int | float | bool]:
    """Seed, model, training and how batches are read, by dotted key; nothing that a resumed run may change."""
    operational, batching = marked(Config, Mark.OPERATIONAL), marked(Config, Mark.BATCHING)
    return {
        key: value
        for key, value in flattened(config).items()
        if key == "seed" or key in batching or (key.startswith(("model.", "train.")) and key not in operational)
    }
