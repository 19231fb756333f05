"""A setting of the benchmarks at a size of seconds."""

from typing import Any

from gensr_dist.bench.workload import SpeedSetting


def tiny_setting(**changes: Any) -> SpeedSetting:
    given: dict[str, Any] = {
        "backbone": "nano",
        "history": "pooled",
        "groups": 2,
        "our_groups": 2,
        "candidates": 3,
        "lengths": "log",
        "precision": "fp32",
        "vocabulary": 100,
        "compiled": False,
    }
    return SpeedSetting(**given | changes)
