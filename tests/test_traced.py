"""The derivatives by hand of ``networks.traced`` beside PyTorch's, of every kind of layer, and which networks have them."""

import pytest
import torch
from torch.func import functional_call, grad

from distillation.networks.build import build, extent
from distillation.networks.names import parse
from distillation.networks.traced import NUMBERS, Traced, traceable
from distillation.runtime.random import generator

CLASSES = 5


@pytest.mark.parametrize("word", ["ConvNetW4", "ConvNetW4D2NN", "ConvNetW4D2NP", "ConvNetW3-5"])
@pytest.mark.parametrize("shape", [(3, 17), (1, 28)])
def test_first_and_second_derivatives_are_those_of_pytorch(word, shape):
    channels, size = shape
    draws = generator(0, "traced")
    network = build(word, channels, size, CLASSES, draws).double().requires_grad_(False)
    named = {name: p + 0.1 * torch.randn(p.shape, generator=draws) for name, p in network.named_parameters()}
    vector = torch.cat([p.flatten() for p in named.values()])
    direction = torch.randn(vector.shape, generator=draws, dtype=torch.float64)
    images = torch.randn(4, channels, size, size, generator=draws, dtype=torch.float64)
    labels = torch.tensor([0, 3, 3, 1])

    def loss(vector, images):
        parts = vector.split([p.numel() for p in named.values()])
        parameters = {name: part.view(p.shape) for (name, p), part in zip(named.items(), parts, strict=True)}
        return torch.nn.functional.cross_entropy(functional_call(network, parameters, (images,)), labels)

    def along(vector, images):
        return grad(loss)(vector, images) @ direction

    traced = Traced(network)
    gradient, trace = traced.gradient(vector, images, labels)
    torch.testing.assert_close(gradient, grad(loss)(vector, images), rtol=1e-9, atol=1e-11)
    on_images, on_vector, value = traced.product_gradients(vector, trace, direction)
    wanted = grad(along, (0, 1))(vector, images)
    torch.testing.assert_close(on_vector, wanted[0], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(on_images, wanted[1], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(value, along(vector, images), rtol=1e-9, atol=1e-11)
    alone, nothing, _ = traced.product_gradients(vector, trace, direction, weights=False)
    assert torch.equal(alone, on_images) and nothing == 0


def test_a_trace_is_no_larger_than_stated():
    for word in ("ConvNetW8", "ConvNetW8D2NP"):
        network = build(word, 3, 32, CLASSES, generator(0, "traced"))
        vector = torch.cat([p.detach().flatten() for p in network.parameters()])
        _, trace = Traced(network).gradient(vector, torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
        kept = [each for left in trace.kept for each in (left if isinstance(left, tuple) else (left,))]
        held = {t.data_ptr(): t.numel() for t in [*kept, *trace.gradients] if isinstance(t, torch.Tensor)}
        assert sum(held.values()) <= NUMBERS * 2 * extent(word, 3, 32, CLASSES)[1]


@pytest.mark.parametrize(
    "word", ["ConvNetGN", "ConvNetLN", "ConvNetBN", "ConvNetAS", "ConvNetMP", "ResNet18", "AlexNet", "MLP"]
)
def test_other_networks_are_left_to_pytorch(word):
    assert not traceable(parse(word)) and traceable(parse("ConvNetW64D2NN"))
