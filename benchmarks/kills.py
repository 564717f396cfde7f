"""How many killed trainings end with the bits of an uninterrupted one.

Kills pretraining (on masked codes, and as by default on incident ones too) and fine-tuning of tiny encoders
60 times each, a third of the times inside a save, and resumes them. Prints a table and writes
`benchmarks/results/kills.json`. Run with `make bench NAME=kills`; another number:
`.venv/bin/python benchmarks/kills.py 200`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from record import write_record

SCRIPT = Path(__file__).parents[1] / "tests" / "training" / "killed.py"
KINDS = ("pretrain", "pretrain_incident", "finetune")
SEED = 0


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    figures: dict[str, float] = {}
    for kind in KINDS:
        command = [sys.executable, SCRIPT, kind, str(kills), str(SEED)]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = [json.loads(line) for line in output.splitlines()]
        figures |= {
            f"{kind}_kills": len(found),
            f"{kind}_inside_a_save": sum(kill["inside_a_save"] for kill in found),
            f"{kind}_with_a_checkpoint_to_resume_from": sum(kill["resumed_at"] > 0 for kill in found),
            f"{kind}_equal_sha256": sum(kill["equal"] for kill in found),
        }
    for key, value in figures.items():
        print(f"{key:<45} {value:>5.0f}")
    write_record("kills", figures)
    if any(figures[f"{kind}_equal_sha256"] < kills for kind in KINDS):
        sys.exit(1)


if __name__ == "__main__":
    main()
