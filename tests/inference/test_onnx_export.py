"""An exported model gives the package's logits, on sequences of any length, in any batch; or is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from claimscale import cli
from claimscale.errors import BadInput
from claimscale.inference import onnx_export
from claimscale.inference.exportable import ExportableClassifier
from claimscale.inference.package import ModelPackage
from claimscale.training.finetune_trainer import logits

sys.path.insert(0, str(Path(__file__).parent))
from serve_fixtures import made_package, make_package  # noqa: F401

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    sequences, largest = onnx_export.export(package, file)
    assert sequences == len(onnx_export.made_up(package)) and largest <= onnx_export.TOLERANCE
    return file


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"embedding": 32},
        {"hierarchical": True},
        {"hierarchical": True, "embedding": 16},
        {"zero_shot": False},
    ],
    ids=str,
)
def test_the_exportable_module_has_the_logits_of_the_classifier(changed: dict, tmp_path: Path) -> None:
    found = make_package(tmp_path / "package", **changed)
    sequences = onnx_export.made_up(found, seed=3)
    expected = logits(found.encoder.model, sequences, torch.device("cpu")).numpy()
    assert expected.std() > 0.1  # equal logits would prove nothing
    inputs = onnx_export.padded(sequences)
    with torch.no_grad():
        given = ExportableClassifier(found.encoder.model)(*(torch.from_numpy(one) for one in inputs.values()))
    np.testing.assert_allclose(given.numpy(), expected, atol=2e-5)


def test_onnx_runtime_gives_the_logits_at_every_length(package: ModelPackage, exported: Path) -> None:
    sequences = onnx_export.made_up(package, seed=1)
    assert set(sequences.lengths) == set(range(2, package.config.tokens.max_length + 1))
    assert onnx_export.difference(exported, package.encoder, sequences) <= onnx_export.TOLERANCE


def test_padding_and_the_rest_of_the_batch_do_not_matter(package: ModelPackage, exported: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported))
    sequences = onnx_export.made_up(package, seed=2)
    together = onnx_export.padded(sequences)
    found = session.run(None, together)[0]
    garbage = {
        name: np.where(together["mask"], values, 1) for name, values in together.items() if values.ndim == 2
    }
    garbage["count"] = np.where(together["mask"][..., None], together["count"], 77)
    np.testing.assert_allclose(session.run(None, garbage | {"mask": together["mask"]})[0], found, atol=1e-5)
    for row, length in enumerate(sequences.lengths[:5]):
        alone = {name: values[row : row + 1, :length] for name, values in together.items()}
        np.testing.assert_allclose(session.run(None, alone)[0], found[row : row + 1], atol=1e-5)


def test_the_file_says_what_it_is(package: ModelPackage, exported: Path) -> None:
    import onnx

    model = onnx.load(exported)
    assert [one.name for one in model.graph.input] == list(onnx_export.INPUTS)
    assert [one.name for one in model.graph.output] == [onnx_export.OUTPUT]
    assert {one.key: one.value for one in model.metadata_props}["claimscale.digest"] == package.digest


def test_a_model_that_differs_is_refused(
    package: ModelPackage,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_export, "_onnx_bytes", lambda *_: exported.read_bytes())
    monkeypatch.setattr(onnx_export, "TOLERANCE", -1.0)
    with pytest.raises(AssertionError, match="differs by"):
        onnx_export.export(package, tmp_path / "new" / "model.onnx")
    assert not list((tmp_path / "new").iterdir())


def test_patients_of_a_source_are_checked(
    package: ModelPackage,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from serve_fixtures import patient
    from test_serve import write_meds

    monkeypatch.setattr(onnx_export, "_onnx_bytes", lambda *_: exported.read_bytes())
    write_meds(tmp_path / "meds", patient(1, 1) + patient(2, 2))
    out = tmp_path / "model.onnx"
    arguments = [
        "export",
        str(package.folder),
        str(out),
        "--source",
        str(tmp_path / "meds"),
        "--on",
        "2020-10-01",
    ]
    assert cli.call(arguments) == 0
    made_up = len(onnx_export.made_up(package))
    assert f"on {made_up + 2} sequences" in capsys.readouterr().out and out.exists()


def test_bad_input_is_one_line(
    package: ModelPackage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "there.onnx").touch()
    assert cli.call(["export", str(package.folder), str(tmp_path / "there.onnx")]) == 2
    assert cli.call(["export", str(package.folder), str(tmp_path / "a.onnx"), "--on", "2020-10-01"]) == 2
    assert cli.call(["export", str(tmp_path), str(tmp_path / "a.onnx")]) == 2
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert cli.call(["export", str(package.folder), str(tmp_path / "a.onnx")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and "claimscale[onnx]" in lines[-1]
    with pytest.raises(BadInput):
        onnx_export.export(package, tmp_path / "a.onnx")
