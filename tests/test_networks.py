"""Networks: words, published counts, shapes, initialisation, norms."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from distillation.networks import names as words
from distillation.networks.alexnet import LocalResponseNorm
from distillation.networks.build import build, flops, has_features, initialise, parameters
from distillation.networks.norms import InstanceNorm, norm
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator


def made(word, channels=3, size=32, classes=10, seed=0):
    return build(word, channels, size, classes, generator(seed, "test"))


@pytest.mark.parametrize(
    ("word", "channels", "size", "classes", "count"),
    [
        ("ConvNet", 3, 32, 10, 320_010),
        ("ConvNet", 3, 32, 100, 504_420),
        ("ConvNet", 1, 28, 10, 317_706),
        ("ConvNetW128-256-512BN", 3, 32, 512, 5_675_520),
        ("ConvNetW64-128-256-512BN", 3, 64, 512, 5_747_712),
        ("ConvNetW32-64-128-256-512BN", 3, 224, 2048, 52_952_832),
        ("VGG11BN", 3, 64, 512, 10_275_072),
        ("AlexNetBN", 3, 64, 512, 8_135_360),
        ("MobileNetV2", 3, 64, 512, 1_735_376),
        ("AlexCifarNet", 3, 32, 10, 1_756_426),
        ("ResNet10BN_P2", 3, 64, 512, 5_160_768),
        ("ResNet10W32BN", 3, 32, 100, 1_252_100),  # by hand
        ("ResNet18BN", 3, 32, 10, 11_173_962),
        ("ResNet18BN_P2", 3, 64, 10, 11_173_962),
        ("ResNet18BN", 3, 224, 1000, 11_689_512),  # torchvision's
        ("ResNet50BN", 3, 224, 1000, 25_557_032),
    ],
)
def test_published_parameter_counts(word, channels, size, classes, count):
    assert parameters(made(word, channels, size, classes)) == count


@pytest.mark.parametrize(
    ("word", "channels", "size", "features"),
    [
        ("ConvNet", 3, 32, 2048),
        ("ConvNet", 1, 28, 2048),
        ("ConvNet", 3, 28, 1152),
        ("ConvNetNP", 1, 8, 8192),
        ("ConvNetD4LN", 3, 64, 2048),
        ("ConvNetLN", 1, 28, 2048),
        ("ConvNetW16-8GNMPAL", 1, 8, 32),
        ("AlexNet", 3, 32, 3072),
        ("AlexNet", 1, 28, 3072),
        ("AlexNetIN", 1, 8, 192),
        ("VGG11", 3, 32, 512),
        ("VGG11BN", 1, 28, 512),
        ("ResNet18", 1, 28, 512),
        ("ResNet10_AP", 3, 32, 8192),
        ("ResNet18BN_AP", 1, 28, 4608),
        ("ResNet18BN", 1, 8, 512),
        ("ResNet10BN", 3, 128, 512),
        ("ResNet10W32BN", 3, 32, 256),
        ("ResNet50W16BN", 3, 128, 512),
        ("ResNet50", 3, 9, 2048),
        ("MobileNetV2", 1, 8, 1280),
        ("AlexCifarNet", 3, 32, 192),
        ("AlexCifarNet", 1, 9, 192),
        ("LeNet", 3, 32, 84),
        ("LeNet", 1, 28, 84),
        ("LeNet", 1, 16, 84),
        ("MLP", 1, 8, 128),
    ],
)
def test_shapes_and_features(word, channels, size, features):
    network = made(word, channels, size, 7).eval()
    x = torch.randn(2, channels, size, size, generator=generator(0, "x"))
    logits = network(x)
    assert logits.shape == (2, 7) and logits.isfinite().all()
    assert network.features_size == network.classifier.in_features == features
    if has_features(network):
        embedded = network.embed(x)
        assert embedded.shape == (2, features)
        assert torch.equal(network.classifier(embedded), logits)
        assert not torch.equal(logits[0], logits[1])  # the network sees its images
    else:
        with pytest.raises(BadInput, match="has no features"):
            network.embed(x)


@pytest.mark.parametrize(
    ("word", "size", "features"),
    [
        ("ConvNetW128-256-512BN", 32, 8192),
        ("ConvNetW64-128-256-512BN", 64, 8192),
        ("ConvNetW32-64-128-256-512BN", 224, 25088),
        ("VGG11BN", 32, 512),
        ("VGG11BN", 64, 2048),
        ("AlexNetBN", 64, 12288),
        ("MobileNetV2", 64, 1280),
        ("ResNet10BN_P2", 64, 512),
        ("ResNet18BN_P2", 64, 512),
    ],
)
def test_the_networks_of_krr_st_have_the_published_features(word, size, features):
    assert made(word, 3, size).features_size == features


@pytest.mark.parametrize(("word", "side"), [("ResNet18BN", 4), ("ResNet18BN_P2", 5)])
def test_padding_by_two_enlarges_the_maps(word, side):
    maps = made(word).body[:-1].eval()(torch.randn(1, 3, 32, 32))
    assert maps.shape == (1, 512, side, side)


def some(tokens):
    return st.sampled_from(("", *tokens))


CONVNETS = st.tuples(
    some(("D1", "D2", "D3", "D4", "W64", "W128", "W12D2", "W8-16", "W4-4-4", "W128-256-512", "D2W8-16")),
    some(("AR", "AS", "AL", "ASwish")),
    some(("IN", "BN", "LN", "GN", "NN")),
    some(("AP", "MP", "NP")),
).flatmap(lambda tokens: st.permutations(tokens).map(lambda order: "ConvNet" + "".join(order)))
RESNETS = st.tuples(
    *map(
        st.sampled_from,
        (
            *(("ResNet10", "ResNet18", "ResNet50"), ("", "W32", "W64"), ("", "IN", "BN"), ("", "_AP"), ("", "_P2")),
            ("", "_He"),
        ),
    )
).map("".join)
OTHERS = st.sampled_from(
    ("AlexNet", "AlexNetNN", "AlexNetBN", "VGG11IN", "VGG11BN", "MobileNetV2", "AlexCifarNet", "LeNet", "MLP")
)


@given(st.one_of(CONVNETS, RESNETS, OTHERS))
def test_one_canonical_spelling(word):
    spelling = words.canonical(word)
    assert words.parse(spelling) == words.parse(word)
    assert words.canonical(spelling) == spelling
    assert len(spelling) <= len(word)


@settings(max_examples=20, deadline=None)
@given(CONVNETS, st.sampled_from((1, 3)), st.sampled_from((8, 11, 16, 28, 33)))
def test_every_convnet_runs_or_says_why_not(word, channels, size):
    try:
        words.check(word, channels, size)
    except BadInput as error:
        assert "halves" in str(error)
    else:
        network = made(word, channels, size, 2).eval()
        assert network(torch.randn(1, channels, size, size)).shape == (1, 2)


@pytest.mark.parametrize(
    ("word", "spelling"),
    [
        ("ConvNetD3W128ARINAP", "ConvNet"),
        ("ConvNetD4W64BNASwishMP", "ConvNetD4W64ASwishBNMP"),
        ("ConvNetASwishBN", "ConvNetASwishBN"),
        ("ConvNetW64-64-64-64", "ConvNetD4W64"),
        ("ConvNetBND3W128-256-512", "ConvNetW128-256-512BN"),
        ("AlexNetNN", "AlexNet"),
        ("VGG11IN", "VGG11"),
        ("ResNet18IN_P2_AP", "ResNet18_AP_P2"),
        ("ResNet18BN_P2W64", "ResNet18BN_P2"),
        ("ResNet18_He0_P2BN", "ResNet18BN_P2_He0"),
        ("ResNet10BNW32", "ResNet10W32BN"),
        ("MobileNetV2BN", "MobileNetV2"),
    ],
)
def test_spellings(word, spelling):
    assert words.canonical(word) == spelling
    assert made(word, 3, 32, 2).name == spelling


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("Convnet", "did you mean ConvNet"),
        ("resnet18bn", "did you mean ResNet18BN"),
        ("ResNet181", "names no network"),
        ("ConvNetD0", "names no network"),
        ("ConvNetD100", "names no network"),
        ("ConvNetW64-", "names no network"),
        ("ConvNetALN", "names no network"),
        ("LeNetBN", "names no network"),
        ("", "write ConvNet with D<blocks>"),
        ("ConvNetBNIN", "says its norm twice"),
        ("ConvNetD3D3", "says its depth twice"),
        ("ConvNetD2W8-8-8", "lists 3 widths but says D2"),
        ("ConvNetW30GN", "multiples of 4"),
        ("ResNet18W0", "names no network"),
        ("ResNet18W32-64", "names no network"),
        ("ResNet18D3", "names no network"),
        ("ResNet18W32W32", "says its widths twice"),
        ("ResNet18BN_He_He0", "says its init twice"),
        ("ResNet10BN_He0", "names no network"),
        ("ConvNet_He", "names no network"),
    ],
)
def test_words_that_name_nothing(word, sentence):
    with pytest.raises(BadInput, match=sentence):
        words.parse(word)


@pytest.mark.parametrize(
    ("word", "channels", "size", "sentence"),
    [
        ("ConvNetD6", 3, 32, r"ConvNetD6 halves 32 pixels 6 times; it needs at least 64 pixels \(or fewer blocks\)\."),
        ("ConvNetD4", 1, 8, "at least 16 pixels"),
        ("VGG11", 3, 28, "VGG11 halves 28 pixels 5 times; it needs at least 32 pixels"),
        ("LeNet", 1, 8, "at least 16 pixels"),
        ("ResNet18", 1, 8, "use ResNet18BN or larger"),
        ("ResNet18_AP", 3, 8, "use ResNet18BN_AP or larger"),
        ("ResNet18W32", 3, 8, "use ResNet18W32BN or larger"),
        ("ResNet18BN_AP", 3, 7, "at least 8 pixels"),
    ],
)
def test_too_deep_for_the_images(word, channels, size, sentence):
    with pytest.raises(BadInput, match=sentence):
        words.check(word, channels, size)
    with pytest.raises(BadInput, match=sentence):
        made(word, channels, size)


def test_checking_needs_no_torch():
    code = "import sys; from distillation.networks.names import check; check('ResNet18', 3, 32); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_come_from_the_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = made("ResNet10"), made("ResNet10"), made("ResNet10", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    pairs = list(zip(first.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_default_initialisation_is_pytorchs():
    network = made("ConvNetD1W8")
    torch.manual_seed(generator(0, "test").initial_seed())
    conv, linear = nn.Conv2d(3, 8, 3), nn.Linear(8 * 16 * 16, 10)
    torch.testing.assert_close(network.body[0].weight, conv.weight, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(network.body[0].bias, conv.bias, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(network.classifier.weight, linear.weight, rtol=1e-6, atol=1e-8)


def test_initialising_again_forgets_training():
    network = made("ResNet10BN", size=8)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(4, 3, 8, 8)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    network.double()
    initialise(network, generator(0, "test"))
    for name, value in network.float().state_dict().items():
        assert torch.equal(value, start[name]), name


DRAWN = {  # standard deviations of convolutions (outputs, inputs, k, k): PyTorch's default, and kaiming_normal by fan out
    "default": lambda weight: (3 * weight[0].numel()) ** -0.5,
    "he": lambda weight: (2 / weight[:, 0].numel()) ** 0.5,
}


@pytest.mark.parametrize(
    ("word", "size", "stem", "rest"),
    [
        ("ResNet18BN", 32, "default", "default"),
        ("ResNet18", 224, "default", "default"),
        ("ResNet10BN_P2", 32, "default", "default"),
        ("ResNet18BN_He", 32, "default", "he"),
        ("ResNet18BN_P2_He", 64, "default", "he"),
        ("ResNet18BN_P2_He0", 64, "default", "he"),
        ("ResNet18BN_He", 224, "he", "he"),
        ("ResNet10BN_P2_He", 64, "default", "he"),
        ("ResNet50BN_He", 32, "default", "he"),
        ("ResNet18BN_AP_He", 32, "default", "he"),
    ],
)
def test_convolutions_are_drawn_as_the_word_says(word, size, stem, rest):
    weights = [module.weight.detach() for module in made(word, 3, size).modules() if isinstance(module, nn.Conv2d)]
    for weight, rule in zip(weights, [stem, *[rest] * (len(weights) - 1)], strict=True):
        # six standard errors of the standard deviation of as many numbers
        tolerance = 6 * (2 * weight.numel()) ** -0.5
        assert float(weight.std()) == pytest.approx(DRAWN[rule](weight), rel=tolerance)
        assert abs(float(weight.mean())) < 6 * DRAWN[rule](weight) * weight.numel() ** -0.5
        largest = float(weight.abs().max())
        if rule == "default":
            assert largest <= weight[0].numel() ** -0.5, "a uniform distribution ends here"
        else:
            assert largest > 3 * DRAWN["he"](weight), "a normal one does not"


@pytest.mark.parametrize("size", [32, 224])
def test_he_is_the_initialisation_of_torchvision(size):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    published = resnet18(num_classes=10)
    if size == 32:  # as SRe2L, CDA and SC-DD put it in
        published.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    ours = made("ResNet18BN_He", 3, size)
    for name in ("weight", "bias"):
        pairs = [
            [getattr(module, name).detach() for module in network.modules() if getattr(module, name, None) is not None]
            for network in (ours, published)
        ]
        by_shape = [sorted(parts, key=lambda part: tuple(part.shape)) for parts in pairs]
        for one, other in zip(*by_shape, strict=True):
            assert one.shape == other.shape
            tolerance = 8 * one.numel() ** -0.5  # both are samples
            assert float(one.std(correction=0)) == pytest.approx(float(other.std(correction=0)), rel=tolerance)


def silent(word):
    return [not block.branch[-1].weight.any() for block in made(word).body if hasattr(block, "branch")]


def test_resnet10_and_he0_alone_begin_with_silent_branches():
    for word in ("ResNet10", "ResNet10BN_P2_He", "ResNet18BN_P2_He0", "ResNet50BN_He0"):
        assert all(silent(word)), word
    for word in ("ResNet18", "ResNet18BN_He", "ResNet50BN_He"):
        assert not any(silent(word)), word


def test_the_words_of_old_results_draw_the_weights_that_they_drew():
    convolution = made("ResNet18BNW8").body[3].branch[0].weight
    draws = generator(0, "test")
    sizes = [weight.shape for weight in made("ResNet18BNW8").parameters() if weight.dim() == 4]
    for shape in sizes[:2]:
        bound = shape[1:].numel() ** -0.5
        drawn = torch.empty(shape).uniform_(-bound, bound, generator=draws)
    assert torch.equal(convolution, drawn)


def test_running_statistics_move_in_training_only():
    network = made("ConvNetW8BN")
    x = torch.randn(4, 3, 32, 32)
    running = network.body[1].running_mean
    network.eval()(x)
    assert not running.any()
    network.train()(x)
    assert running.any()


def written_out(x, weight, bias):
    """Instance norm as a formula."""
    variance, mean = torch.var_mean(x, (2, 3), unbiased=False, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + 1e-5) * weight[:, None, None] + bias[:, None, None]


def test_instance_norm_is_mean_variance_and_scale():
    layer = InstanceNorm(5).double()
    with torch.no_grad():
        layer.weight.normal_(generator=generator(0, "weight"))
        layer.bias.normal_(generator=generator(0, "bias"))
    x = (3 + 2 * torch.randn(4, 5, 6, 7, dtype=torch.float64, generator=generator(0, "x"))).requires_grad_()
    g = torch.randn(x.shape, dtype=torch.float64, generator=generator(0, "g"))
    inputs = (x, layer.weight, layer.bias)
    ours, plain = layer(x), written_out(*inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    assert torch.equal(layer.eval()(x), ours)
    for a, b in zip(*(torch.autograd.grad(y, inputs, g) for y in (ours, plain)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_instance_norm_twice_differentiable():
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, generator=generator(0, "x")).requires_grad_()
    assert torch.autograd.gradgradcheck(InstanceNorm(2).double(), (x,))


def test_local_response_norm_is_pytorchs():
    x = (9 * torch.randn(2, 7, 3, 3, dtype=torch.float64, generator=generator(0, "x"))).requires_grad_()
    ours, theirs = LocalResponseNorm()(x), nn.LocalResponseNorm(4, 0.001 / 9, 0.75, 1)(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    g = torch.randn(x.shape, dtype=torch.float64, generator=generator(0, "g"))
    (a,), (b,) = (torch.autograd.grad(y, x, g) for y in (ours, theirs))
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_norms_by_token():
    x = torch.randn(3, 8, 5, 5, generator=generator(0, "x"))
    torch.testing.assert_close(norm("LN", 8, 5)(x), F.layer_norm(x, (8, 5, 5)))
    torch.testing.assert_close(norm("GN", 8)(x), F.group_norm(x, 4))
    torch.testing.assert_close(norm("BN", 8)(x), F.batch_norm(x, None, None, training=True))
    assert norm("NN", 8)(x) is x


def test_flops():
    by_hand = 2 * (32 * 32 * 128 * 27 + 16 * 16 * 128 * 1152 + 8 * 8 * 128 * 1152 + 2048 * 10)
    assert flops("ConvNet", 3, 32, 10) == by_hand
    assert flops("MLP", 1, 8, 10) == 2 * (64 * 128 + 128 * 128 + 128 * 10)
