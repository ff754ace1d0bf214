"""ResNets in the files of the authors of self-supervised methods, made here in the same layouts."""

import hashlib

import pytest
import torch
from torch import nn
from torchvision import models

from distillation.networks.build import build
from distillation.runtime import tensors
from distillation.runtime.random import generator, seeded
from distillation.runtime.work import Task, locked_tasks
from distillation.teachers import objective as job
from distillation.teachers import objectives
from distillation.teachers.foreign import weights
from distillation.teachers.foreign.layouts import renamed
from tests.helpers.data import ramp_set
from tests.helpers.pools import settings_of

torch.set_num_threads(1)


def resnet(name="resnet18", small=False):
    """torchvision's, with statistics that no other has."""
    with seeded(generator(0, name)):
        made = models.get_model(name, num_classes=3)
        if small:
            made.conv1, made.maxpool = nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.Identity()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.9, 1.1)
    return made.eval()


def under(state, *prefixes):
    """The tensors of the network without its classifier, under each prefix."""
    own = {name: value for name, value in state.items() if not name.startswith("fc.")}
    return {prefix + name: value for prefix in prefixes for name, value in own.items()}


def beside(prefix, found):
    """With a head."""
    return found | {f"{prefix}{name}": torch.zeros(2, 2) for name in ("0.weight", "2.weight")}


def demo(state):
    """MoCo's CIFAR-10 demo keeps the children of the network in a sequence."""
    places = {"conv1": 0, "bn1": 1, "layer1": 3, "layer2": 4, "layer3": 5, "layer4": 6}
    parts = [(*name.partition("."), value) for name, value in under(state, "").items()]
    found = {f"encoder_{e}.net.{places[m]}.{rest}": value for m, _, rest, value in parts for e in "qk"}
    return found | {"encoder_q.net.9.weight": torch.zeros(128, 512), "queue": torch.zeros(128, 8)}


def checkpoints(state):
    """Layout and what the official code saves, by the name of who saves it."""
    swav = beside("module.projection_head.", under(state, "module.")) | {"module.prototypes.weight": torch.zeros(2, 2)}
    v3 = beside("module.predictor.", under(state, "module.base_encoder.", "module.momentum_encoder."))
    return {
        "moco_v2": ("moco", beside("module.encoder_q.fc.", under(state, "module.encoder_q.", "module.encoder_k."))),
        "moco_demo": ("moco_demo", demo(state)),
        "moco_v3": ("moco_v3", v3),
        "swav": ("plain", swav),
        "dino": ("backbone", beside("head.mlp.", under(state, "backbone."))),
        "dino, on several machines": ("backbone", beside("module.head.mlp.", under(state, "module.backbone."))),
        "barlow_twins": ("backbone", beside("module.projector.", under(state, "module.backbone."))),
        "solo-learn": ("backbone", beside("projector.", under(state, "backbone.", "momentum_backbone."))),
        "a backbone alone": ("plain", under(state, "")),
    }


@pytest.mark.parametrize("name", list(checkpoints({})))
def test_official_checkpoints_hold_our_network(name):
    made = resnet(small=True)
    wanted, state = checkpoints(made.state_dict())[name]
    layout, found = renamed(state)
    assert layout == wanted
    ours = build("ResNet18BN", 1, 8, 3, generator(0, "ours"))
    assert found.keys() == {each for each in ours.state_dict() if not each.startswith("classifier.")}
    ours.load_state_dict({**ours.state_dict(), **found})
    x = torch.randn(2, 1, 8, 8, generator=generator(0, "x"))
    made.fc = nn.Identity()
    torch.testing.assert_close(ours.eval().embed(x), made(x), atol=1e-5, rtol=1e-4)


def test_a_classifier_is_kept_where_it_is_one():
    made, ours = resnet("resnet50"), build("ResNet50BN", 3, 128, 3, generator(0, "ours"))
    layout, found = renamed({f"module.{name}": value for name, value in made.state_dict().items()})
    ours.load_state_dict(found)
    x = torch.randn(1, 3, 128, 128, generator=generator(0, "x"))
    torch.testing.assert_close(ours.eval()(x), made(x), atol=1e-5, rtol=1e-4)
    assert layout == "plain"


def test_other_names_stay_as_they_are():
    state = build("ConvNetW4D1BN", 1, 8, 3, generator(0, "ours")).state_dict()
    layout, found = renamed({f"module.{name}": value for name, value in state.items()})
    assert layout is None and found.keys() == state.keys()


def test_a_dino_checkpoint_is_imported(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    made, file = resnet(small=True), tmp_path / "checkpoint.pth"
    teacher = checkpoints(made.state_dict())["dino"][1]
    torch.save({"student": {}, "teacher": teacher, "epoch": 100}, file)
    assert weights.read(file).keys() == teacher.keys()
    ramp_set().save(tmp_path / "real")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    section = {"from": "file", "weights": None, "file": str(file), "sha256": digest, "classes": "none"}
    pool = settings_of({"source": "dataset", "objective": "imported", "networks": ["ResNet18BN"], "imported": section})
    work = job.Job(data=tmp_path / "real", settings=pool, network="ResNet18BN", index=0)
    with locked_tasks([Task.of("teacher main", {})]) as (task,):
        objectives.load("imported").make(work, task, "cpu")
    content, record = tensors.load(task.finished() / job.RESULT)
    assert record["classes"] is None
    assert torch.equal(content["last/body.1.running_mean"], made.bn1.running_mean)
