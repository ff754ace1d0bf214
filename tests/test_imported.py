"""Teachers that were trained elsewhere: from files and from libraries' caches, as they are laid out; never from code."""

import argparse
import hashlib
import json
import os
import sys
import urllib.error
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision import models

from distillation.networks.build import build
from distillation.runtime import tensors
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator, seeded
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import foreign, writing
from distillation.teachers.foreign import torchvision as library_of_torchvision
from distillation.teachers.foreign import weights
from distillation.teachers.objective import Job
from distillation.teachers.objectives import imported
from distillation.teachers.pool import FILE, Pool
from tests.helpers.data import noise_set
from tests.helpers.methods import added, guided
from tests.helpers.pools import settings_of

WORD, MODEL, TAG = "ConvNetW8D2", "shufflenet_v2_x0_5", "IMAGENET1K_V1"
IMPORTED = {"from": "file", "weights": None, "file": "data/none", "sha256": None, "classes": "source"}
POOL = {
    "source": "dataset",
    "objective": "imported",
    "networks": [WORD],
    "count": 1,
    "seed": 0,
    "keep": ["last"],
    "precision": "fp32",
    "compile": False,
}


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """Tasks and torch's cache in a folder of the test; no network."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def unreachable(*args, **more):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def network(classes=3):
    return build(WORD, 3, 8, classes, generator(1, "elsewhere"))


def pool_of(tmp_path, word=WORD, **changes):
    """The pool that the teacher stage writes for a section ``imported``."""
    data = noise_set()
    data.save(tmp_path / "real")
    settings = settings_of({**POOL, "networks": [word], "imported": {**IMPORTED, **changes}})
    job = Job(data=tmp_path / "real", settings=settings, network=word, index=0)
    with locked_tasks([Task.of("teacher main", {"word": word, **changes})]) as (task,):
        imported.make(job, task, "cpu")
    (tmp_path / "pool").mkdir(exist_ok=True)
    writing.write(tmp_path / "pool", "main", settings, data, [task])
    return Pool(tmp_path / "pool")


def from_file(tmp_path, content, name="a.pth", save=torch.save, word=WORD, **changes):
    save(content, tmp_path / name)
    return pool_of(tmp_path, word, file=str(tmp_path / name), sha256=digest(tmp_path / name), **changes)


WRAPPINGS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "DataParallel": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
    "a script's": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1), "best": np.float64(93.1)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_network_of_ours_comes_from_a_checkpoint_as_it_is(tmp_path, wrapping):
    theirs = network().eval()
    pool = from_file(tmp_path, WRAPPINGS[wrapping](theirs.state_dict()))
    images = torch.randn(4, 3, 8, 8, generator=generator(0, "images"))
    (member,) = pool.members
    assert torch.equal(pool.network(member)(images), theirs(images))
    assert pool.classes == ["a", "b", "c"] and pool.shape == (3, 8, 3) and pool.space.same(noise_set().space)
    data = noise_set()
    hits = theirs(data.encode(data.test.images)).argmax(1) == data.test.labels
    assert member.accuracy == pytest.approx(100 * hits.double().mean().item())
    origin = json.loads((tmp_path / "pool/pool.json").read_text())["networks"][0]["origin"]
    assert origin == {"weights": None, "file": "a.pth", "sha256": digest(tmp_path / "a.pth")}


def test_safetensors_are_read_and_a_classifier_that_is_not_used_may_lack(tmp_path):
    theirs = network().eval()
    body = {name: value for name, value in theirs.state_dict().items() if not name.startswith("classifier.")}
    pool = from_file(tmp_path, body, "a.safetensors", save_file, classes="none")
    (member,) = pool.members
    images = torch.randn(4, 3, 8, 8, generator=generator(0, "images"))
    assert torch.equal(pool.network(member).embed(images), theirs.embed(images))
    assert pool.classes is None and member.accuracy is None and pool.shape == (3, 8, 0)
    assert json.loads((tmp_path / "pool/metrics.json").read_text()) == {}
    with pytest.raises(BadInput, match="has features but no classes"):
        pool.network(member)(images)
    method, guide = guided(pool, distance="cos")
    assert added(method, guide)[0].abs().sum() > 0
    with pytest.raises(BadInput, match="whose classes are not those of the dataset"):
        guided(pool, distance="ce")


class Code:
    """What a pickle does when it is opened: here it leaves a file, elsewhere it could do anything."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path, zipped):
    content = {"state_dict": network().state_dict(), "extra": Code(tmp_path / "done")}
    save = lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=zipped)  # noqa: E731
    with pytest.raises(
        BadInput, match=r"holds more than tensors \(posix\.system\).*is refused: save.*\.safetensors\.$"
    ):
        from_file(tmp_path, content, save=save)
    assert not (tmp_path / "done").exists()


