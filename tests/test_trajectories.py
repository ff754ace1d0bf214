"""Trajectories that can be read at any epoch, and MTT: its gradient three ways, its steps, resumed, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from distillation import checks
from distillation import params as parameters
from distillation.augment.siamese import augment_batch
from distillation.data.distilled import FILE, DistilledSet
from distillation.evaluation.settings import HardSettings
from distillation.methods import mtt
from distillation.methods.mtt import ROUTES, Student
from distillation.networks.build import build, extent
from distillation.networks.traced import NUMBERS
from distillation.params import Params, validate
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from tests.helpers.clones import ROOT
from tests.helpers.data import CLASSES, IPC, SIZE, noise_set
from tests.helpers.methods import method_of, run
from tests.helpers.pools import EXPERTS, experts_in, pool_in, settings_of

WORD, COUNT, EPOCHS = "ConvNetW4D2", CLASSES * IPC, 4
TRAINING = EXPERTS["trajectory"]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trajectories")
        patch.setenv("DVC_ROOT", str(folder))
        yield experts_in(folder)


def method_in(pool, common=None, **settings):
    return method_of("mtt", pool, settings=settings, **(common or {}))


def test_every_epoch_of_an_expert_is_what_plain_training_passes_through(pool):
    data = noise_set()
    for member in pool.members:
        network = build(WORD, 3, SIZE, CLASSES, generator(0, "teacher", WORD, member.index))
        batch_of = lambda index: (data.encode(data.train.images[index]), data.train.labels[index])  # noqa: E731
        settings = settings_of(EXPERTS).training
        name = f"teacher/{WORD}/{member.index}"
        training = Training(network, batch_of, len(data.train), loss_of("ce"), settings, 0, name, True)
        for epoch in range(EPOCHS + 1):
            vector = torch.cat([p.detach().flatten() for p in network.parameters()])
            assert torch.equal(pool.parameters(member, epoch), vector)
            while training.epoch == epoch and not training.done:
                training.advance()
        for name, value in pool.network(member).state_dict().items():
            assert torch.equal(value, network.state_dict()[name]), "the last epoch is also a teacher like any other"
    assert [member.index for member in pool.members] == [0, 1]


def test_a_trajectory_takes_one_vector_an_epoch(pool):
    with tensors.opened(pool.folder / "teachers.safetensors") as view:
        stored = [name for name in view.names if "/trajectory/" in name]
        assert len(stored) == 2 * (EPOCHS + 1)
        size = sum(p.numel() for p in pool.network(pool.members[0]).parameters())
        assert all(view.get(name).shape == (size,) and view.get(name).dtype == torch.float32 for name in stored)


def test_an_interrupted_expert_ends_in_the_same_bytes(tmp_path, pool, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    again = experts_in(tmp_path, stops=(1, 2, 5, 9, 14, 21))
    for name in ("teachers.safetensors", "curves.csv"):
        assert (again.folder / name).read_bytes() == (pool.folder / name).read_bytes()


def doubles(pool, augment="color_crop_cutout_flip_scale_rotate", count=6, batch=4, chunk=3):
    """A Student in float64, ``count`` steps, θ_0, θ*, α and the images of a small case."""
    draws = generator(0, "case")
    network = build(WORD, 3, SIZE, CLASSES, draws).double()
    images = torch.randn(COUNT, 3, SIZE, SIZE, generator=draws).double()
    labels = torch.arange(CLASSES).repeat_interleave(IPC)

    def step(number, images):
        index = torch.randperm(COUNT, generator=generator(0, "order", number))[:batch]
        return augment_batch(images[index], augment, generator(0, "augment", number)), labels[index]

    steps = [lambda images, number=number: step(number, images) for number in range(count)]
    start, wanted = (pool.parameters(pool.members[0], epoch).double() for epoch in (0, 3))
    return Student(network, chunk), steps, start, wanted, torch.tensor(0.3).double(), images


def loss_as_written(case):
    """L of a walk, by a plain loop without the product's own derivatives."""
    student, steps, start, wanted, lr, images = case
    names = [name for name, _ in student.network.named_parameters()]
    vector = start
    for step in steps:
        seen, labels = step(images)
        leaf = vector.detach().requires_grad_()
        parts = leaf.split(student.sizes)
        named = {n: p.view(student.shapes[n]) for n, p in zip(names, parts, strict=True)}
        value = F.cross_entropy(functional_call(student.network, named, (seen,)), labels)
        vector = vector - lr * torch.autograd.grad(value, leaf)[0]
    return ((vector - wanted) ** 2).sum() / ((start - wanted) ** 2).sum()


