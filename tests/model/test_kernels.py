"""The fused kernels against the same operations and gradients of plain PyTorch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from claimscale.model import cross_entropy, kernels
from claimscale.model.attention import BatchLayout, rotary_attention


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch):
    def compute(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "is_fused", lambda x: False)
            return _value_and_gradients(function, *arguments)

    return compute


def _value_and_gradients(function, *arguments):
    leaves = [a.clone().requires_grad_() if a.is_floating_point() else a for a in arguments]
    value = function(*leaves)
    weights = torch.linspace(-1, 2, value.numel()).view(value.shape)
    (value * weights).sum().backward()
    return value.detach(), [leaf.grad for leaf in leaves if leaf.grad is not None]


def _assert_same(fused, plain):
    torch.testing.assert_close(fused[0], plain[0], atol=2e-5, rtol=2e-5)
    for ours, reference in zip(fused[1], plain[1], strict=True):
        torch.testing.assert_close(ours, reference, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("rows, width", [(1, 64), (37, 128)])
def test_rms_norm(plain, rows: int, width: int):
    arguments = torch.randn(rows, width) * 3, torch.rand(width) + 0.5
    _assert_same(_value_and_gradients(kernels.rms_norm, *arguments), plain(kernels.rms_norm, *arguments))


def test_geglu_also_far_from_zero(plain):
    hidden = torch.randn(33, 2 * 72) * torch.logspace(-2, 1.5, 33)[:, None]
    _assert_same(_value_and_gradients(kernels.geglu, hidden), plain(kernels.geglu, hidden))
    assert torch.isfinite(kernels.geglu(torch.full((1, 16), -1e4))).all()


def test_rotation_leaves_values_alone():
    projected, angle = torch.randn(29, 3, 2, 64), torch.randn(29, 32) * 10
    out = kernels.rotate_queries_keys(projected, angle.cos(), angle.sin())
    torch.testing.assert_close(out[:, 2], projected[:, 2])
    torch.testing.assert_close(out[:, :2].square().mean(-1), torch.ones(29, 2, 2), atol=1e-4, rtol=1e-4)


def test_rotary_attention(plain):
    lengths = np.array([3, 7, 7, 12])
    projected, angle = torch.randn(29, 3, 2, 64), torch.randn(29, 32) * 10

    def attend(x):
        layout = BatchLayout.of(lengths, torch.device("cpu"))
        return rotary_attention(x, (angle.cos(), angle.sin()), layout)

    _assert_same(_value_and_gradients(attend, projected), plain(attend, projected))
    # Attention by its definition, for each sequence.
    turned = kernels.rotate_queries_keys(projected, angle.cos(), angle.sin())
    for part in turned.split(lengths.tolist()):
        weights = torch.einsum("qhw,khw->hqk", part[:, 0], part[:, 1]).div(8).softmax(-1)
        expected = torch.einsum("hqk,khw->qhw", weights, part[:, 2]).flatten(1)
        found = attend(projected)[: len(part)]
        projected, angle = projected[len(part) :], angle[len(part) :]
        lengths = lengths[1:]
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


def test_cross_entropy_in_pieces(plain, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cross_entropy, "LOGITS_AT_ONCE", 64 * 50)
    hidden, weight, bias = torch.randn(150, 16) * 4, torch.randn(50, 16), torch.randn(50)
    target = torch.randint(50, (150,))

    def loss(hidden, weight, bias):
        return cross_entropy.summed_cross_entropy(hidden, weight, bias, target)

    _assert_same(_value_and_gradients(loss, hidden, weight, bias), plain(loss, hidden, weight, bias))
    reference = F.cross_entropy(hidden @ weight.T + bias, target, reduction="sum")
    torch.testing.assert_close(loss(hidden, weight, bias), reference)


def test_a_gradient_is_computed_once_or_refused():
    """What was saved for it is overwritten, so a second one would be wrong."""
    hidden, angle = torch.randn(9, 3, 2, 64, requires_grad=True), torch.randn(9, 32)
    layout = BatchLayout.of(np.array([4, 5]), torch.device("cpu"))
    for value in (
        kernels.geglu(hidden.flatten(1)),
        rotary_attention(hidden, (angle.cos(), angle.sin()), layout),
        cross_entropy.summed_cross_entropy(
            hidden.flatten(1), torch.randn(7, 384), torch.randn(7), torch.arange(9) % 7
        ),
    ):
        torch.autograd.grad(value.sum(), hidden, retain_graph=True)
        with pytest.raises(RuntimeError, match="only once"):
            torch.autograd.grad(value.sum(), hidden, retain_graph=True)