STATE = network().state_dict()
FIRST = next(iter(STATE))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({k: v for k, v in STATE.items() if k != FIRST}, rf"lacks '{FIRST}', unlike the network"),
        ({**STATE, "extra": torch.zeros(1)}, "has 'extra', unlike the network"),
        ({**STATE, FIRST: torch.zeros(2, 2)}, rf"has '{FIRST}' as \(2, 2\), but the network as \(8, 3, 3, 3\)"),
        ({**STATE, FIRST: STATE[FIRST] * torch.nan}, "not finite"),
        (network(4).state_dict(), r"'classifier.weight' as \(4, 32\), but the network as \(3, 32\)"),
        ({"weights": [1, 2]}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
        ({}, "holds no state dict"),
        (
            network(),
            r"holds more than tensors \(distillation.networks.build.Network\), which could run code, and is refused",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, content, words):
    with pytest.raises(BadInput, match=words) as caught:
        from_file(tmp_path, content)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"nothing of use", None])
def test_a_broken_file_is_refused(tmp_path, name, content):
    (save_file if name.endswith("safetensors") else torch.save)(STATE, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(BadInput, match="does not read as"):
        weights.read(tmp_path / name)


def test_a_file_is_pinned_and_need_not_be_there_once_it_is(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file(STATE, file)
    for wrong in (None, "0" * 64):
        with pytest.raises(BadInput, match=f"sha256 is {wrong}, but should be that of {file}, {digest(file)}\\.$"):
            pool_of(tmp_path, file=str(file), sha256=wrong)
    section = {**IMPORTED, "file": str(tmp_path / "b.safetensors"), "sha256": digest(file)}
    settings_of({**POOL, "imported": section})
    with pytest.raises(BadInput, match="b.safetensors is missing: give the path"):
        pool_of(tmp_path, **section)
    with pytest.raises(BadInput, match="sha256 is None, but should be that of"):
        settings_of({**POOL, "imported": {**section, "sha256": None}})
    with pytest.raises(BadInput, match=r"teacher\.main\.imported\.file should be the path"):
        settings_of({**POOL, "imported": IMPORTED})


@pytest.mark.parametrize(
    ("pool", "section", "words"),
    [
        ({"count": 2}, {}, "imports one network as it is"),
        ({"keep": [3]}, {}, r"count be 1 and keep be \[last\]"),
        ({"networks": [WORD, "ConvNet"]}, {}, "networks should name one"),
        ({}, {"from": "hub"}, r"teacher\.main\.imported\.from is 'hub', but should be 'torchvision'"),
        (
            {"networks": ["resnet19"]},
            {"from": "torchvision"},
            "torchvision has no model 'resnet19'; did you mean resnet18",
        ),
        (
            {"networks": ["resnet18"]},
            {"from": "torchvision", "weights": "V9"},
            "has no weights 'V9' of resnet18, but IMAGENET1K",
        ),
        ({"networks": ["resnet18"]}, {"from": "torchvision"}, "should name either the torchvision weights or a file"),
        ({"networks": ["resnet18"]}, {"from": "torchvision", "weights": TAG, "file": "a"}, "should name either"),
        ({"networks": ["squeezenet1_0"]}, {"from": "torchvision", "weights": TAG}, "has no model 'squeezenet1_0'"),
    ],
)
def test_an_import_that_cannot_be_is_refused(pool, section, words):
    with pytest.raises(BadInput, match=words):
        settings_of({**POOL, **pool, "imported": {**IMPORTED, **section}})


def test_a_library_that_is_not_there_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "distillation.teachers.foreign.timm", raising=False)
    monkeypatch.delattr(foreign, "timm", raising=False)
    with pytest.raises(BadInput, match=r"timm is not installed: run `pip install -r requirements-foundation\.txt`\.$"):
        foreign.check("timm", "resnet18", None)


def plain(model, images, size, mean, std):
    """What a library's model is given: resized, then normalised."""
    images = F.interpolate(images, [size] * 2, mode="bilinear", antialias=True, align_corners=False)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (mean, std))
    return model((images - mean) / std)


def torch_cache(tmp_path, monkeypatch):
    """A random model in torch's cache, under the name of its published weights with its own checksum."""
    with seeded(generator(0, "model")):
        model = models.get_model(MODEL).eval()
    folder = tmp_path / "torch/hub/checkpoints"
    folder.mkdir(parents=True)
    torch.save(model.state_dict(), folder / "a.pth")
    name = f"{MODEL}-{digest(folder / 'a.pth')[:8]}.pth"
    (folder / "a.pth").rename(folder / name)
    published = models.get_model_weights(MODEL)[TAG].value
    monkeypatch.setattr(models.get_model_weights(MODEL)[TAG], "_value_", replace(published, url=f"https://x/{name}"))
    return model, folder / name


