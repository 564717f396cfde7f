"""Run by test_branches in a process of its own: a pretraining that kills itself on its way."""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

import torch


def main() -> None:
    folder, last_share = Path(sys.argv[1]), float(sys.argv[2])
    settings = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    spec = importlib.util.spec_from_file_location("small_corpus", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    small_corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small_corpus)

    def progress(share: float) -> None:
        if share >= last_share:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    small_corpus.pretrain_with_checkpoints(folder, progress, **settings)


if __name__ == "__main__":
    main()
