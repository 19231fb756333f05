"""Settings of a baseline from the command line."""

from collections.abc import Sequence

from gensr_dist.baselines.contract import Settings
from gensr_dist.baselines.registry import entry
from gensr_dist.config.root import validated
from gensr_dist.config.settings_file import keys_of, read_override


def read_settings(name: str, overrides: Sequence[str]) -> Settings:
    """The published settings with those that `NAME.KEY=VALUE` replaces.

    Args:
        name: of the baseline.
        overrides: as they stand behind `--set`.

    Raises:
        InputError: there is no such baseline or key, or a value is of the wrong type or out of range.
    """
    kind = entry(name).settings
    keys = keys_of(kind, f"{name}.")
    given = dict(read_override(text, keys) for text in overrides)
    own = {key.removeprefix(f"{name}."): setting for key, setting in given.items()}
    return validated(kind, own, keys_of(kind))
