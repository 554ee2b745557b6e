"""What a training process asks of its libraries changes no number beyond rounding, and is decided without timing."""

import sys

import pytest
import torch

from clstm_core.native import products
from clstm_core.native.memory import keep_freed_memory


@pytest.fixture
def undone():
    """Whatever was decided is forgotten, and torch's setting put back."""
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    products.faster_products.cache_clear()
    yield matmul
    matmul.fp32_precision = before
    products.faster_products.cache_clear()


def test_products_stay_those_of_float32(undone):
    said = products.faster_products()
    assert said.startswith("float32 products by")
    a, b = torch.randn(300, 200), torch.randn(200, 100)
    exact = a.double() @ b.double()
    assert ((a @ b - exact).abs().max() / exact.abs().max()) < 1e-5


def test_an_intel_processor_is_left_to_torch(undone, monkeypatch):
    monkeypatch.setattr(products, "_maker", lambda: products.MKL_IS_FOR)
    undone.fp32_precision = "ieee"
    assert products.faster_products() == "float32 products by torch's choice"
    assert undone.fp32_precision == "ieee"


def test_where_the_processor_would_round_nothing_is_changed(undone, monkeypatch):
    monkeypatch.setattr(products, "_maker", lambda: "AuthenticAMD")
    monkeypatch.setattr(products, "_error", lambda: 1e-3)
    undone.fp32_precision = "ieee"
    assert "would round" in products.faster_products()
    assert undone.fp32_precision == "ieee"


def test_freed_memory_can_be_kept():
    assert keep_freed_memory() == sys.platform.startswith("linux")
