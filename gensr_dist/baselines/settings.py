"""Settings of a baseline from the command line."""

from collections.abc import Mapping, Sequence

from gensr_dist.baselines.contract import Settings
from gensr_dist.baselines.registry import entry
from gensr_dist.config.root import validated
from gensr_dist.config.settings_file import Setting, keys_of, read_override
from gensr_dist.errors import InputError


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
    settings = validated(kind, own, keys_of(kind))
    _check_bounds(own)
    return settings


def _check_bounds(own: Mapping[str, Setting]) -> None:
    """A model's class may give a setting of all baselines another default, but not other bounds; none is negative."""
    shared = keys_of(Settings)
    validated(Settings, {key: setting for key, setting in own.items() if key in shared}, shared)
    for key, setting in own.items():
        if isinstance(setting.value, int | float) and setting.value < 0:
            raise InputError(setting.where, f"{key} is {setting.shown()}, expected a number >= 0", "raise it")
