"""Faster products are the same products, only where they serve, and leave no trace."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from calprune.layers import products
from calprune.layers.products import _checked_onednn, faster_products, gram, linear, onednn_products, torch_products

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def random_linear(rows=64, inputs=48, outputs=40, bias=True):
    torch.manual_seed(0)
    return torch.randn(3, rows, inputs), nn.Linear(inputs, outputs, bias=bias).requires_grad_(False)


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(576, 576), (192, 576), (576, 1536), (1, 7)])
def test_the_product_is_that_of_torch_within_rounding(shape, bias):
    x, layer = random_linear(17, shape[1], shape[0], bias)
    expected = F.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with onednn_products():
        found = linear(x, layer.weight, layer.bias)
    assert found.shape == expected.shape
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@needs_onednn
def test_rows_that_do_not_lie_together_give_the_same_product():
    x, layer = random_linear()
    with onednn_products():
        assert torch.allclose(
            linear(x[:, ::2], layer.weight), F.linear(x[:, ::2].contiguous(), layer.weight), atol=1e-5
        )
        assert linear(x[:, :0], layer.weight).shape == (3, 0, 40)


def test_torch_products_are_torchs_to_the_bit():
    x, layer = random_linear(rows=512, inputs=576, outputs=1536)
    with onednn_products(), torch_products(), faster_products(layer):
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


@needs_onednn
def test_a_module_computes_by_onednn_inside_the_block_and_as_before_after_it():
    x, layer = random_linear(rows=512, inputs=576, outputs=576)
    before = layer(x)
    with onednn_products(), faster_products(nn.Sequential(layer)):
        inside = layer(x)
    with onednn_products():
        assert torch.equal(inside, linear(x, layer.weight, layer.bias))
    assert "forward" not in layer.__dict__
    assert torch.equal(layer(x), before)


def test_linears_are_restored_when_the_block_fails():
    _, layer = random_linear()
    with pytest.raises(KeyError), onednn_products(), faster_products(layer):
        assert "forward" in layer.__dict__
        raise KeyError
    assert "forward" not in layer.__dict__


def test_a_block_within_a_block_leaves_the_outer_one_in_force():
    _, layer = random_linear()
    with onednn_products(), faster_products(layer):
        with faster_products(layer):
            pass
        assert "forward" in layer.__dict__
    assert "forward" not in layer.__dict__


def test_a_forward_that_somebody_replaced_and_a_subclass_are_left_alone():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    x, layer = random_linear()
    layer.forward = lambda x: torch.zeros(1)
    doubled = Doubled(48, 40).requires_grad_(False)
    with onednn_products(), faster_products(nn.ModuleList([layer, doubled])):
        assert torch.equal(layer(x), torch.zeros(1))
        assert torch.allclose(doubled(x), 2 * F.linear(x, doubled.weight, doubled.bias), atol=1e-5)
    assert torch.equal(layer(x), torch.zeros(1))


def test_a_gradient_still_flows():
    x, layer = random_linear()
    layer.requires_grad_(True)
    with onednn_products(), faster_products(layer):
        layer(x).sum().backward()
    assert torch.allclose(layer.weight.grad, x.sum((0, 1)).expand(40, 48), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_computed_as_torch_does(dtype):
    x, layer = random_linear()
    x, layer = x.to(dtype), layer.to(dtype)
    with onednn_products(), faster_products(layer):
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def missing(x, weight, bias):
    return torch.ops.mkldnn._no_such_operator(x, weight, bias)


def failing(x, weight, bias):
    raise RuntimeError("not built with it")


def wrong(x, weight, bias):
    return F.linear(x, weight, bias) * 1.01


def misshapen(x, weight, bias):
    return F.linear(x, weight, bias)[0]


@pytest.mark.parametrize("product", [missing, failing, wrong, misshapen])
def test_an_operator_that_is_missing_fails_or_differs_is_not_used(product):
    assert _checked_onednn(product) is None


def test_without_the_operator_the_product_is_torchs(monkeypatch):
    monkeypatch.setattr("calprune.layers.products._checked_onednn", lambda: None)
    x, layer = random_linear()
    with onednn_products(), faster_products(layer):
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_sums_of_halves_are_float64s_to_rounding_and_the_switch_is_as_it_was():
    x = torch.randn(1500, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected, switch = x.double().T @ x.double(), torch.backends.mkldnn.matmul
    before = switch.fp32_precision
    for found in (gram(x), gram(x[:, ::2]), gram(x[:0])):
        assert found.dtype == torch.float32 and switch.fp32_precision == before
    torch.testing.assert_close(gram(x).double(), expected, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(gram(x[:, ::2]).double(), expected[::2, ::2], rtol=1e-5, atol=1e-3)
    exact = gram(x.float() + 1e-3)  # no halves: the same product would round them
    torch.testing.assert_close(exact.double(), (x.float() + 1e-3).double().T @ (x.float() + 1e-3).double(),
                               rtol=1e-5, atol=1e-3)  # fmt: skip


def test_an_error_leaves_the_switch_as_it_was(monkeypatch):
    switch = torch.backends.mkldnn.matmul
    before, x = switch.fp32_precision, torch.ones(2, 2)
    monkeypatch.setattr(torch, "mm", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError):
        products._gram_of_halves(x)
    assert switch.fp32_precision == before


def test_a_switch_that_the_user_has_set_is_left_alone(monkeypatch):
    switch, x = torch.backends.mkldnn.matmul, torch.ones(4, 2)
    before = switch.fp32_precision
    try:
        switch.fp32_precision = "ieee"
        monkeypatch.setattr(torch, "mm", lambda *_: pytest.fail("the product that needs the switch"))
        assert torch.equal(products._gram_of_halves(x), 4 * torch.ones(2, 2)) and switch.fp32_precision == "ieee"
    finally:
        switch.fp32_precision = before


def test_torchs_own_products_of_halves_are_torchs_to_the_bit():
    x = torch.randn(300, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch_products():
        assert torch.equal(gram(x), F.linear(x.float().T, x.float().T))
