"""Self-supervised teachers: views against torchvision, losses against float64, the same bits after any interruption."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from lightly.loss import DINOLoss
from lightly.utils.benchmarking import knn_predict
from torch import nn
from torchvision.transforms.v2 import functional as published

from distillation.augment.crops import resized
from distillation.augment.standard import resized_crop_flip
from distillation.data.real import RealSet
from distillation.data.spaces import Space
from distillation.networks.build import build
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator, seeded
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import objective as job
from distillation.teachers import objectives
from distillation.teachers.norms import statistics
from distillation.teachers.pool import FILE, Pool
from distillation.teachers.selfsupervised import colours, crops, norms, probe
from distillation.teachers.selfsupervised.loop import Loop
from distillation.teachers.selfsupervised.model import Encoder, Moment, by_size
from distillation.teachers.selfsupervised.optimizers import Lars, optimizer_of, rate
from distillation.teachers.selfsupervised.settings import KnnSettings, Pretraining, ProbeSettings
from distillation.teachers.selfsupervised.views import View, asymmetric, blurred, draw, show
from tests.helpers.data import noise_set, ramp_set
from tests.helpers.selfsupervised import PROBE, PUBLISHED, RESIDUAL, WORD, pool_settings_of, section, word_of

pytestmark = pytest.mark.usefixtures("own_root")

torch.set_num_threads(1)

OBJECTIVES = ["moco_v2", "moco_v3", "swav", "dino", "barlow_twins"]


def draws(name="draws"):
    return generator(0, name)


def model_of(name, word=None, **changes):
    """A model and its settings, made as for a teacher."""
    settings = objectives.load(name).settings(**section(name, **changes))
    network = build(word or word_of(name), 1, 8, 3, draws("network"))
    with seeded(draws("model")), torch.no_grad():
        return objectives.load(name).make.keywords["model"](network, settings, "fp32"), settings


def loop_of(name, word=None, **changes):
    model, settings = model_of(name, word, **changes)
    data = ramp_set()
    views = model.views(settings, 8)
    return Loop(model, views, data.train.images[:40], data.space.encode, settings, 0, "t", flip=False)


def images(count=6, channels=3, size=16):
    return torch.rand(count, channels, size, size, generator=draws("images"))


def batches(count=2):
    return [torch.randn(16, 1, 8, 8, generator=generator(0, "batch", i)) for i in range(count)]


def small_batch():
    return torch.randn(16, 1, 4, 4, generator=draws("small"))


def moment(epoch=0, done=0.0):
    return Moment(epoch, done, draws("moment"))


# Views


@given(st.integers(4, 64), st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(sorted), st.integers(0, 2**30))
def test_boxes_have_the_area_and_the_shape_asked_for(size, area, seed):
    top, left, height, width = resized(20, size, area, generator(seed, "boxes")).T
    assert (torch.stack([top, left]) >= 0).all() and (top + height <= size).all() and (left + width <= size).all()
    whole = (height == size) & (width == size)
    least, most = (share * size**2 for share in area)
    assert (whole | (((height + 0.5) * (width + 0.5) >= least) & ((height - 0.5) * (width - 0.5) <= most))).all()
    for a, b in ((height, width), (width, height)):
        assert (whole | ((a + 0.5) / (b - 0.5).clamp_min(0.1) >= 3 / 4 - 1e-9)).all()


VIEWS = st.builds(
    View,
    st.sampled_from((4, 16, 24)),
    st.sampled_from(((0.08, 1.0), (0.05, 0.14), (1.0, 1.0))),
    st.sampled_from(((0.4, 0.4, 0.4, 0.1), (0.8, 0.8, 0.8, 0.2), (0.0, 0.0, 0.0, 0.0))),
    st.sampled_from((0.0, 0.5, 1.0)),
    st.sampled_from((0.0, 0.5)),
)


@limits(max_examples=30, deadline=None)
@given(VIEWS, st.sampled_from((1, 3)), st.booleans())
def test_views_have_their_size_and_range_and_depend_on_nothing_else(view, channels, flip):
    shown_of = images(5, channels)
    state = torch.random.get_rng_state()
    drawn = draw(view, 5, 16, flip, draws())
    shown = show(shown_of, view, drawn)
    assert shown.shape == (5, channels, view.size, view.size)
    assert shown.min() >= -1e-6 and shown.max() <= 1 + 1e-6
    assert torch.equal(shown, show(shown_of, view, draw(view, 5, 16, flip, draws())))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert flip or not drawn.mirror.any()


def test_an_image_is_changed_by_its_own_numbers_alone():
    view = View(16, (0.2, 1.0), (0.4, 0.4, 0.4, 0.1), 0.5, 0.5)
    drawn, all_of_them = draw(view, 6, 16, True, draws()), images()
    fields = {name: value[2:4] for name, value in vars(drawn).items() if name != "order"}
    some = type(drawn)(**fields, order=drawn.order)
    torch.testing.assert_close(
        show(all_of_them[2:4], view, some), show(all_of_them, view, drawn)[2:4], atol=1e-6, rtol=0
    )


def test_chances_and_strengths_are_those_of_the_view():
    drawn = draw(View(16, (0.08, 1.0), (0.8, 0.4, 0.2, 0.1), 0.3, 0.2), 20_000, 16, True, draws())
    changed = (drawn.jitter != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(1)
    chances = [(drawn.mirror, 0.5), (changed, 0.8), (drawn.grey, 0.2), (drawn.sigma > 0, 0.3), (drawn.solarize, 0.2)]
    for chosen, chance in chances:
        assert chosen.float().mean() == pytest.approx(chance, abs=0.02)
    least, most = drawn.jitter.amin(0), drawn.jitter.amax(0)
    torch.testing.assert_close(least, torch.tensor([0.2, 0.6, 0.8, -0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(most, torch.tensor([1.8, 1.4, 1.2, 0.1]), atol=0.01, rtol=0)
    assert drawn.sigma[drawn.sigma > 0].min() >= 0.1 and drawn.sigma.max() <= 2


@pytest.mark.parametrize("size", [8, 16, 40])
def test_crops_are_torchvisions(size):
    whole, boxes = images(), resized(6, 16, (0.05, 1.0), draws())
    mirror = torch.tensor([True, False] * 3)
    made = crops.cut(whole, boxes, size, mirror)
    for image, box, flipped, result in zip(whole, boxes.tolist(), mirror, made, strict=True):
        wanted = published.resized_crop(image, *box, [size, size], antialias=True)
        torch.testing.assert_close(result, wanted.flip(2) if flipped else wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colours_are_torchvisions(name):
    numbers = torch.tensor([0.0, 0.5, 1.0, 1.5, 1.9, 0.2])
    numbers = (numbers - 1) / 2 if name == "hue" else numbers
    coloured = torch.cat([images(5), images(1).mean(1, keepdim=True).expand(1, 3, 16, 16)])  # the last has no colour
    made = getattr(colours, name)(coloured, numbers)
    for image, number, result in zip(coloured, numbers.tolist(), made, strict=True):
        wanted = getattr(published, f"adjust_{name}")(image, number)
        torch.testing.assert_close(result, wanted, atol=2e-5, rtol=0)


def test_grey_and_solarized_images_are_torchvisions():
    coloured = images()
    torch.testing.assert_close(colours.grey(coloured), published.rgb_to_grayscale(coloured), atol=1e-6, rtol=0)
    torch.testing.assert_close(colours.solarize(coloured), published.solarize(coloured, 128 / 255))


@pytest.mark.parametrize("size", [16, 32, 64])
def test_blurs_are_torchvisions(size):
    sharp, sigma = images(3, size=size), torch.tensor([0.0, 0.7, 2.0])
    made, width = blurred(sharp, sigma), 2 * (size // 20) + 1
    assert torch.equal(made[0], sharp[0])
    for image, each, result in zip(sharp[1:], sigma[1:].tolist(), made[1:], strict=True):
        wanted = published.gaussian_blur(image, [width, width], [each, each])
        torch.testing.assert_close(result, wanted, atol=1e-5, rtol=0)


def test_an_image_of_one_channel_has_no_colour_to_lose():
    grey, numbers = images(4, 1), torch.full((4,), 0.3)
    assert colours.saturation(grey, numbers) is colours.hue(grey, numbers) is colours.grey(grey) is grey


def test_the_second_of_two_views_alone_is_solarized():
    first, second = asymmetric(32, 0.08, [1.0, 0.1])
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)


# Optimisers


def test_lars_is_the_plain_loop_over_layers():
    with seeded(draws()):
        layers = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3, bias=False), nn.Linear(3, 2))
    nn.init.zeros_(layers[2].weight)
    plain = copy.deepcopy(layers).double()
    ours, velocity = Lars(layers.parameters(), 0.3, 0.9, 0.01, 0.02), {}
    for step in range(4):
        x = torch.randn(8, 5, generator=generator(step, "x"))
        for network in (layers, plain):
            network.zero_grad()
            network(x.to(network[0].weight.dtype)).square().sum().backward()
        ours.step()
        with torch.no_grad():
            for name, p in plain.named_parameters():
                g = p.grad
                if p.ndim > 1 and p.norm() > 0 and g.norm() > 0:
                    g = (g + 0.01 * p) * min(0.02 * p.norm() / (g.norm() + 0.01 * p.norm() + 1e-8) / 0.3, 1)
                velocity[name] = g + 0.9 * velocity.get(name, 0)
                p -= 0.3 * velocity[name]
    for a, b in zip(layers.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.double(), b, atol=1e-5, rtol=1e-5)


def pretraining(name, **changes):
    return Pretraining(**{key: PUBLISHED[name][key] for key in Pretraining.model_fields} | changes)


def test_adamw_spares_biases_and_norms():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    decayed, spared = optimizer_of(network.parameters(), pretraining("moco_v2", optimizer="adamw")).param_groups
    assert decayed["params"] == [network[0].weight] and decayed["weight_decay"] == PUBLISHED["moco_v2"]["weight_decay"]
    assert len(spared["params"]) == 3 and spared["weight_decay"] == 0


def test_the_rate_rises_and_falls():
    rates = [rate(pretraining("moco_v3", epochs=4, warmup=1), step, 10) for step in range(40)]
    assert rates[:10] == pytest.approx([0.03 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(0.3) and rates[25] == pytest.approx(0.15)
    assert rates[9:] == sorted(rates[9:], reverse=True) and 0 < rates[-1] < 0.01


# Objectives


def test_moco_v2_is_algorithm_1_in_float64():
    """Losses, queue, momentum copy and SGD of three epochs, from the views that the loop showed."""
    loop = loop_of("moco_v2", "ConvNetW4D2NN", splits=1, epochs=4, lr=0.3)
    model, settings, seen = loop.model, loop.settings, []
    model.register_forward_pre_hook(lambda _, shown: seen.append(shown[0]))
    online, key = (copy.deepcopy(encoder).double() for encoder in (model.online, model.momentum))
    queue, at, velocity = model.contrast.memory_bank.bank.double().clone(), 0, {}

    def output(encoder, x):
        return F.normalize(encoder.head(encoder.network.body(x.double()).flatten(1)), dim=1)

    for step in range(6):
        loop.advance()
        with torch.no_grad():
            for k, q in zip(key.parameters(), online.parameters(), strict=True):
                k.copy_(settings.ema * k + (1 - settings.ema) * q)
            keys = output(key, seen[-1][1])
        queries = output(online, seen[-1][0])
        logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ queue.T], 1) / settings.temperature
        online.zero_grad()
        F.cross_entropy(logits, torch.zeros(16, dtype=torch.long)).backward()
        queue[at : at + 16] = keys[: len(queue) - at]  # first in, first out
        at = at + 16 if at + 16 < len(queue) else 0
        with torch.no_grad():
            for name, p in online.named_parameters():
                if p.grad is not None:
                    velocity[name] = p.grad + settings.weight_decay * p + settings.momentum * velocity.get(name, 0)
                    p -= rate(settings, step, 2) * velocity[name]
    for ours, reference in ((model.online, online), (model.momentum, key)):
        for a, b in zip(ours.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(a.double(), b, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(model.contrast.memory_bank.bank.double(), queue, atol=2e-5, rtol=1e-4)


def test_barlow_twins_is_algorithm_1_in_float64():
    model, settings = model_of("barlow_twins")
    views, before = batches(), copy.deepcopy(model)
    a, b = (before.online(view).double() for view in views)
    a, b = ((z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (a, b))
    c, one = a.T @ b / len(a), torch.eye(settings.dim)
    wanted = settings.scale * ((c - one).square() * torch.where(one > 0, 1.0, settings.off_diagonal)).sum()
    loss = model(views, moment())
    torch.testing.assert_close(loss.double(), wanted, atol=1e-5, rtol=1e-5)
    weights = [each.online.head.layers[-1].weight for each in (model, before)]
    gradients = [torch.autograd.grad(each, weight)[0] for each, weight in zip((loss, wanted), weights, strict=True)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_moco_v3_contrasts_both_ways():
    model, settings = model_of("moco_v3")
    views = batches()
    with torch.no_grad():
        for p in model.online.parameters():  # so that the momentum copy differs
            p += 0.1 * torch.randn(p.shape, generator=draws("noise"))
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for k, q in zip(reference.momentum.parameters(), reference.online.parameters(), strict=True):
            k.copy_(0.995 * k + 0.005 * q)  # half way from 0.99 to 1
    queries = [F.normalize(reference.predictor(reference.online(view)).double(), dim=1) for view in views]
    keys = [F.normalize(reference.momentum(view).double(), dim=1) for view in views]
    wanted = 0.0
    for q, k in ((queries[0], keys[1]), (queries[1], keys[0])):
        wanted -= 2 * settings.temperature * (q @ k.T / settings.temperature).log_softmax(1).diagonal().mean()
    torch.testing.assert_close(model(views, moment(done=0.5)).double(), wanted, atol=1e-5, rtol=1e-5)


def test_only_the_projector_of_moco_v3_ends_in_a_batch_norm():
    model, _ = model_of("moco_v3")
    heads = [[type(layer).__name__ for layer in head.layers] for head in (model.online.head, model.predictor)]
    assert heads == [["Linear", "BatchNorm1d", "ReLU", "Linear", *end] for end in (["BatchNorm1d"], [])]
    assert all(head.layers[i].bias is None for head in (model.online.head, model.predictor) for i in (0, 3))


def test_swav_swaps_balanced_assignments():
    model, settings = model_of("swav", queue_start=0)
    model.queue.copy_(F.normalize(torch.randn(model.queue.shape, generator=draws("queue")), dim=2))
    views, reference = [*batches(), small_batch()], copy.deepcopy(model)
    prototypes = F.normalize(reference.prototypes.weight.double(), dim=1)
    z = [F.normalize(each.double(), dim=1) for each in by_size(reference.online, views)]
    scores, wanted = [each @ prototypes.T for each in z], 0.0
    for i in (0, 1):
        q = (torch.cat([scores[i], model.queue[i].double() @ prototypes.T]) / settings.epsilon).exp()
        for _ in range(settings.sinkhorn):
            q = q / q.sum(0, keepdim=True)  # every prototype is used alike
            q = q / q.sum(1, keepdim=True)  # every image once
        for j in {0, 1, 2} - {i}:
            wanted -= (q[:16] * (scores[j] / settings.temperature).log_softmax(1)).sum(1).mean() / 2 / 2
    loss = model(views, moment())
    torch.testing.assert_close(loss.double(), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.queue[:, :16].double(), torch.stack(z[:2]), atol=1e-5, rtol=1e-4)
    loss.backward()
    model.before_step(moment())
    assert model.prototypes.weight.grad is None  # they rest in the first epoch


def test_dino_says_what_its_centred_teacher_says():
    model, settings = model_of("dino")
    model.agree.center.copy_(torch.randn(model.agree.center.shape, generator=draws("center")) / 10)
    views, reference = [*batches(), small_batch()], copy.deepcopy(model)
    center = reference.agree.center[0].double()
    taught = [each.double() for each in by_size(reference.momentum, views[:2])]
    said = [each.double() / settings.temperature for each in by_size(reference.online, views)]
    temperature, wanted = settings.teacher, 0.0  # after two epochs of warm-up, of which the second has it already
    for i in (0, 1):
        p = ((taught[i] - center) / temperature).softmax(1)
        for j in {0, 1, 2} - {i}:
            wanted -= (p * said[j].log_softmax(1)).sum(1).mean() / 4
    loss = model(views, moment(epoch=1))
    torch.testing.assert_close(loss.double(), wanted, atol=1e-5, rtol=1e-5)
    moved = 0.9 * center + 0.1 * torch.cat(taught).mean(0)
    torch.testing.assert_close(model.agree.center[0].double(), moved, atol=1e-6, rtol=1e-5)
    loss.backward()
    model.before_step(moment(epoch=0))
    assert model.online.head.last_layer.weight_v.grad is None and model.learnt is model.momentum.network


@pytest.mark.parametrize("epochs", [0, 1, 2, 50])
def test_dinos_teacher_warms_up_as_in_its_code(epochs):
    """From the first temperature in the first epoch to the final one in the last epoch of the warm-up."""
    model, settings = model_of("dino", teacher_warmup=epochs)
    published = DINOLoss(4, settings.teacher_warm, settings.teacher, epochs).teacher_temp_schedule.tolist()
    found = [model._temperature(epoch) for epoch in range(60)]
    assert found == pytest.approx(published + [settings.teacher] * (60 - epochs), abs=1e-7)


def test_views_of_one_size_share_their_batch_norms():
    encoder = Encoder(build(RESIDUAL, 1, 8, 3, draws("network")), nn.Identity(), "fp32")
    large = batches()
    made = by_size(copy.deepcopy(encoder), [large[0], small_batch(), large[1]])
    torch.testing.assert_close(torch.cat([made[0], made[2]]), copy.deepcopy(encoder)(torch.cat(large)))
    assert made[1].shape == made[0].shape


def test_split_norms_keep_what_they_replace():
    network = build(RESIDUAL, 1, 8, 3, draws("network"))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.bias.data, module.running_mean, module.running_var):
                tensor += torch.rand(tensor.shape, generator=draws("norm"))
    before, x = copy.deepcopy(network).eval(), torch.randn(4, 1, 8, 8, generator=draws("x"))
    divided = norms.split(network, 2)
    assert any((m.weight == 0).all() for m in divided.modules() if isinstance(m, nn.BatchNorm2d)), "ends of blocks"
    torch.testing.assert_close(divided.eval().embed(x), before.embed(x))
    again = norms.whole(divided).state_dict()
    for name, value in before.state_dict().items():
        torch.testing.assert_close(again[name], value)


def test_split_norms_are_norms_of_the_parts():
    network = build(WORD, 1, 8, 3, draws("network"))
    plain, divided = [copy.deepcopy(network) for _ in range(2)], norms.split(copy.deepcopy(network), 2)
    x = torch.randn(6, 1, 8, 8, generator=draws("x"))
    made = divided.embed(x)
    for part, each in enumerate(plain):
        torch.testing.assert_close(made[part::2], each.embed(x[part::2]), atol=1e-5, rtol=1e-5)
    whole, parts = norms.whole(divided).state_dict(), [each.state_dict() for each in plain]
    assert whole.keys() == network.state_dict().keys()
    for name, value in whole.items():
        if name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(value, (parts[0][name] + parts[1][name]) / 2)


def test_split_norms_written_out_for_the_compiler_are_the_same():
    images = torch.randn(6, 3, 4, 4, dtype=torch.float64, generator=draws(), requires_grad=True)
    eager = norms.SplitBatchNorm(3, 2).double()
    torch.nn.init.normal_(eager.weight, generator=draws())
    written = copy.deepcopy(eager)
    for norm, made in ((eager, eager(images)), (written, written._written_out(images))):
        weights = torch.randn(made.shape, dtype=torch.float64, generator=draws())
        norm.results = made, *torch.autograd.grad((made * weights).sum(), [images, norm.weight, norm.bias])
    torch.testing.assert_close(written.results, eager.results)
    torch.testing.assert_close(written.state_dict(), eager.state_dict())


def test_keys_come_back_in_the_order_of_their_queries():
    model, _ = model_of("moco_v2", splits=1)
    model.momentum.eval()
    (view,) = batches(1)
    torch.testing.assert_close(model._keys(view, draws()), model.momentum(view), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_without_labels_is_resumed_to_the_same_bits(name, tmp_path):
    def run(stops):
        loop, losses = loop_of(name), []
        while not loop.done:
            if loop.step in stops:
                task = Task("t", tmp_path / "t", {}, 0.0)
                task.start()
                task.checkpoint(loop.state_dict())
                loop = loop_of(name)
                loop.load_state_dict(Task("t", tmp_path / "t", {}, 0.0).start())
            losses.append(loop.advance())
        return loop.tensors, [loss for loss in losses if loss is not None]

    state = torch.random.get_rng_state()
    (a, losses), (b, again) = run([]), run([1, 2, 3])
    assert losses == again and len(losses) == 2 and a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bf16_changes_little(name):
    exact, rounded = loop_of(name), loop_of(name)
    for module in rounded.model.modules():
        if isinstance(module, Encoder):
            module.precision = "bf16"
    for loop in (exact, rounded):
        loop.advance()
    assert rounded.epoch_loss != exact.epoch_loss
    assert float(rounded.epoch_loss) == pytest.approx(float(exact.epoch_loss), rel=0.05)
    assert all(p.dtype == torch.float32 for p in rounded.model.parameters())


# What features are worth


def test_neighbours_vote_with_the_weight_of_their_similarity():
    known = F.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.6, 0.5]]), dim=1)
    labels, truth = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1])
    asked = torch.tensor([[5.0, 0.5], [0.2, 3.0]])

    def percent(k, temperature=0.1, truth=truth):
        return probe.neighbours(known, labels, asked, truth, 2, KnnSettings(k=k, temperature=temperature), chunk=1)

    assert percent(1) == percent(3) == percent(5) == 100
    assert percent(1, truth=1 - truth) == 0
    assert percent(5, temperature=100.0) == 50  # all weigh alike: the majority


@pytest.mark.parametrize(("classes", "k", "temperature"), [(3, 1, 0.1), (10, 20, 0.1), (10, 200, 0.5), (100, 50, 0.07)])
def test_neighbours_are_those_of_a_plain_vote_in_float64(classes, k, temperature):
    bank, queries = torch.randn(300, 16, generator=draws("bank")), torch.randn(200, 16, generator=draws("queries"))
    labels = torch.randint(0, classes, (300,), generator=draws("labels"))
    voted = []
    for query in queries.double():
        cosines = F.cosine_similarity(query, bank.double())
        votes = torch.zeros(classes, dtype=torch.float64)
        for index in cosines.argsort(descending=True)[:k]:
            votes[labels[index]] += (cosines[index] / temperature).exp()
        voted.append(votes.argmax())
    voted, settings = torch.stack(voted), KnnSettings(k=k, temperature=temperature)
    assert probe.neighbours(bank, labels, queries, voted, classes, settings) == 100
    lightlys = knn_predict(F.normalize(queries), F.normalize(bank).T, labels, classes, k, temperature)
    assert torch.equal(lightlys[:, 0], voted)


def test_of_equal_votes_the_first_class_wins():
    """Where the bank has every feature twice, with two labels."""
    once = torch.randn(50, 16, generator=draws("bank"))
    labels = torch.stack([torch.randperm(100, generator=draws(f"labels {i}"))[:2] for i in range(50)])
    bank, settings = once.repeat(2, 1), KnnSettings(k=2, temperature=0.1)
    assert probe.neighbours(bank, labels.T.flatten(), once, labels.amin(1), 100, settings) == 100


@pytest.mark.parametrize("augment", ["none", "rrc"])
def test_a_probe_learns_and_resumes_between_any_two_steps(augment):
    data, network = ramp_set(), build(WORD, 1, 8, 3, draws("body")).eval()
    bank = probe.features(network, data, data.train, "fp32")
    settings = ProbeSettings(**{**PROBE, "epochs": 20, "batch": 7, "augment": augment, "crop": 0.5})

    def fresh():
        seen = probe.of_bank(bank) if augment == "none" else probe.of_crops(network, data, 0.5, "fp32")
        return probe.Probe(seen, bank.shape[1], data.train.labels, 3, settings, 0, "t")

    def run(stops):
        made, losses = fresh(), []
        while not made.done:
            if made.step in stops:
                state = copy.deepcopy(made.state_dict())
                made = fresh()
                made.load_state_dict(state)
            losses.append(made.advance())
        return made.classifier, losses

    (a, losses), (b, again) = run([]), run([0, 1, 9, 112, 113, 179])
    assert losses == again and torch.equal(a.weight, b.weight) and losses[-1] < losses[8] / 2
    assert [i for i, loss in enumerate(losses, 1) if loss is not None] == list(range(9, 181, 9))
    assert (a(bank).argmax(1) == data.train.labels).float().mean() > 0.9


@pytest.mark.parametrize("augment", ["none", "rrc"])
def test_a_probe_takes_the_steps_of_mocos_protocol(augment):
    """A plain loop: N(0, 0.01) weights, SGD without decay, the rate a tenth from the milestone; crops anew in each step."""
    data, network = noise_set(), build("ConvNetW4D2BN", 3, 8, 3, draws("body")).eval()
    settings = ProbeSettings(
        **{**PROBE, "epochs": 4, "batch": 20, "milestones": [0.5], "augment": augment, "crop": 0.3}
    )
    bank = probe.features(network, data, data.train, "fp32")
    seen = probe.of_bank(bank) if augment == "none" else probe.of_crops(network, data, settings.crop, "fp32")
    made = probe.Probe(seen, bank.shape[1], data.train.labels, 3, settings, 0, "t")
    plain = nn.Linear(bank.shape[1], 3)
    plain.load_state_dict(made.classifier.state_dict())
    assert 0.005 < plain.weight.std() < 0.02 and not plain.bias.any()
    optimizer, step = torch.optim.SGD(plain.parameters(), settings.lr, momentum=0.9), 0
    for epoch in range(4):
        optimizer.param_groups[0]["lr"] = settings.lr * (0.1 if epoch >= 2 else 1)
        for index in torch.randperm(36, generator=generator(0, "t", "probe", epoch)).split(20):
            inputs = data.train.images[index].float() / 255
            if augment == "rrc":
                inputs = resized_crop_flip(inputs, generator(0, "t", "probe views", step), True, 0.3)
            with torch.no_grad():
                known = network.embed(data.space.encode(inputs))
            optimizer.zero_grad()
            F.cross_entropy(plain(known), data.train.labels[index]).backward()
            optimizer.step()
            step += 1
    while not made.done:
        made.advance()
    for ours, theirs in zip(made.classifier.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not network.training


# Teachers


def made(tmp_path, name, tag="", **changes):
    """The task of a teacher once it is made."""
    ramp_set().save(tmp_path / "real")
    word = word_of(name)
    work = job.Job(data=tmp_path / "real", settings=pool_settings_of(name, **changes), network=word, index=0)
    with locked_tasks([Task.of(f"teacher {name}", {"tag": tag})]) as (task,):
        objectives.load(name).make(work, task, "cpu")
    return task


def pooled(tmp_path, task, name):
    content, record = tensors.load(task.finished() / job.RESULT)
    weights = {n if n.startswith("space.") else f"{record['network']}/0/{n}": t for n, t in content.items()}
    info = {**record, "pool": name, "shape": [*record["shape"], len(record["classes"] or [])], "networks": [record]}
    tensors.save(tmp_path / name / FILE, weights, info)
    return Pool(tmp_path / name)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_killed_teacher_goes_on_to_the_same_bytes(name, tmp_path, monkeypatch):
    whole = (made(tmp_path, name, tag="whole").finished() / job.RESULT).read_bytes()
    monkeypatch.setattr(Task, "due", lambda task: True)
    write, left = Task.checkpoint, [2, 4, 3]  # checkpoints until a kill: in training, at its end, in the probe

    def killed(task, state):
        write(task, state)
        if left:
            left[0] -= 1
            if not left[0]:
                left.pop(0)
                raise KeyboardInterrupt

    monkeypatch.setattr(Task, "checkpoint", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, name)
    assert (made(tmp_path, name).finished() / job.RESULT).read_bytes() == whole


def test_a_probe_leaves_the_network_as_it_was(tmp_path):
    (plain, _), (probed, record) = (
        tensors.load(
            made(tmp_path, "moco_v2", tag=way, change={"probe": {**PROBE, "augment": way}}).finished() / job.RESULT
        )
        for way in ("none", "rrc")
    )
    assert not torch.equal(plain["last/classifier.weight"], probed["last/classifier.weight"])
    bare, features = tensors.load(made(tmp_path, "moco_v2", tag="bare", change={"probe": None}).finished() / job.RESULT)
    assert set(probed) - set(bare) == {"last/classifier.weight", "last/classifier.bias"}
    assert all(torch.equal(value, probed[name]) for name, value in bare.items())
    assert any("running_mean" in name for name in bare)
    assert record["classes"] == ["a", "b", "c"] and features["classes"] is None
    assert record["knn"] == features["knn"] > 40
    assert record["kept"][0]["accuracy"] > 40 and features["kept"][0]["accuracy"] is None


def test_a_pool_without_a_probe_has_features_only(tmp_path):
    bare = pooled(tmp_path, made(tmp_path, "barlow_twins", change={"probe": None}), "bare")
    network = bare.network(bare.members[0])
    assert bare.classes is None and network.embed(torch.zeros(2, 1, 8, 8)).shape == (2, 16)
    assert not network.training and not objectives.load("moco_v2").classifies(
        pool_settings_of("moco_v2", change={"probe": None})
    )
    with pytest.raises(BadInput, match="has features but no classes"):
        network(torch.zeros(2, 1, 8, 8))
    full = pooled(tmp_path, made(tmp_path, "barlow_twins", tag="full"), "full")
    assert full.classes == ["a", "b", "c"] and full.network(full.members[0])(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("moco_v2", {"keep": ["best"]}, r"^teacher\.main\.keep is best, but moco_v2 keeps last alone"),
        ("dino", {"keep": [1, "last"]}, "keep is 1, last, but dino keeps last alone"),
        ("swav", {"word": "LeNet"}, r"^teacher\.main\.networks has LeNet, which has no features"),
        (
            "swav",
            {"word": WORD},
            f"{WORD}, which takes images of one size only: choose a ResNet, or set swav.locals to 0",
        ),
        ("dino", {"word": f"{RESIDUAL}_AP"}, "which takes images of one size only"),
        (
            "moco_v2",
            {"change": {"splits": 3}},
            r"^teacher\.main\.moco_v2\.splits is 3, but should divide .* which is 16",
        ),
        (
            "moco_v3",
            {"change": {"warmup": 2}},
            r"^teacher\.main\.moco_v3 has a warmup of 2 epochs, but should have fewer",
        ),
        ("moco_v3", {"change": {"blur": [0.5]}}, r"^teacher\.main\.moco_v3\.blur .* at least 2"),
        (
            "swav",
            {"change": {"probe": {"lr": 0.0}}},
            r"^teacher\.main\.swav\.probe\.lr is 0\.0, but should be greater than 0",
        ),
        ("barlow_twins", {"change": {"lamda": 1.0}}, r"lamda is not a setting; .* lambda"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(name, changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        pool_settings_of(name, **changes)


def test_what_only_the_data_can_tell_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"moco_v2\.batch is 64, but there are 60 training images"):
        made(tmp_path, "moco_v2", change={"batch": 64})
    with pytest.raises(BadInput, match=r"knn\.k is 61, but there are 60 training images"):
        made(tmp_path, "swav", change={"knn": {"k": 61}})
    data = ramp_set()
    space = Space("whitened", {"mean": torch.zeros(64), "matrix": torch.eye(64), "inverse": torch.eye(64)})
    RealSet(data.train, data.test, space, data.info).save(tmp_path / "white")
    work = job.Job(data=tmp_path / "white", settings=pool_settings_of("dino"), network=RESIDUAL, index=0)
    with pytest.raises(BadInput, match=r"dino\.locals is 1, but whitening takes whole images"):
        objectives.load("dino").make(work, Task.of("teacher x", {}), "cpu")


# Batch norms


def test_statistics_of_batch_norms_are_those_of_the_networks():
    networks = {(word, i): build(word, 1, 8, 3, draws(f"{word}{i}")) for word in (WORD, RESIDUAL) for i in (0, 1)}
    weights = {}
    for (word, index), network in networks.items():
        for name, value in network.state_dict().items():
            weights[f"{word}/{index}/last/{name}"] = value
            if "running" in name:
                value.copy_(torch.rand(value.shape, generator=draws(f"{word}{index}{name}")))
    found = statistics(dict(sorted(weights.items())))
    for (word, index), network in networks.items():
        mine = found[(found["network"] == word) & (found["index"] == index)]
        layers = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert mine["layer"].max() == len(layers)
        for i, layer in enumerate(layers, 1):
            rows = mine[mine["layer"] == i]
            assert rows["mean"].tolist() == layer.running_mean.tolist()
            assert rows["variance"].tolist() == layer.running_var.tolist()
    assert statistics({"ConvNet/0/last/body.0.weight": torch.zeros(1)}).empty
