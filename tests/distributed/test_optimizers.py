"""Optimizers step as torch's own do, and nobody waits for torch's compiler."""

import subprocess
import sys

CODE = """
import sys
import torch
from gensr_dist.distributed.optimizers import Adam, AdamW

for kind in (Adam, AdamW):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    weight.square().sum().backward()
    optimizer.step()  # would be an error while gradients of leaves are recorded
    scheduler.step()
    expected = torch.full([3], 0.495 if kind is AdamW else 0.5)
    torch.testing.assert_close(weight.detach(), expected)
    assert torch.is_grad_enabled()
    assert optimizer.step(lambda: torch.tensor(7.0)) == 7
    kind([torch.nn.Parameter(torch.ones(3))]).load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""


def test_they_step_without_the_compiler() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)