@pytest.mark.parametrize("augment", ["color_crop_cutout_flip_scale_rotate", "none"])
@pytest.mark.parametrize("chunk", [3, 100])
@pytest.mark.parametrize("by_hand", [True, False])
def test_the_adjoint_equals_the_unrolled_gradient_in_float64(pool, augment, chunk, by_hand, monkeypatch):
    monkeypatch.setattr(mtt, "traceable", lambda spec: by_hand)
    case = doubles(pool, augment, chunk=chunk)
    assert (case[0].traced is not None) == by_hand
    ours, exact = ROUTES["adjoint"](*case), ROUTES["unrolled"](*case)
    for given, wanted in zip(ours, exact, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours[2], loss_as_written(case), rtol=1e-12, atol=0)


@pytest.mark.parametrize("gradient", ["adjoint", "tesla"])
def test_a_step_that_left_its_trace_and_one_that_is_taken_again_give_the_same_bits(pool, gradient, monkeypatch):
    walks = []
    for room in (0, 3 * 4 * extent(WORD, 3, SIZE, CLASSES)[1] * NUMBERS, 2**40):
        monkeypatch.setattr(mtt, "ROOM", room)
        walks.append(ROUTES[gradient](*doubles(pool)))
    assert all(torch.equal(a, b) for walk in walks[1:] for a, b in zip(walk, walks[0], strict=True))


@pytest.mark.parametrize("room", [0, 2])
def test_no_more_traces_than_there_is_room_for_wait_at_once(pool, room, monkeypatch):
    """Traces that live when the way back begins, of a walk of six steps in two chunks each."""
    monkeypatch.setattr(mtt, "ROOM", room * 4 * extent(WORD, 3, SIZE, CLASSES)[1] * NUMBERS)
    given, product = [], Student.product_gradients

    def spy(self, *args):
        given.append(args[-1] is not None)
        return product(self, *args)

    monkeypatch.setattr(Student, "product_gradients", spy)
    ROUTES["adjoint"](*doubles(pool))
    assert given == [True] * room + [False] * (6 - room)


def test_the_adjoint_agrees_with_finite_differences_in_float64(pool):
    student, steps, start, wanted, lr, images = doubles(pool)
    on_images, on_lr, _ = ROUTES["adjoint"](student, steps, start, wanted, lr, images)
    draws = generator(1, "directions")

    def at(images, lr):
        return float(loss_as_written((student, steps, start, wanted, lr, images)))

    for _ in range(4):
        step, direction = 1e-5, torch.randn(images.shape, generator=draws).double()
        change = (at(images + step * direction, lr) - at(images - step * direction, lr)) / (2 * step)
        assert change == pytest.approx(float((on_images * direction).sum()), rel=1e-6)
    assert (at(images, lr + 1e-5) - at(images, lr - 1e-5)) / 2e-5 == pytest.approx(float(on_lr), rel=1e-6)


