"""The Python interface; `integration/test_quickstart.py` and the notebook ask it for answers."""

import subprocess
import sys
from pathlib import Path

import pytest

import gensr_dist
from gensr_dist import interface
from gensr_dist.config.root import Config
from gensr_dist.errors import InputError


def test_names_of_the_package_are_the_interface_whatever_was_imported_before() -> None:
    program = (
        "import gensr_dist, sys; assert 'torch' not in sys.modules; import gensr_dist.runs.folder; gensr_dist.Run; "
        "assert callable(gensr_dist.run); import gensr_dist.cli.main; assert callable(gensr_dist.run)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert gensr_dist.run is interface.run
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        gensr_dist.walk  # noqa: B018


def test_bad_calls_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such run folder; give the folder of a finished `gensr run`"):
        gensr_dist.Run.open(tmp_path / "none")
    with pytest.raises(InputError, match=r"the config is given as an object; change that instead"):
        gensr_dist.run(Config(), "train.steps=3")
    opened = interface.Run(interface.RunFolder(tmp_path), Config())
    for who in ({}, {"user": "1", "history": ["2"]}):
        with pytest.raises(InputError, match=r"expected a user or a history; give one of the two"):
            opened.recommend(**who)
    with pytest.raises(InputError, match=r"run `gensr evaluate` first"):
        opened.metrics  # noqa: B018
