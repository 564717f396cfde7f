"""Run by test_ranks through torchrun: what two ranks do together, written to the folder given."""

import importlib.util
import json
import sys
from pathlib import Path

import torch

from claimscale.training import distributed


class Stop(Exception):
    pass


def main() -> None:
    folder = Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location("small_corpus", Path(__file__).with_name("conftest.py"))
    assert spec and spec.loader
    small_corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(small_corpus)

    def stop(share: float) -> None:
        if share >= 0.6:
            raise Stop

    torch.set_num_threads(1)
    with distributed.joined("cpu") as group:
        sums = group.sum(group.rank + 1, 0.5), group.broadcast(group.rank + 10)
        one, without = torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
        one.grad = torch.arange(3.0) * (1 + group.rank)
        if group.is_main:
            without.grad = torch.ones(2, 2)
        group.all_reduce_gradients([one, without])
        gradients = [weight.grad.tolist() for weight in (one, without) if weight.grad is not None]
        result = small_corpus.pretrain_with_checkpoints(folder / "whole", lambda share: None)
        incident = small_corpus.pretrain_with_checkpoints(
            folder / "incident", lambda share: None, incident=True
        )
        few = small_corpus.pretrain_with_checkpoints(folder / "few", lambda share: None, patients=3)
        for name in ("stopped", "stopped-incident"):
            try:
                small_corpus.pretrain_with_checkpoints(folder / name, stop, incident=name != "stopped")
            except Stop:
                group.barrier()
    left = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    results = {"whole": result, "incident": incident, "few": few}
    found = {"sums": sums, "gradients": gradients, **results, "threads": left}
    (folder / f"rank{group.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