def test_tesla_takes_the_student_as_constant(pool):
    """The sum of the steps' own terms, each at its constant θ_k: another gradient than the exact one, of the same L."""
    case = doubles(pool)
    student, steps, start, wanted, lr, images = case
    images, path = images.clone().requires_grad_(), [start]
    lr, moved = lr.clone().requires_grad_(), start
    for step in steps:
        seen, labels = step(images)
        leaf = path[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(student.loss(leaf, seen, labels), leaf, create_graph=True)
        moved = moved - lr * gradient
        path.append((path[-1] - lr * gradient).detach())
    loss = (moved - wanted).square().sum() / (start - wanted).square().sum()
    by_hand = torch.autograd.grad(loss, (images, lr))
    approximate, exact = ROUTES["tesla"](*case), ROUTES["adjoint"](*case)
    for given, value in zip(approximate, (*by_hand, loss.detach()), strict=True):
        torch.testing.assert_close(given, value, rtol=1e-9, atol=1e-12)
    cosine = F.cosine_similarity(approximate[0].flatten(), exact[0].flatten(), dim=0)
    assert 0.5 < cosine < 0.99999


@pytest.mark.parametrize("gradient", ["adjoint", "unrolled", "tesla"])
def test_an_update_takes_the_published_step(pool, gradient):
    """SGD with momentum on images and learning rate, of the gradient that a float64 walk with the named draws has."""
    method = method_in(pool, gradient=gradient)
    leaves = [method.images.detach().clone().requires_grad_(), torch.tensor(0.02, requires_grad=True)]
    optimizers = [torch.optim.SGD([leaf], lr, 0.5) for leaf, lr in zip(leaves, (10.0, 1e-5), strict=True)]
    for update in range(3):
        draws, problem = method.problem.draws("segment", update), method.problem
        expert = pool.members[int(torch.randint(2, (1,), generator=draws))]
        epoch = int(torch.randint(3, (1,), generator=draws))
        start, wanted = (pool.parameters(expert, e).double() for e in (epoch, epoch + 2))

        def step(number, images, update=update, problem=problem):
            order = torch.randperm(COUNT, generator=problem.draws("order", update, number // 2))
            index = order[:4] if number % 2 == 0 else order[4:]
            seen = augment_batch(images[index], problem.strategy, problem.draws("augment", update, number))
            return seen, problem.labels()[index]

        steps = [lambda images, number=number: step(number, images) for number in range(4)]
        student = Student(build(WORD, 3, SIZE, CLASSES, generator(0, "any")).double(), 100)
        route = ROUTES["tesla" if gradient == "tesla" else "unrolled"]
        exact = route(student, steps, start, wanted, method.lr.detach().double(), method.images.detach().double())
        outcome = method.advance()
        assert outcome.image_grad_ready and float(outcome.metrics["loss"]) == pytest.approx(float(exact[2]), rel=1e-4)
        torch.testing.assert_close(method.images.grad.double(), exact[0], rtol=1e-3, atol=1e-5)
        assert float(method.lr.grad) == pytest.approx(float(exact[1]), rel=1e-3)
        leaves[0].grad, leaves[1].grad = method.images.grad.clone(), method.lr.grad.clone()
        method.apply()
        for optimizer in optimizers:
            optimizer.step()
        torch.testing.assert_close(method.images, leaves[0], rtol=0, atol=0)
        torch.testing.assert_close(method.lr, leaves[1], rtol=0, atol=0)


@pytest.mark.parametrize("gradient", ["adjoint", "tesla"])
def test_resumed_between_any_two_units_it_gives_the_same_bits(pool, gradient):
    whole = run(method_in(pool, gradient=gradient))
    for stops in ({1, 2, 3, 4}, {3}):
        stopped = run(method_in(pool, gradient=gradient), stops, lambda: method_in(pool, gradient=gradient))
        assert torch.equal(whole.images, stopped.images) and torch.equal(whole.lr, stopped.lr)
        assert whole.cost() == stopped.cost()


def test_the_learnt_rate_travels_with_the_set(pool, tmp_path):
    made = run(method_in(pool, lr_lr=1e-4)).result()
    assert made.info["lr"] > 0 and made.info["lr"] != 0.02 and made.kind == "hard"
    made.save(tmp_path / FILE)
    assert DistilledSet.load(tmp_path / FILE).info["lr"] == made.info["lr"]


def test_matching_lowers_the_loss_of_every_segment(pool):
    def loss(method):
        steps = [lambda images, number=number: method._seen(99, number, images) for number in range(4)]
        found = 0.0
        for member in pool.members:
            start, wanted = (pool.parameters(member, epoch) for epoch in (0, 2))
            with torch.no_grad():
                found += float(mtt.retraced(method.student, steps, start, wanted, method.lr.detach(), method.images)[2])
        return found

    method = method_in(pool, iterations=25, lr_img=30.0, lr_lr=1e-4, lr_net=0.05)
    before = loss(method)
    assert loss(run(method)) < before


def test_the_global_generator_is_left_alone(pool):
    before = torch.random.get_rng_state()
    run(method_in(pool))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_cost_counts_every_pass(pool, monkeypatch):
    """Each of the four steps sees four or two of the six images: 12 an update; the way back passes those again whose
    steps left no trace."""
    one = 4 * extent(WORD, 3, SIZE, CLASSES)[1] * NUMBERS  # numbers of a step's trace
    for gradient, room, again in (
        ("adjoint", 4 * one, 0), ("adjoint", 2 * one, 6), ("adjoint", 0, 12), ("unrolled", 0, 0), ("tesla", 0, 12)
    ):  # fmt: skip
        monkeypatch.setattr(mtt, "ROOM", room)
        cost = run(method_in(pool, gradient=gradient)).cost().record()
        assert cost["images_forward"] == 5 * (12 + again) and cost["images_backward"] == 5 * (24 + again)


def test_half_precision_stays_close(pool):
    exact, rough = (method_in(pool, {"precision": precision}) for precision in ("fp32", "bf16"))
    assert float(rough.advance().metrics["loss"]) == pytest.approx(float(exact.advance().metrics["loss"]), rel=0.02)


def test_a_rate_that_fell_below_0_and_came_back_is_remembered_by_checkpoints(pool):
    method, again = method_in(pool), method_in(pool)
    method.advance()
    with torch.no_grad():
        method.lr.fill_(-1.0)
    method.apply()
    with torch.no_grad():
        method.lr.fill_(0.1)
    again.load_state_dict(method.state_dict())
    with pytest.raises(BadInput, match=r"is -1\S*, not above 0"):
        again.require_sound()


def test_what_cannot_work_is_refused_in_one_sentence(pool, tmp_path):
    with pytest.raises(BadInput, match=r"^method\.mtt\.max_start and expert_epochs reach epoch 6, .* end after 4\.$"):
        method_in(pool, max_start=5)
    with pytest.raises(BadInput, match=r"^method\.mtt\.batch_syn is 7, but there are only 6 images\.$"):
        method_in(pool, batch_syn=7)
    with pytest.raises(BadInput, match="whose batch norms carry statistics"):
        method_of("mtt", pool, network="ConvNetW4D2BN")
    with pytest.raises(BadInput, match=r"^method\.network is ConvNetW8D2, but the experts of main are ConvNetW4D2: "):
        method_of("mtt", pool, network="ConvNetW8D2")
    with pytest.raises(BadInput, match="is nan, not above 0: lower method.mtt.lr_lr or method.mtt.lr_img"):
        run(method_in(pool, lr_net=1e9))
    plain = pool_in(tmp_path, (WORD,))
    plain.info |= {"objective": "supervised", "settings": {}}
    with pytest.raises(BadInput, match=r"^method\.teacher is 'main', whose objective is supervised: mtt retraces"):
        method_in(plain)
    with pytest.raises(BadInput, match=r"^teacher\.main\.keep should be \[last\]: "):
        settings_of({**EXPERTS, "keep": [1, "last"]})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, "method.teacher is 'main', whose objective is supervised: mtt retraces"),
        ({"teacher.main.objective": "trajectory", "method.mtt.max_start": 50}, "reach epoch 51, but the trajectories"),
        ({"teacher.main.objective": "trajectory", "method.network": "ConvNet"}, "but the experts of main are"),
        ({"teacher.main.objective": "trajectory"}, None),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_experts_in(change, sentence):
    values = parameters.load(ROOT / "params.yaml").values
    for path, value in {"method.name": "mtt", **change}.items():
        *above, last = path.split(".")
        at = values
        for key in above:
            at = at[key]
        at[last] = value
    if sentence is None:
        checks.check_all(Params(values))
        return
    with pytest.raises(BadInput, match=sentence):
        checks.check_all(Params(values))


def asking(set_lr, **changed):
    """HardSettings that ask for the set's rate, or not."""
    return validate(HardSettings, {**TRAINING, "loss": "ce", "set_lr": set_lr, **changed}, "evaluate.standard.hard")


def test_students_learn_at_the_rate_that_the_set_brings(pool):
    info = run(method_in(pool, lr_lr=1e-4)).result().info
    assert asking(True).of_set(info).lr == info["lr"] != 0.05
    assert asking(False).of_set(info).lr == 0.05
    with pytest.raises(BadInput, match=r"^evaluate\.standard\.hard\.set_lr is true, but the set, made by dm, has no "):
        asking(True).of_set({"method": "dm"})


@pytest.mark.parametrize(
    ("name", "kind", "refused"),
    [("dm", "keep", True), ("mtt", "keep", False), ("imported", "keep", False), ("dm", "logits", False)],
)
def test_a_rate_that_no_set_will_bring_is_refused_before_anything_is_experts_in(name, kind, refused):
    values = parameters.load(ROOT / "params.yaml").values
    values["evaluate"]["standard"]["hard"]["set_lr"] = True
    values["method"] |= {"name": name, "alpha": 0.0}
    values["relabel"]["kind"], values["teacher"]["main"]["objective"] = kind, "trajectory"
    if not refused:
        checks.check_all(Params(values))
        return
    with pytest.raises(BadInput, match=r"^evaluate\.standard\.hard\.set_lr is true, but dm learns no learning rate"):
        checks.check_all(Params(values))