def test_a_model_of_torchvision_comes_from_torchs_cache_and_guides_without_it(tmp_path, monkeypatch):
    model, path = torch_cache(tmp_path, monkeypatch)
    path_digest = digest(path)
    pool = pool_of(tmp_path, MODEL, **{"from": "torchvision", "weights": TAG, "classes": "none"})
    path.unlink()
    assert pool.info["networks"][0]["origin"]["sha256"] == path_digest
    assert pool.shape == (3, 224, 0) and pool.classes is None and pool.words == [MODEL]
    method, guide = guided(pool, distance="cos", adapt=True, chunk=7)
    raw = method.problem.data.space.decode(method.images.detach())
    seen = []
    model.fc.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    plain(model, raw, 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    network = pool.network(pool.members[0])
    features = network.embed(pool.take(method.images.detach(), method.problem.data.space, adapting=True))
    torch.testing.assert_close(features, seen[0], rtol=1e-3, atol=1e-4 * float(seen[0].abs().max()))
    gradient, loss = added(method, guide)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0 and 0 < loss < 1
    with pytest.raises(BadInput, match="take 3×224×224, but the images are 3×8×8"):
        guided(pool, distance="cos")[1].add_gradient(method, 0)


def test_a_damaged_file_in_torchs_cache_is_refused(tmp_path, monkeypatch):
    _, path = torch_cache(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadInput, match="is not the published file, whose sha256 begins as its name says"):
        library_of_torchvision.file(MODEL, TAG)


def test_weights_that_are_not_there_say_where_to_put_them(tmp_path):
    with pytest.raises(
        BadInput, match=r"https://download.pytorch.org/models/resnet18-\w+\.pth could not be fetched .*: put it"
    ) as caught:
        library_of_torchvision.file("resnet18", TAG)
    assert str(tmp_path / "torch/hub/checkpoints") in str(caught.value)


def test_a_fine_tuned_model_of_a_library_labels_from_its_file(tmp_path):
    with seeded(generator(0, "model")):
        model = models.get_model(MODEL, num_classes=3).eval()
    settings = {"from": "torchvision", "classes": "source"}
    pool = from_file(tmp_path, model.state_dict(), word=MODEL, **settings)
    data = noise_set()
    logits = plain(model, data.test.images.float() / 255, 224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert pool.members[0].accuracy == pytest.approx(
        100 * (logits.argmax(1) == data.test.labels).double().mean().item()
    )
    assert pool.classes == ["a", "b", "c"] and pool.shape == (3, 224, 3)
    method, guide = guided(pool, distance="ce", adapt=True)
    assert added(method, guide)[1] == pytest.approx(
        float(F.cross_entropy(guide._seen(pool.first(MODEL), method.images.detach()), method.labels))
    )


def hub_cache(tmp_path, monkeypatch, repository, name, state):
    """A file in a cache of the Hugging Face hub, in its layout; and no network."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if state is None:
        return
    folder = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    save_file(state, folder / "blobs/1")
    (folder / "snapshots/abc" / name).symlink_to("../../blobs/1")


def test_a_model_of_timm_comes_from_the_hubs_cache(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    with seeded(generator(0, "model")):
        model = timm.create_model("test_vit").eval()
    hub_cache(tmp_path, monkeypatch, "timm/test_vit.r160_in1k", "model.safetensors", model.state_dict())
    section = {"from": "timm", "weights": "r160_in1k", "classes": "none"}
    pool = pool_of(tmp_path, "test_vit", **section)
    raw = torch.rand(2, 3, 160, 160, generator=generator(0, "images"))
    wanted = model.forward_head(model.forward_features(pool.space.encode(raw)), pre_logits=True)
    torch.testing.assert_close(pool.first("test_vit").embed(pool.space.encode(raw)), wanted)
    torch.testing.assert_close(pool.space.tensors["mean"], torch.tensor([0.5, 0.5, 0.5]))
    with pytest.raises(BadInput, match="does not tell the 3 classes of noise apart: set imported.classes to none"):
        pool_of(tmp_path, "test_vit", **{**section, "classes": "source"})
    hub_cache(tmp_path, monkeypatch, "", "", None)
    with pytest.raises(
        BadInput, match=r"timm/test_vit2.r160_in1k is not in .*hub and could not be fetched: run `hf download"
    ):
        foreign.file("timm", "test_vit2", "r160_in1k")


def test_an_image_tower_of_openclip_comes_from_the_hubs_cache(tmp_path, monkeypatch):
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    (tmp_path / "ViT-tiny.json").write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "ViT-tiny.json")
    published = {"hf_hub": "some/ViT-tiny/", "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-tiny", {"ours": published})
    with seeded(generator(0, "model")):
        model = open_clip.create_model("ViT-tiny").eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hub_cache(tmp_path, monkeypatch, "some/ViT-tiny", "open_clip_model.safetensors", state)
    pool = pool_of(tmp_path, "ViT-tiny", **{"from": "openclip", "weights": "ours", "classes": "none"})
    assert pool.shape == (3, 32, 0)
    raw = torch.rand(2, 3, 32, 32, generator=generator(0, "images"))
    wanted = plain(model.encode_image, raw, 32, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    torch.testing.assert_close(pool.first("ViT-tiny").embed(pool.space.encode(raw)), wanted)
    assert not any("text" in name or "token" in name for name in tensors.load(tmp_path / "pool" / FILE)[0])
    with pytest.raises(BadInput, match="does not tell the 3 classes"):
        pool_of(tmp_path, "ViT-tiny", **{"from": "openclip", "weights": "ours"})
