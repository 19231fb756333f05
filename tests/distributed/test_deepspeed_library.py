"""DeepSpeed is imported without torch's compiler, and left as it was."""

import subprocess
import sys

CODE = """
import sys
from gensr_dist.distributed.deepspeed_library import deepspeed
compiled = "torch._dynamo" in sys.modules
muon = "deepspeed.runtime.zero.muon.original_muon" in sys.modules  # engines find it imported
import torch
from deepspeed.runtime import compiler
restored = not hasattr(torch, "compile") or compiler.compile() is torch.compile
sys.exit(compiled or not muon or not restored)
"""


def test_the_compiler_is_not_imported() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
