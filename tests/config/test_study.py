from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from claimscale.config import loading, sources
from claimscale.config.base import Settings
from claimscale.config.study import Study, parameter_count
from claimscale.config.tasks import Exclusion, Task
from claimscale.errors import BadInput

CKD = {"name": "ckd", "kind": "disease", "outcome": {"ICD10": ["N18"]}}
EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def problem(file: Path, *overrides: str) -> str:
    with pytest.raises(BadInput) as caught:
        loading.load(file, list(overrides))
    text = str(caught.value)
    assert "\n" not in text, "one line"
    return text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load_and_their_resolved_form_loads_to_the_same(example: Path, tmp_path: Path) -> None:
    loaded = loading.load(example)
    resolved = tmp_path / "study.yaml"
    resolved.write_text(loading.dump(loaded), "utf-8")
    assert loading.load(resolved) == loaded


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"pretrain": {"maks": 0.3}}, "pretrain.maks: unknown key"),
        ({"pretrain": {"epocs": 3}}, "pretrain.epocs: unknown key; did you mean epochs?"),
        (
            {"tasks": [CKD | {"outcome": {"NDC": [71015523]}}]},
            "71015523: is a number to YAML",
        ),
        ({"sizs": ["80k"]}, "sizs: unknown key; did you mean sizes?"),
        ({"pretrain": {"mask_probability": 1.3}}, "pretrain.mask_probability: 1.3 is not below 1"),
        ({"pretrain": {"mask_unit": "patient"}}, "pretrain.mask_unit: 'patient'"),
        (
            {"pretrain": {"cooldown_fractions": [0.5]}},
            "pretrain.cooldown_fractions: must be ascending and distinct, and end with 1",
        ),
        (
            {"pretrain": {"cooldown_fractions": [0.5, 0.25, 1]}},
            "pretrain.cooldown_fractions: must be ascending",
        ),
        ({"pretrain": {"cooldown_fractions": [0, 1]}}, "pretrain.cooldown_fractions.0: 0 is not above 0"),
        ({"pretrain": {"lr_sweep": [0.1, 0.2]}}, "pretrain.lr_sweep: must be ascending"),
        (
            {"pretrain": {"lr_sweep": [0.1, 0.3, 0.2]}},
            "pretrain.lr_sweep: must be ascending",
        ),
        ({"pretrain": {"lr_sweep_fraction": 1}}, "pretrain.lr_sweep_fraction: 1 is not below 1"),
        (
            {"compute": {"slurm": {"time_limit_minutes": 0}}},
            "compute.slurm.time_limit_minutes: 0 is not above 0",
        ),
        ({"compute": {"slurm": {"queue": "gpu"}}}, "compute.slurm.queue: unknown key"),
        ({"pretrain": {"epochs": "many"}}, "pretrain.epochs: 'many'"),
        ({"tasks": ["gout_in_space"]}, "'gout_in_space' is not in the task catalogue"),
        ({"sizes": ["11M", "2.2M"]}, "sizes: must be ascending"),
        ({"sizes": ["big"]}, "'big' is not a size such as"),
        ({"source": {"kind": "fax"}}, "source"),
        ({"source": {"kind": "synpuf"}}, "source.path: is missing"),
        ({"cohort": {"landmark": "soon"}}, "cohort.landmark"),
        ({"finetune": {"seeds": [42, 42, 42]}}, "finetune.seeds: a seed is listed twice"),
        ({"pretrain": {"seeds": [1, 1]}}, "pretrain.seeds: a seed is listed twice"),
        ({"seed": -1}, "seed: -1: input should be greater than or equal to 0"),
        ({"finetune": {"seeds": [7]}}, "finetune.seeds: [7] are not among pretrain.seeds"),
        ({"finetune": {"labelled_patients": [-1]}}, "finetune.labelled_patients"),
        ({"finetune": {"layerwise_lr_decay": 1.5}}, "finetune.layerwise_lr_decay: 1.5: input should be less"),
        ({"finetune": {"method": "half"}}, "finetune.method: 'half'"),
        ({"finetune": {"method": "lora"}}, "finetune: method: lora keeps pretrained weights fixed"),
        ({"finetune": {"learning_rates": []}}, "finetune.learning_rates"),
        ({"finetune": {"learning_rates": [1e-3, -1e-3]}}, "finetune.learning_rates.1: -0.001 is not above 0"),
        ({"finetune": {"learning_rates": [1e-3, 0.001]}}, "finetune.learning_rates: a rate is listed twice"),
        ({"finetune": {"checkpoint_minutes": 0}}, "finetune.checkpoint_minutes: 0 is not above 0"),
        ({"compute": {"peak_tflops": 0}}, "compute.peak_tflops: 0 is not above 0"),
        ({"compare": {"stopping": "early"}}, "compare.stopping: 'early'"),
        (
            {"compare": {"stopping": "futility"}, "baselines": ["lightgbm_counts_and_embeddings"]},
            "compare.stopping: futility may omit the largest size",
        ),
        ({"name": "../elsewhere"}, "name"),
        (
            {"source": {"kind": "omopp", "path": "x"}},
            "source: kind: 'omopp' is none of simulated, tables, receipt, dpc, omop, meds, synpuf; "
            "did you mean omop?",
        ),
        ({"source": {"path": "x"}}, "source: kind: is missing"),
        ({"source": "omop"}, "source: 'omop': holds no settings (key: value)"),
        ({"pretrain": 3}, "pretrain: 3: holds no settings (key: value)"),
        ({"tasks": "ckd"}, "tasks: 'ckd': is no list, such as [a, b]"),
        ({"tasks": ["ckdd"]}, "tasks: 'ckdd' is not in the task catalogue (did you mean ckd?)"),
        ({"tasks": [{**CKD, "kind": "drug"}]}, "tasks.0.kind: 'drug': is none of disease, medication, other"),
        (
            {"tasks": [{**CKD, "alive_at_days": 90}]},
            "tasks.0: alive_at_days: is a condition on the time after",
        ),
        ({"tasks": [{**CKD, "gap_days": -1}]}, "tasks.0.gap_days: -1 would predict what is already known"),
        ({"tasks": [{**CKD, "washout_days": 0}]}, "tasks.0.washout_days: 0 leaves no washout"),
        (
            {"tasks": [{**CKD, "washout_days": -9}]},
            "tasks.0.washout_days: -9 would extend past the index date",
        ),
        (
            {"tasks": [{**CKD, "min_history_days": -9}]},
            "tasks.0.min_history_days: -9 would require observation after",
        ),
        (
            {"tasks": [{**CKD, "exclude": [{"codes": {"ATC": ["C"]}, "window_end_days": 1}]}]},
            "tasks.0.exclude.0.window_end_days: 1 is 1 days past the index date",
        ),
        (
            {"tasks": [{**CKD, "exclude": [{"codes": {"ATC": ["C"]}, "days_after": 1}]}]},
            "tasks.0.exclude.0: days_after: is a condition on the time after",
        ),
        (
            {
                "tasks": [
                    {
                        **CKD,
                        "exclude": [{"codes": {"ATC": ["C"]}, "look_back_days": 5, "window_end_days": -9}],
                    }
                ]
            },
            "tasks.0.exclude.0: look_back_days: 5 leaves no day before window_end_days",
        ),
        ({"tasks": [{**CKD, "exclude": [{"codes": {}}]}]}, "tasks.0.exclude.0: codes: names no codes"),
        (
            {"tasks": [{**CKD, "index": "every_visit"}]},
            "tasks.0: first_index_date: index: every_visit needs it",
        ),
        ({"tasks": [{**CKD, "labels": "a.parquet"}]}, "tasks.0: outcome: has no effect with labels"),
        ({"tasks": [{"name": "x", "kind": "disease"}]}, "tasks.0: outcome has no codes"),
        (
            {"labels": "all_dates", "finetune": {"labelled_patients": [100]}},
            "finetune.labelled_patients: a number of patients needs labels: scarce",
        ),
        (
            {"tasks": [{**CKD, "index": "every_visit", "first_index_date": dt.date(2021, 1, 1)}]},
            "tasks: ckd: first_index_date must be before cohort.landmark",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_path_and_cause(write_study, changed, expected) -> None:
    assert expected in problem(write_study(**changed))


def test_a_task_of_labels_made_elsewhere_survives_being_written_down(write_study, tmp_path: Path) -> None:
    made = {"name": "made", "kind": "disease", "labels": "a.parquet", "hidden_codes": {"ICD10": ["Z49"]}}
    loaded = loading.load(write_study(tasks=[made]))
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(loading.dump(loaded), "utf-8")
    assert loading.load(resolved) == loaded


def test_splits_must_add_up_to_one(write_study) -> None:
    text = problem(write_study(), "cohort.splits.fractions=[0.7, 0.2, 0.2]")
    assert "cohort.splits.fractions: fractions add up to 1.1, not 1" in text


def test_a_key_given_twice_is_refused_with_its_line(write_study) -> None:
    assert "line 2: duplicate key 'name'" in problem(write_study("name: a\nname: b\n"))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: [unclosed\n", "just words"])
def test_a_file_without_settings_is_refused(write_study, text: str) -> None:
    assert "study.yaml" in problem(write_study(text))


def test_a_missing_file_a_folder_and_another_encoding_are_refused(tmp_path: Path) -> None:
    assert "cannot be read" in problem(tmp_path / "absent.yaml")
    assert "cannot be read" in problem(tmp_path)
    (tmp_path / "sjis.yaml").write_bytes("name: 慢性腎臓病".encode("cp932"))
    assert "is not UTF-8" in problem(tmp_path / "sjis.yaml")


def test_overrides_reach_nested_settings_and_keep_their_types(write_study) -> None:
    loaded = loading.load(
        write_study(),
        ["pretrain.epochs=2", "sizes=[80k, 90k]", "cohort.landmark=2021-01-01", "runs_dir=/tmp/x"],
    )
    assert loaded.pretrain.epochs == 2
    assert loaded.sizes == ["80k", "90k"]
    assert loaded.cohort.landmark == dt.date(2021, 1, 1)
    assert loaded.run_directory == Path("/tmp/x/tiny")


@pytest.mark.parametrize(
    "override", ["pretrain.epochs", "=3", "name.first=x", "sizes=[1", "pretrain.epoch=3"]
)
def test_a_wrong_override_is_refused(write_study, override: str) -> None:
    problem(write_study(), override)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", "1E-3"])
def test_numbers_with_an_exponent_are_numbers(write_study, text: str) -> None:
    assert loading.load(write_study(), [f"pretrain.learning_rate={text}"]).pretrain.learning_rate == 0.001


def test_codes_stay_strings(write_study) -> None:
    task = {"name": "t", "kind": "disease", "outcome": {"ICD9CM": ["0123"]}}
    assert loading.load(write_study(tasks=[task])).tasks[0].outcome == {"ICD9CM": ["0123"]}
    assert loading.load(write_study(tasks=[{**task, "outcome": {"NDC": ["1e3"]}}])).tasks[0].outcome == {
        "NDC": ["1e3"]
    }
    unquoted = "tasks=[{name: t, kind: disease, outcome: {ICD9CM: [0123]}}]"
    assert "tasks.0.outcome.ICD9CM.0" in problem(write_study(), unquoted)


def test_settings_cannot_be_changed(write_study) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loading.load(write_study()).pretrain.epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


@given(st.integers(1, 999), st.sampled_from("kMB"))
def test_sizes_read_as_they_are_written(number: int, unit: str) -> None:
    assert parameter_count(f"{number}{unit}") == number * {"k": 1e3, "M": 1e6, "B": 1e9}[unit]


def test_baselines_are_those_known_each_once_and_tuned_alike(write_study) -> None:
    assert "baselines" in problem(write_study(), "baselines=[lightgbm, lightgbm]")
    assert "baselines.0" in problem(write_study(), "baselines=[xgboost]")
    assert "search.n_trials" in problem(write_study(), "search.n_trials=0")
    alone = "baselines=[ensemble]"
    assert "ensemble averages two others: list lightgbm" in problem(write_study(), alone)
    both = "baselines=[lightgbm, ensemble]"
    assert "and initialization: [pretrained]" in problem(
        write_study(), both, "finetune.initialization=[scratch]"
    )
    assert loading.load(write_study(), [both]).baselines == ["lightgbm", "ensemble"]
    embedded = "baselines=[lightgbm_embeddings]"
    scratch = "finetune={initialization: [scratch], seeds: [5]}"
    assert "not among pretrain.seeds" in problem(write_study(), embedded, scratch)
    assert loading.load(write_study(), [scratch]).baselines == ["lightgbm", "logistic", "outcome_history"]


VALUES_YAML_CANNOT_READ = [
    "2000-13-01", "2000-02-30", "2000-01-01 25:00:00", "0b_", "0x_", "!!int ten", "!!float x", "!!bool maybe",
    "!!timestamp soon", "!!binary a", "!!python/object:os.system x", "9" * 5000, "{[a]: 1}", "{{a: 1}: 1}",
    "!!set [a]", "!!omap {a: 1}", "[" * 3000, "&a [*a]", "&a {b: *a}", "*missing", "\x07", "{a: 1, a: 2}",
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES_YAML_CANNOT_READ, ids=lambda value: value[:20])
def test_a_value_that_yaml_cannot_read_is_one_line(write_study, value: str) -> None:
    override = problem(write_study(), f"cohort.landmark={value}")
    assert "cohort.landmark" in override or "contains itself" in override
    text = Path(write_study()).read_text("utf-8")
    in_file = problem(write_study(f"{text}\nextra:\n  nested: {value}\n"))
    assert "study.yaml: " in in_file


def test_an_impossible_date_is_named_with_its_line(write_study) -> None:
    text = problem(write_study("name: a\ncohort:\n  landmark: 2000-13-01\n"))
    assert text.endswith("is not valid YAML (line 3: '2000-13-01' is not a valid date)")
    assert "'2000-02-30' is not a valid date" in problem(write_study(), "cohort.landmark=2000-02-30")


@pytest.mark.parametrize("value", [".inf", ".nan", "-.inf"])
def test_numbers_are_finite(write_study, value: str) -> None:
    assert "pretrain.learning_rate" in problem(write_study(), f"pretrain.learning_rate={value}")


def test_keys_are_text(write_study) -> None:
    assert "key 1 is not text" in problem(write_study("1: x\n"))
    assert "cohort" in problem(write_study(), "cohort={landmark: 2020-01-01, 1: x}")


def sections(model: type[Settings]) -> set[type[Settings]]:
    found = {model}
    for field in model.model_fields.values():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Settings):
                found |= sections(kind)
    return found


SECTIONS = sections(Study) | sections(sources.TablesSource) | {Task, Exclusion, sources.OmopSource}


@pytest.mark.parametrize("section", sorted(SECTIONS, key=str))
def test_every_setting_has_a_sentence(section: type[Settings]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        text = field.description or ""
        assert text.endswith(".") and len(text) > 15, f"{section.__name__}.{name}"
        assert len(re.findall(r"[.!?](?=\s)", text)) == 0, f"{section.__name__}.{name}: one sentence"


def test_a_mistyped_section_is_named_before_the_one_that_is_missing(write_study) -> None:
    text = write_study().read_text("utf-8").replace("cohort:", "cohrt:")
    with pytest.raises(BadInput, match=r"cohrt: unknown key; did you mean cohort\?$"):
        loading.load(write_study(text))
