import argparse
import itertools
import os
from pathlib import Path

import pytest

from gensr_dist.cli.arguments import OneLineParser, integer, local_path


def parsed(*arguments: str) -> dict[str, object]:
    parser = OneLineParser(prog="gensr")
    command = parser.add_subparsers(parser_class=OneLineParser).add_parser("search")
    command.add_argument("run")
    command.add_argument("--user", required=True)
    command.add_argument("--query", default="")
    command.add_argument("-k", type=integer(1, 10), default=3)
    command.add_argument("--json", action="store_true")
    return vars(parser.parse_args(["search", *arguments]))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    message = capsys.readouterr().err
    assert ended.value.code == 2
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize("value", ["-5", "-1.5", "-abc", "-k5", "--users", "-", "-kitchen lamp", "--a=b", ""])
def test_a_value_may_begin_with_a_dash(value: str) -> None:
    assert parsed("run", "--user", value, "--json") == parsed("--json", "run", f"--user={value}")
    assert parsed("run", f"--user={value}", "--query", "x")["user"] == value
    assert parsed("run", "--user", "-u", "-k", "4", "--query", "-a -b") == {
        **{"run": "run", "user": "-u", "k": 4, "query": "-a -b", "json": False}
    }


def test_any_order_of_options_and_names_is_understood() -> None:
    parser = OneLineParser(prog="gensr")
    command = parser.add_subparsers(parser_class=OneLineParser).add_parser("baseline")
    command.add_argument("name", nargs="?")
    command.add_argument("config", nargs="?")
    command.add_argument("--set", action="append")
    command.add_argument("--json", action="store_true")
    expected = {"name": "sasrec", "config": "a.yaml", "set": ["a=-1"], "json": True}
    for words in itertools.permutations([["sasrec"], ["a.yaml"], ["--set", "a=-1"], ["--json"]]):
        if words.index(["sasrec"]) < words.index(["a.yaml"]):
            assert vars(parser.parse_args(["baseline", *itertools.chain(*words)])) == expected
    assert vars(parser.parse_args(["baseline", "--json", "--", "--json"]))["name"] == "--json"


def test_what_is_an_option_is_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert "argument --user: expected one argument" in refusal(capsys, "run", "--user", "--json")
    assert "argument --user: expected one argument" in refusal(capsys, "run", "--user")
    assert parsed("run", "--user=--json")["user"] == "--json"
    assert "expected an integer from 1 to 10, found '-5'" in refusal(capsys, "run", "--user", "1", "-k", "-5")


def test_bytes_that_are_not_utf8_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, "run", "--user", "1", "--query", os.fsdecode(b"a\xff\xfe"))
    assert "byte 2 of argument 6, 'a\\xff\\xfe', is not UTF-8; write it in UTF-8, and rename the file" in message
    in_ascii = b"/data/\xc3\xa9".decode("ascii", "surrogateescape")
    message = refusal(capsys, "run", "--user", in_ascii)
    assert "argument 4, '/data/é', needs a locale of UTF-8" in message
    assert "; set PYTHONUTF8=1" in message


def test_paths_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("~/x.parquet") == Path("/home/me/x.parquet")
    assert local_path("a/~") == Path("a/~")
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a path of this machine, found 's3://bucket/x'"):
        local_path("s3://bucket/x")


def test_no_command_takes_a_path_as_it_is_typed() -> None:
    """A bare Path would make folders that are named `~` and `s3:`."""
    folder = Path(__file__).parents[2] / "gensr_dist" / "cli"
    assert not [path.name for path in folder.glob("*.py") if "type=Path" in path.read_text()]
