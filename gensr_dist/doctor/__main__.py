"""The part of `gensr doctor` that runs on a node: reads a request from stdin, prints one JSON object a line."""

import argparse
import dataclasses
import json
import os
import sys
from typing import Any

from pydantic import TypeAdapter

from gensr_dist.doctor.probe import ProbeRequest, look


def main() -> int:
    """Answer one request."""
    parser = argparse.ArgumentParser(prog="python -m gensr_dist.doctor", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--probe", action="store_true", help="say what this node is like")
    what.add_argument("--all-reduce", action="store_true", help="join the other nodes and sum numbers with them")
    options = parser.parse_args()
    content = sys.stdin.buffer.read()
    answer: Any
    if options.probe:
        answer = look(TypeAdapter(ProbeRequest).validate_json(content or b"{}"))
    else:
        from gensr_dist.doctor.all_reduce import AllReduceRequest, join

        answer = join(TypeAdapter(AllReduceRequest).validate_json(content))
    print(json.dumps(dataclasses.asdict(answer)), flush=True)
    return 0


if __name__ == "__main__":
    code = main()
    os._exit(code)  # a thread that hangs in gloo would keep the process from ending
