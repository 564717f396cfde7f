from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic

from claimscale import cli

TASK_NOBODY_HAS = {"name": "nobody", "kind": "disease", "outcome": {"ICD10": ["N18"]}, "gap_days": 364}
TASK_NOBODY_HAS |= {"horizon_days": 1}
"""One day a year later, in claims of a few patients."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Call the command line; returns exit code, standard output and standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.call([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def is_one_clear_line(error: str) -> bool:
    lines = [line for line in error.splitlines() if line.startswith("claimscale: ")]
    return len(lines) == 1 and "Traceback" not in error


def test_aces_configurations_are_written_to_a_new_folder_only(run, tmp_path: Path) -> None:
    code, out, _ = run("tasks", "--aces", tmp_path / "aces")
    assert code == 0 and out.startswith("48 ACES configurations of 24 tasks")
    assert len(list((tmp_path / "aces").glob("*.positives.yaml"))) == 24
    code, _, error = run("tasks", "--aces", tmp_path / "aces")
    assert code == 2 and "aces: is there already" in error


def test_a_study_without_cases_says_how_many_it_needs(run, write_study, tmp_path: Path) -> None:
    tasks = f"tasks={json.dumps([TASK_NOBODY_HAS])}"
    code, out, _ = run("study", write_study(), "--set", f"runs_dir={tmp_path / 'runs'}", "--set", tasks)
    assert code == 0
    assert "nobody: Inconclusive: no model was trained." in out
    assert "At least 40 more patients with the outcome are needed (10 for training, 30 for testing)." in out
    assert not list((tmp_path / "runs").rglob("cells/*"))
    assert next((tmp_path / "runs").rglob("report.html")).stat().st_size > 0


def test_a_window_after_the_claims_is_refused(run, write_study, tmp_path: Path) -> None:
    tasks = f"tasks={json.dumps(['ckd', TASK_NOBODY_HAS | {'gap_days': 9000}])}"
    code, _, error = run("study", write_study(), "--set", f"runs_dir={tmp_path / 'runs'}", "--set", tasks)
    assert code == 2 and is_one_clear_line(error)
    assert "no claim is left in which the outcome of task nobody could be found" in error


def test_ingest_prints_who_is_eligible_and_plan_uses_it(run, write_study, tmp_path: Path) -> None:
    death = {"name": "death", "kind": "other", "outcome": "MEDS_DEATH", "exclude": [{"codes": {"X": ["1"]}}]}
    file = write_study(
        source={"kind": "simulated", "patients": 800, "hospitals": 2, "min_age": 70},
        tasks=[death, TASK_NOBODY_HAS],
        finetune={"seeds": [1, 2]},
        pretrain={"seeds": [1, 2]},
        runs_dir=str(tmp_path / "runs"),
    )
    code, planned, _ = run("plan", file)
    assert code == 0 and "(assumed)" in planned and "(as labelled)" not in planned
    code, out, _ = run("ingest", file)
    labels = json.loads((tmp_path / "runs" / "tiny" / "labels" / "labels.json").read_text("utf-8"))
    for task in ("death", "nobody"):
        cells = next(line for line in out.splitlines() if line.startswith(f"{task} ")).split("  ")
        cells = [cell.strip() for cell in cells if cell.strip()]
        splits = labels[task]["splits"]
        cases = [splits[name]["positives"] for name in ("train", "tuning", "held_out")]
        eligible = sum(split["n"] for split in splits.values())
        assert cells[1:-1] == [f"{count:,}" for count in (eligible, sum(cases), *cases)]
        excluded = {reason.replace("_", " "): n for reason, n in labels[task]["excluded"].items() if n}
        assert cells[-1] == ", ".join(f"{n:,} {reason}" for reason, n in excluded.items())
    assert labels["death"]["splits"]["train"]["positives"] > 10
    assert "nobody: no model is trained; too few patients with the outcome" in out
    assert "death: no event has a code of exclude.0.codes (X//1)" in out
    code, planned, _ = run("plan", file)
    tested = labels["death"]["splits"]["held_out"]["positives"]
    assert f"death: with {tested:,} test positives (as labelled)" in planned
    assert "nobody: with 0 test positives (as labelled)" in planned
    assert "nobody: no model is trained, because too few labelled patients have the outcome" in planned
    assert "(assumed)" not in planned
    code, planned, _ = run(
        "plan", file, "--set", "cohort.landmark=2020-11-01", "--set", "dates_per_patient=2"
    )
    assert code == 0 and "(as labelled)" not in planned, "labels of other settings are not those of the study"


def test_an_outcome_that_no_event_has_is_bad_input(run, write_study, tmp_path: Path) -> None:
    tasks = "tasks=[{name: htn, kind: disease, outcome: {icd10: [I10]}}]"
    settings = ("--set", f"runs_dir={tmp_path / 'runs'}", "--set", tasks)
    code, out, _ = run("plan", write_study(), *settings)
    assert code == 0 and "tasks.htn.outcome: icd10 is no code system; the nearest is ICD10" in out
    for command in ("ingest", "check", "study"):
        code, _, error = run(command, write_study(), *settings)
        assert code == 2 and is_one_clear_line(error)
        assert "tasks.htn.outcome: icd10 is no code system; the nearest is ICD10" in error


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("pretrain.epoch=3", "pretrain.epoch: unknown key"),
        ("pretrain.epochs=many", "pretrain.epochs"),
        ("sizes=[10k]", "10,000 parameters are impossible"),
        ("sizes=[huge]", "'huge' is not a size"),
        ("source={kind: synpuf, path: /no/such/folder}", "/no/such/folder"),
        ("cohort.min_events=100000", "no patient is left"),
        (
            "tasks=[{name: nobody, kind: disease, outcome: {ICD10: [N18]}, min_history_days: 9999}]",
            "task nobody: no training index date is eligible",
        ),
        ("tasks=[{name: made, kind: disease, labels: /no/such/file}]", "task made: labels: /no/such/file"),
        ("cohort.landmark=1999-01-01", "no patient is left"),
        ("cohort.splits.held_out_hospitals=3", "cohort.splits.held_out_hospitals"),
        ("tokens.min_patients=100000", "tokens.min_patients"),
        ("tokens.rollup={ICD11: 3}", "ICD11"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    run, write_study, tmp_path: Path, setting: str, expected: str
) -> None:
    runs_folder = tmp_path / "runs"
    code, _, error = run("study", write_study(), "--set", f"runs_dir={runs_folder}", "--set", setting)
    assert code == 2
    assert is_one_clear_line(error), error
    assert expected in error
    assert not list(runs_folder.rglob("*.partial")) and not list(runs_folder.rglob("scratch-*"))
    assert not list(runs_folder.rglob("cells/*")), "no cell may start"


def test_settings_are_refused_before_anything_is_written(run, write_study, tmp_path: Path) -> None:
    run("study", write_study(maks=1), "--set", f"runs_dir={tmp_path / 'runs'}")
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written_is_named(run, write_study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, error = run("study", write_study(), "--set", f"runs_dir={tmp_path / 'file'}")
    assert code == 2 and is_one_clear_line(error) and "file: cannot be written" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["study"],
        ["studdy", "x.yaml"],
        ["study", "absent.yaml"],
        ["study", "x.yaml", "--sett", "a=b"],
        ["sizes"],
    ],
)
def test_wrong_arguments_are_one_clear_line(run, arguments: list[str]) -> None:
    code, _, error = run(*arguments)
    assert code == 2 and is_one_clear_line(error), error


def test_plan_names_cells_parameters_operations_and_memory(run) -> None:
    example = Path(__file__).parents[1] / "examples" / "nationwide.yaml"
    code, out, _ = run("plan", example)
    assert code == 0
    pretraining, finetuning = 5 * 3, 12 * 5 * 2 * 3
    assert f"{pretraining} pretraining, {finetuning} fine-tuning" in out
    rows = re.findall(r"^ *([\d.]+)M +([\d,]+) .* GiB$", out, flags=re.MULTILINE)
    assert len(rows) == 5
    for target, parameters in rows:
        assert abs(int(parameters.replace(",", "")) / (float(target) * 1e6) - 1) < 0.02


def test_plan_says_what_can_be_decided_and_names_the_gpu(run, write_study) -> None:
    file = write_study(sizes=["150k", "400k"], tasks=["ckd", "pregabalin"])
    _, out, _ = run("plan", file)
    assert re.search(
        r"ckd, pregabalin: with \d+ test positives \(assumed\) no verdict is given; it takes 30", out
    )
    code, out, _ = run("plan", file, "--gpu", "h100", "--set", "source.patients=20000")
    assert code == 0 and "(one h100)" in out and "GiB" in out
    assert re.search(
        r"ckd, pregabalin: with \d+ test positives \(assumed\) and 3 seeds you can resolve \d", out
    )
    assert "each held to 2.5 %" in out
    code, _, error = run("plan", file, "--gpu", "abacus")
    assert code == 2 and "abacus: no such GPU" in error
    _, out, _ = run("plan", file, "--set", "finetune.seeds=[42]")
    assert "With one seed no verdict" in out


def test_compare_reads_summaries_and_refuses_what_is_none(run, tmp_path: Path) -> None:
    summary = synthetic.summary(tasks=1) | {"name": "here"}
    (tmp_path / "summary.json").write_text(json.dumps(summary), "utf-8")
    code, out, _ = run("compare", tmp_path, tmp_path / "summary.json")
    assert code == 0 and "A: here" in out and "saturated, 11M suffices" in out
    (tmp_path / "other.json").write_text("[1]", "utf-8")
    for wrong in (tmp_path / "absent", tmp_path / "other.json"):
        code, _, error = run("compare", tmp_path, wrong)
        assert code == 2 and wrong.name in error


def test_sizes_are_solved_for_a_vocabulary(run) -> None:
    code, out, _ = run("sizes", "10000", "11M")
    assert code == 0
    parameters = int(out.splitlines()[1].split()[1].replace(",", ""))
    assert abs(parameters / 11e6 - 1) < 0.02


def test_tasks_lists_the_catalogue(run) -> None:
    code, out, _ = run("tasks")
    assert code == 0
    assert re.search(r"^pregabalin +medication .*N02BF02", out, flags=re.MULTILINE)


def test_a_fault_shows_its_place_but_not_its_text(run, write_study, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("patient 4711 is in the message")

    monkeypatch.setattr(cli.loading, "load", fail)
    code, out, error = run("study", write_study())
    assert code == 3 and is_one_clear_line(error)
    assert "4711" not in out + error and "ValueError" in error


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (KeyboardInterrupt(), "stopped; run the same command to resume"),
        (OSError(28, "No space left on device", "runs/x"), "runs/x: No space left on device"),
    ],
)
def test_a_stop_or_a_full_disk_can_be_resumed(run, write_study, monkeypatch, raised, said) -> None:
    def stop(*_: object) -> None:
        raise raised

    monkeypatch.setattr(cli.loading, "load", stop)
    code, _, error = run("study", write_study())
    assert code == 3 and said in error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--patients", "0"), "0 is not a positive number of patients"),
        (("--patients", "5", "--hospitals", "9"), "9 hospitals are more than 5 patients"),
        (("--patients", "600", "--hospitals", "520"), "more than the country's 519"),
        (("--patients", "5", "--hospitals", "2", "--format", "fhir"), "'fhir' is none of"),
        (("--patients", "many"), "many"),
        ((), "patients"),
    ],
)
def test_simulating_the_impossible_leaves_nothing(run, tmp_path, arguments, expected):
    code, _, error = run("simulate", tmp_path / "out", *arguments)
    assert code == 2
    assert is_one_clear_line(error), error
    assert expected in error
    assert not list(tmp_path.iterdir())


def test_simulated_claims_have_the_wanted_format(run, tmp_path) -> None:
    wishes = ("--patients", "20", "--hospitals", "2", "--seed", "5")
    code, said, _ = run("simulate", tmp_path / "tables", *wishes, "--csv")
    assert code == 0 and "20 simulated patients of 2 hospitals" in said
    assert (tmp_path / "tables" / "patients" / "000000.csv").read_text().count("\n") == 21
    run("simulate", tmp_path / "western", *wishes, "--format", "uke")
    run("simulate", tmp_path / "eras", *wishes, "--format", "uke", "--wareki")
    western, eras = (
        next((tmp_path / name).rglob("RECEIPTC*.UKE")).read_bytes() for name in ("western", "eras")
    )
    assert b",2017" in western and b",429" in eras and b",429" not in western
    code, _, error = run("simulate", tmp_path / "tables", *wishes)
    assert code == 2 and "tables: exists already" in error


def test_a_closed_pipe_is_no_fault() -> None:
    command = f"{sys.executable} -m claimscale tasks | true"
    ended = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0 and ended.stderr == ""


def test_ingest_prints_the_reconciliation_also_on_failure(run, tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "people.csv").write_text("id,born,sex\nSECRET,19500401,1\n", "utf-8")
    (folder / "drugs.csv").write_text("id,day,atc\nSECRET,20210301,C08CA01\nSECRET,x,C08CA01\n", "utf-8")
    (tmp_path / "mine.yaml").write_text(
        """
patients: {table: people, patient: id, birth: born, sex: {column: sex, male: ["1"], female: ["2"]}}
codes: [{table: drugs, patient: id, date: day, system: ATC, code: atc}]
""",
        "utf-8",
    )
    study = tmp_path / "study.yaml"
    study.write_text(
        f"""
name: tiny
runs_dir: {tmp_path / "runs"}
source: {{kind: tables, path: {folder}, mapping: {tmp_path / "mine.yaml"}}}
cohort: {{landmark: 2022-01-01}}
sizes: [80k]
tasks: [ckd]
""",
        "utf-8",
    )
    code, output, error = run("ingest", str(study))
    assert (code, is_one_clear_line(error)) == (2, True)
    assert "no patient is left" in error
    assert "4 events = 3 used + 1 quarantined + 0 dropped" in output
    assert "unreadable date" in output
    assert "SECRET" not in output + error
    (folder / "drugs.csv").unlink()
    code, output, error = run("ingest", str(study))
    assert code == 2 and "holds no table drugs" in error
    assert "events =" not in output
