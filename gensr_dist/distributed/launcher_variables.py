"""The variables by which a launcher tells a process which rank it is: all of them, or none."""

import os
from collections.abc import Mapping

from gensr_dist.errors import InputError

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_TELLING = ("RANK", "WORLD_SIZE")  # the others alone mean nothing
_NUMBERS = {"WORLD_SIZE": 1, "RANK": 0, "LOCAL_RANK": 0, "MASTER_PORT": 0}  # with the least that each may be


def started_by_launcher(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process; without one it works alone.

    Raises:
        InputError: some variables are missing, as where a shell has kept others of an earlier start, or are no numbers
            that go together.
    """
    present = [name for name in LAUNCHER_VARIABLES if name in environment]
    if not set(_TELLING) & set(present):
        return False
    unset = f"to work alone: env {' '.join(f'-u {name}' for name in present)} COMMAND"
    remedy = f"start through torchrun or deepspeed, or, {unset}"
    missing = [name for name in LAUNCHER_VARIABLES if not environment.get(name)]
    shown = ", ".join(f"{name}={environment[name]}" for name in present)
    if missing:
        raise InputError("environment", f"{shown} without {', '.join(missing)}, left over or incomplete", remedy)
    for name, least in _NUMBERS.items():
        text = environment[name]
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
            raise InputError(name, f"{text!r}, expected a number of {least} or more", remedy)
    rank, world, port = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    if rank >= world:
        raise InputError("RANK", f"{rank}, expected less than WORLD_SIZE, which is {world}", remedy)
    if port > 65_535 or (world > 1 and not port):
        raise InputError("MASTER_PORT", f"{port}, expected the number of a TCP port", remedy)
    return port > 0  # 0: `join_processes` has set them in this process or its parent, for a group of one
