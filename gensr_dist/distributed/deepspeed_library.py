"""DeepSpeed, imported without what it says of itself: which accelerator it found, every setting and buffer at INFO."""

import logging
import os
import warnings

import torch

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")  # else it warns of its guess

import deepspeed

logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.distributed.*is deprecated")

__all__ = ["deepspeed"]
