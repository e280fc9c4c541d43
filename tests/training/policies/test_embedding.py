"""Gradients of lookups as products with one-hot rows, beside torch's own."""

import importlib

import pytest
import torch

from training.policies.networks import embedding, nethack_screen
from training.policies.networks.embedding import embedder, lookup, one_hot_product, product_in_chunks
from training.policies.networks.nethack_screen import ScreenEncoder, ScreenSizes

# Cells, rows, features; characters and colours of a small policy and of the largest, and what fills no block.
SHAPES = [(1, 256, 32), (777, 256, 32), (3001, 256, 5), (2048, 128, 16), (100, 128, 2)]


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Lookups go the way of a GPU, on the CPU."""
    monkeypatch.setattr(embedding, "by_product", lambda device: True)


@pytest.fixture
def kernel(monkeypatch):
    """The Triton kernel, on the CPU."""
    pytest.importorskip("triton", reason="Triton is not installed: the kernel of the embedding's gradient is untested")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    from training.policies.networks import one_hot

    return importlib.reload(one_hot).product


def cells_of(cells, rows, features, dtype):
    """Codes, most of them the same, and values that are columns of a wider array, as after a concatenation."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.where(
        torch.rand(cells, generator=generator) < 0.7, 32, torch.randint(rows, (cells,), generator=generator)
    )
    return codes.byte(), torch.randn(cells, features + 3, generator=generator).to(dtype)[:, 2 : 2 + features]


def summed(codes, values, rows):
    """In double precision, in which sums of bfloat16 are exact."""
    return torch.zeros(rows, values.shape[1], dtype=torch.double).index_add(0, codes.long(), values.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_sums_as_double_precision_does(kernel, shape, dtype):
    codes, values = cells_of(*shape, dtype)
    got = kernel(codes, values, shape[1])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), summed(codes, values, shape[1]), atol=1e-4, rtol=1e-5)


def test_more_programs_than_one_share_the_cells_in_the_kernel(kernel, monkeypatch):
    from training.policies.networks import one_hot

    monkeypatch.setattr(one_hot, "PROGRAMS", 3)
    codes, values = cells_of(32 * 7 + 5, 128, 16, torch.float32)
    torch.testing.assert_close(kernel(codes, values, 128).double(), summed(codes, values, 128), atol=1e-4, rtol=1e-5)
    assert torch.equal(kernel(codes, values, 128), kernel(codes, values, 128))
    assert not kernel(codes[:0], values[:0], 128).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_without_triton_the_sums_are_the_same(shape, dtype, monkeypatch):
    monkeypatch.setattr(embedding, "_CHUNK", 1000)
    codes, values = cells_of(*shape, dtype)
    for got in (product_in_chunks(codes, values, shape[1]), one_hot_product(codes, values, shape[1])):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), summed(codes, values, shape[1]), atol=1e-4, rtol=1e-5)


def test_torch_can_compile_the_product():
    torch.library.opcheck(one_hot_product, (*cells_of(50, 128, 4, torch.float32), 128))


@pytest.mark.parametrize("count", [20, 100], ids=["few", "many"])  # of many a CPU embeds every pair first
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeddings_and_their_gradients_are_torchs(count, dtype, monkeypatch):
    monkeypatch.setattr(embedding, "_CHUNK", 10_000)
    torch.manual_seed(0)
    tables = [torch.randn(rows, features, requires_grad=True) for rows, features in ((256, 8), (128, 4))]
    cells = torch.where(torch.rand(count, 21, 80) < 0.7, 32 * 128, torch.randint(256 * 128, (count, 21, 80)))
    weigh = torch.randn(count, 12, 21, 80).contiguous(memory_format=torch.channels_last)
    found = []
    for way in (False, True):
        monkeypatch.setattr(embedding, "by_product", lambda device, way=way: way)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            features = embedder(*tables, cells)(cells)
        assert features.is_contiguous(memory_format=torch.channels_last)
        found.append((features, torch.autograd.grad((features.double() * weigh).sum(), tables)))
    (wanted, theirs), (got, ours) = found
    assert got.dtype == dtype  # features stay in the arithmetic of the run
    torch.testing.assert_close(got, wanted.to(dtype), atol=0, rtol=0)
    for mine, plain in zip(ours, theirs, strict=True):
        assert mine.dtype == torch.float32
        bound = 1e-5 if dtype == torch.float32 else 2**-9  # the gradient of a feature is rounded to the run's type
        assert (mine - plain).norm() < bound * plain.norm()


@pytest.mark.parametrize("paper", [False, True])
def test_the_encoder_learns_alike_either_way(as_on_a_gpu, monkeypatch, paper):
    torch.manual_seed(0)
    encoder = ScreenEncoder(ScreenSizes.of_paper(32) if paper else ScreenSizes.scaled(32, family=1)).double()
    for module in encoder.modules():
        if isinstance(module, nethack_screen.ResidualPair):
            torch.nn.init.normal_(module.second.weight, std=0.1)
    chars, colors = torch.randint(256, (6, 24, 80)).byte(), torch.randint(128, (6, 24, 80)).byte()
    cursor = torch.tensor([[1, 0], [21, 79], [5, 5], [9, 40], [10, 10], [3, 70]]).byte()
    chars[3], colors[3] = chars[2], colors[2]  # a CPU reads this map once
    # The status lines are float32 for want of a type to follow.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    gradients = []
    for way in (True, False):
        monkeypatch.setattr(embedding, "by_product", lambda device, way=way: way)
        y = encoder(chars, colors, cursor)
        gradients.append(torch.autograd.grad(y.square().sum(), list(encoder.parameters())))
    for ours, plain in zip(*gradients, strict=True):
        assert (ours - plain).norm() <= 1e-5 * plain.norm()


def test_a_table_too_large_for_a_product_is_a_mistake(as_on_a_gpu):
    with pytest.raises(ValueError, match="at most 256 rows, got 257"):
        lookup(torch.zeros(257, 2), torch.zeros(3, dtype=torch.long))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU: the kernel was not run on one")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (3_000_000, 256, 32)])
def test_a_gpu_sums_as_double_precision_does(shape, dtype):
    codes, values = cells_of(*shape, dtype)
    got = one_hot_product(codes.cuda(), values.cuda(), shape[1]).cpu()
    exact = summed(codes, values, shape[1])
    assert (got.double() - exact).norm() <= 1e-5 * exact.norm()
