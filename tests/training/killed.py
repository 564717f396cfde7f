"""Run by test_pretrain: pretrain in a process of its own, which kills itself after some step if told to."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from claimscale.model import sizes
from claimscale.study import Pretrain
from claimscale.training import pretrain


def main() -> None:
    folder, last_share = Path(sys.argv[1]), float(sys.argv[2])
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)

    def progress(share: float) -> None:
        if share >= last_share:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    pretrain.pretrain(
        train=toy.make_corpus(300, 0)[0],
        validation=toy.make_corpus(50, 1)[0],
        types=np.zeros(toy.VOCABULARY, np.int8),
        shape=sizes.Shape(toy.VOCABULARY, 64, 1, 64, 64),
        settings=Pretrain(epochs=4, batch_tokens=400, checkpoint_minutes=1e-6),
        seed=7,
        folder=folder,
        device=torch.device("cpu"),
        progress=progress,
    )


if __name__ == "__main__":
    main()
