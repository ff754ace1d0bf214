"""Methods against plain references, resumed in the middle, and refusing what could not work."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from distillation import methods
from distillation.augment.siamese import apply, draw
from distillation.data.spaces import Space
from distillation.methods.guidance import Guidance
from distillation.networks.build import build
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.selection import herding, k_center, k_means
from tests.helpers.data import CLASSES, IPC, SIZE, uneven_set
from tests.helpers.methods import GUIDANCE, method_of, run
from tests.helpers.pools import pool_in

ON_THEIR_OWN = ("frepo", "imported", "kip", "krr_st", "mtt")  # they have tests of their own
OF_CLASSES = [name for name in methods.names() if name not in ON_THEIR_OWN]


def dm_reference(method):
    """The gradient of one DM step in float64, as equation 6 reads: class by class, one network, one augmentation a class."""
    problem = method.problem
    draws = problem.draws("iteration", method.at)
    network = build(problem.settings.network, *problem.data.shape, draws).double()
    network.train()
    chosen = problem.batch(method.settings.batch_real, draws)
    ops, numbers = draw(problem.strategy, CLASSES, 1, draws)
    images = method.images.detach().double().requires_grad_()
    mean, std = (problem.data.space.tensors[k].double().view(1, 3, 1, 1) for k in ("mean", "std"))

    def seen(x, c):
        return apply(x, problem.strategy, ops[c].expand(len(x)), numbers[c].double().expand(len(x), -1))

    loss = 0
    reals = [(problem.data.train.images[chosen[c]].double() / 255 - mean) / std for c in range(CLASSES)]
    synthetic = [images[c * IPC : (c + 1) * IPC] for c in range(CLASSES)]
    if "BN" in problem.settings.network:
        real = network.embed(torch.cat([seen(x, c) for c, x in enumerate(reals)])).split([len(x) for x in reals])
        fake = network.embed(torch.cat([seen(x, c) for c, x in enumerate(synthetic)])).view(CLASSES, IPC, -1)
        loss = sum(((real[c].mean(0) - fake[c].mean(0)) ** 2).sum() for c in range(CLASSES))
    else:
        for c in range(CLASSES):
            distance = network.embed(seen(reals[c], c)).mean(0) - network.embed(seen(synthetic[c], c)).mean(0)
            loss = loss + (distance**2).sum()
    return loss.item() / CLASSES, torch.autograd.grad(loss, images)[0]


@pytest.mark.parametrize("network", ["ConvNetW8D2", "ConvNetW8D2BN", "ConvNetW8D2NN"])
@pytest.mark.parametrize("augment", ["auto", "none", "rotate", "color_crop"])
@pytest.mark.parametrize("sizes", [(12, 12, 12), (2, 3, 12)])
def test_dm_agrees_with_a_float64_reference(network, augment, sizes):
    method = method_of("dm", data=uneven_set(*sizes), network=network, augment=augment)
    for _ in range(2):
        loss, gradient = dm_reference(method)
        step = method.advance()
        assert step.image_grad_ready
        assert float(step.metrics["loss"]) == pytest.approx(loss, rel=1e-4)
        torch.testing.assert_close(
            method.images.grad.double(), gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max())
        )
        method.apply()


def test_dm_chunks_differ_to_rounding_only():
    gradients = []
    for chunk in (2, 5, 1000):
        method = method_of("dm", chunk=chunk)
        method.advance()
        gradients.append(method.images.grad)
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-6)


def test_dm_takes_the_published_step():
    """SGD with momentum: x <- x - lr v, v <- momentum v + g."""
    method = method_of("dm", settings={"lr_img": 0.3, "momentum": 0.5})
    x, v = method.images.detach().clone(), 0
    for _ in range(3):
        method.advance()
        v = 0.5 * v + method.images.grad
        x = x - 0.3 * v
        method.apply()
    torch.testing.assert_close(method.images.detach(), x)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_method_resumed_between_any_two_steps_gives_the_same_bits(name, tmp_path):
    pool = pool_in(tmp_path, ("ConvNetW8D2BN",))
    whole, stopped = (
        run(method_of(name, pool), stops, lambda: method_of(name, pool)).result() for stops in ([], [1, 2, 4])
    )
    assert torch.equal(whole.images, stopped.images) and torch.equal(whole.labels, stopped.labels)


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_method_gives_ipc_images_of_each_class_and_leaves_the_global_generator_alone(name, tmp_path):
    pool = pool_in(tmp_path, ("ConvNetW8D2BN",))
    before = torch.random.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    method = run(method_of(name, pool))
    made = method.result()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert made.images.shape == (CLASSES * IPC, 3, SIZE, SIZE) and made.images.isfinite().all()
    assert torch.equal(torch.bincount(made.labels), torch.full((CLASSES,), IPC))
    if "chosen" in made.info:  # it selects: each image is a real one of its class, none twice
        real = method.problem.real(torch.tensor(made.info["chosen"]))
        assert torch.equal(real, made.images) and len(set(made.info["chosen"])) == CLASSES * IPC
        assert torch.equal(method.problem.data.train.labels[made.info["chosen"]], made.labels)


@pytest.mark.parametrize("name", ["random", "herding", "kcenter", "kmeans"])
def test_more_images_than_a_class_has_are_refused(name, tmp_path):
    with pytest.raises(BadInput, match=r"'a' \(12\)"):
        method = method_of(name, pool_in(tmp_path), ipc=13)
        method.advance()
        method.result()


def test_a_network_without_features_is_refused():
    with pytest.raises(BadInput, match="has no features"):
        method_of("dm", network="MLP")


def test_herding_agrees_with_its_definition():
    features = torch.randn(20, 5, dtype=torch.float64, generator=generator(0, "features"))
    chosen, mean = [], features.mean(0)
    for i in range(1, 6):
        error = [
            float((mean * i - features[[*chosen, j]].sum(0)).norm()) if j not in chosen else np.inf for j in range(20)
        ]
        chosen.append(int(np.argmin(error)))
    assert herding(features, 5).tolist() == chosen


def test_k_center_agrees_with_its_definition():
    features = torch.randn(20, 5, dtype=torch.float64, generator=generator(1, "features"))
    chosen = [int((features - features.mean(0)).norm(dim=1).argmin())]
    for _ in range(4):
        nearest = torch.cdist(features, features[chosen]).min(1).values
        chosen.append(int(nearest.argmax()))
    assert k_center(features, 5).tolist() == chosen


def test_k_means_finds_well_separated_clusters():
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    features = centres.repeat_interleave(10, 0) + 0.1 * torch.randn(30, 2, generator=generator(2, "features"))
    assert sorted(i // 10 for i in k_means(features, 3, 0).tolist()) == [0, 1, 2]
    assert len(set(k_means(features, 29, 0).tolist())) == 29


@pytest.mark.parametrize("space", [None, Space.normalised([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]), Space.raw()])
def test_guidance_adds_alpha_times_the_gradient_of_the_mean_cross_entropy(tmp_path, space):
    pool = pool_in(tmp_path, space=space)
    method = method_of("dm", pool, alpha=30.0)
    guidance = Guidance(method.problem, pool)
    method.advance()
    own = method.images.grad.clone()
    loss = guidance.add_gradient(method, 0)

    images = method.images.detach().double().requires_grad_()
    mean, std = (method.problem.data.space.tensors[k].double().view(1, 3, 1, 1) for k in ("mean", "std"))
    raw = images * std + mean
    theirs = pool.space
    if theirs.kind == "normalised":
        raw = (raw - theirs.tensors["mean"].double().view(1, 3, 1, 1)) / theirs.tensors["std"].double().view(1, 3, 1, 1)
    network = build("ConvNetW8D2", 3, SIZE, CLASSES, generator(1, "teacher", "ConvNetW8D2", "last")).double()
    wanted = F.cross_entropy(network(raw), method.labels)
    assert float(loss) == pytest.approx(wanted.item(), rel=1e-5)
    added = (method.images.grad - own).double() / 30
    torch.testing.assert_close(added, torch.autograd.grad(wanted, images)[0], rtol=1e-3, atol=1e-5)


def test_relative_guidance_has_the_norm_it_says(tmp_path):
    pool = pool_in(tmp_path)
    method = method_of("dm", pool, alpha=0.5, guidance={**GUIDANCE, "scale": "relative"})
    method.advance()
    own = method.images.grad.clone()
    Guidance(method.problem, pool).add_gradient(method, 0)
    assert float((method.images.grad - own).norm()) == pytest.approx(0.5 * float(own.norm()), rel=1e-4)


def test_one_teacher_of_each_network_is_drawn_with_its_own_alpha(tmp_path):
    words = ("ConvNetW8D2", "ConvNetW4D2")
    pool = pool_in(tmp_path, words)
    drawn = [pool.draw(generator(0, "guidance", i)).word for i in range(200)]
    assert 60 < drawn.count(words[0]) < 140
    method = method_of("dm", pool, alpha={words[0]: 0.0, words[1]: 5.0})
    guidance = Guidance(method.problem, pool)
    for update in range(6):
        method.advance()
        own = method.images.grad.clone()
        guidance.add_gradient(method, update)
        word = pool.draw(method.problem.draws("guidance", update)).word
        assert torch.equal(own, method.images.grad) == (word == words[0])


def test_guidance_that_could_not_mean_anything_is_refused(tmp_path):
    method = method_of("dm", alpha={"ConvNetW8D2": 1.0, "VGG11": 2.0})
    with pytest.raises(BadInput, match="VGG11 is on one side only"):
        Guidance(method.problem, pool_in(tmp_path))
    with pytest.raises(BadInput, match="whose classes are not those of the dataset"):
        Guidance(method_of("dm", alpha=1.0).problem, pool_in(tmp_path, classes=("x", "y", "z")))
    pool = pool_in(tmp_path, size=16)
    method = method_of("dm", alpha=1.0)
    method.advance()
    with pytest.raises(BadInput, match="take 3×16×16, but the images are 3×8×8"):
        Guidance(method.problem, pool).add_gradient(method, 0)


def foreign(tmp_path, kind):
    images = torch.randint(0, 256, (CLASSES * IPC, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator(0, kind))
    labels = torch.arange(CLASSES).repeat(IPC)
    if kind == "safetensors":
        save_file({"images": images.float() / 255, "labels": labels}, tmp_path / "a.safetensors")
        return tmp_path / "a.safetensors", images, labels
    if kind == "pt":
        runs = [[images.float() / 255, labels], [torch.zeros(1), torch.zeros(1)]]
        torch.save({"data": runs, "accs_all_exps": {"ConvNet": [np.float64(44.9)]}}, tmp_path / "a.pt")
        return tmp_path / "a.pt", images, labels
    if kind == "npz":
        np.savez(tmp_path / "a.npz", images=images.numpy(), labels=labels.numpy())
        return tmp_path / "a.npz", images, labels
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "set" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return tmp_path / "set", images, labels


@pytest.mark.parametrize("kind", ["safetensors", "npz", "png", "pt"])
def test_a_foreign_set_is_imported_as_it_is(tmp_path, kind):
    path, images, labels = foreign(tmp_path, kind)
    method = method_of("imported", settings={"file": str(path), "space": "raw", "labels": "hard"})
    method.advance()
    made = method.result()
    order = labels.argsort(stable=True)
    torch.testing.assert_close(made.space.decode(made.images), images[order].float() / 255, atol=1e-6, rtol=0)
    assert torch.equal(made.labels, labels[order])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": torch.zeros(6, 3, 9, 9), "labels": torch.arange(3).repeat(2)}, "are wanted"),
        ({"images": torch.zeros(6, 3, 8, 8), "labels": torch.zeros(6)}, "of each of 3 classes"),
        (
            {"images": torch.zeros(6, 3, 8, 8), "labels": torch.arange(6)},
            "has labels from 0 to 5, but those of 3 classes",
        ),
        ({"images": torch.full((6, 3, 8, 8), torch.nan), "labels": torch.arange(3).repeat(2)}, "not finite"),
        ({"pictures": torch.zeros(6, 3, 8, 8)}, "must hold 'images' and 'labels'"),
    ],
)
def test_a_foreign_set_that_does_not_fit_is_refused(tmp_path, content, words):
    save_file(content, tmp_path / "a.safetensors")
    method = method_of("imported", settings={"file": str(tmp_path / "a.safetensors"), "space": "raw", "labels": "hard"})
    with pytest.raises(BadInput, match=words):
        method.result()


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a.pt", "a.pkl", "data/none"])
def test_a_foreign_file_that_is_none_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name != "data/none":
        (tmp_path / name).write_bytes(b"nothing of use")
    with pytest.raises(BadInput):
        method_of("imported", settings={"file": name, "space": "raw", "labels": "hard"}).result()


class Code:
    def __reduce__(self):
        return print, ("this ran",)


def test_a_result_file_that_holds_code_is_refused_unrun(tmp_path, capsys):
    torch.save({"data": [[torch.zeros(6, 3, 8, 8), torch.arange(6)]], "more": Code()}, tmp_path / "a.pt")
    with pytest.raises(BadInput, match="could run code, and is refused"):
        method_of(
            "imported", settings={"file": str(tmp_path / "a.pt"), "space": "normalised", "labels": "hard"}
        ).result()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [torch.zeros(2), {"data": []}, {"data": [[torch.zeros(2)]]}, {"images": 1}])
def test_a_pt_file_of_another_layout_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BadInput, match="no result file of DC's code"):
        method_of(
            "imported", settings={"file": str(tmp_path / "a.pt"), "space": "normalised", "labels": "hard"}
        ).result()


def test_an_unknown_method_says_which_there_are():
    with pytest.raises(BadInput, match="dm.*random"):
        methods.load("dmm")


def test_dm_counts_and_names_classes_that_give_less(capsys):
    method = method_of("dm", data=uneven_set(2, 3, 12))
    assert (
        "note: method.dm.batch_real is 7, but the dataset has fewer images of 'a' (2), 'b' (3)"
        in capsys.readouterr().err
    )
    method.advance()
    assert method.cost().record()["images_forward"] == 2 + 3 + 7 + CLASSES * IPC
    method_of("dm")
    assert capsys.readouterr().err == ""
