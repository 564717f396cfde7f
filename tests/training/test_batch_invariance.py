"""A patient's score has the same bits whoever is scored with them."""

from __future__ import annotations

import numpy as np
import torch

from claimscale.tokens.batches import FILLER, SEQUENCE_MULTIPLE, microbatches, with_fillers
