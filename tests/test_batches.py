"""Loops that batch work at every size that check accepts: batches that leave one image over, maps of one pixel, odd chunks."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillation.augment.views import ViewSettings
from distillation.labels.predict import teacher_logits
from distillation.labels.teacher_batches import OnlineBatches
from distillation.networks import names
from distillation.networks.build import build
from distillation.networks.norms import BatchNorm
from distillation.runtime.errors import BadInput
from distillation.runtime.random import generator
from distillation.training.loop import Training
from distillation.training.losses import loss_of
from distillation.training.settings import TrainSettings
from tests.helpers import methods as small
from tests.helpers.data import CLASSES, SIZE, noise_set
from tests.helpers.pools import experts_in, pool_in
from tests.helpers.training import SETTINGS

# at 8 pixels the last maps of the residual networks and of MobileNetV2 are single pixels
WORDS = [
    *("ConvNetW4", "ConvNetW4BN", "ConvNetW4GN", "ConvNetW4D2LN", "ConvNetW4D1NP", "AlexNetBN", "AlexNetIN", "MLP"),
    *("ResNet10W2BN", "ResNet18W2BN_AP", "ResNet10W2BN_P2", "ResNet50W1BN", "MobileNetV2"),
]
SMALLEST = ["ConvNetW4", "ConvNetW4BN", "ResNet10W2BN", "ResNet18W2BN_AP"]  # for methods, which take longer
FEW, BATCH = st.integers(1, 4), st.integers(1, 9)
SLOW = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_one_value_a_channel_is_normalised_by_the_running_statistics():
    norm = BatchNorm(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.fill_(4.0)
    image, kept = torch.tensor([5.0, 2.0, 1.0]).view(1, 3, 1, 1), dict(norm.state_dict())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        torch.nn.BatchNorm2d(3)(image)
    assert torch.allclose(norm(image).flatten(), torch.tensor([2.0, 0.0, -1.0]), atol=1e-5)
    assert all(torch.equal(value, norm.state_dict()[name]) for name, value in kept.items())
    two, ours, theirs = torch.randn(2, 3, 1, 1, generator=generator(0, "two")), BatchNorm(3), torch.nn.BatchNorm2d(3)
    assert torch.equal(ours(two), theirs(two)) and torch.equal(ours.running_var, theirs.running_var)


def accepted(word, channels, size):
    try:
        return names.check(word, channels, size)
    except BadInput:
        return None


@SLOW
@given(word=st.sampled_from(WORDS), size=st.sampled_from([4, 5, 8, 9, 12]), count=st.integers(1, 7), batch=BATCH)
def test_a_network_trains_on_batches_of_any_size(word, size, count, batch):
    if not accepted(word, 3, size):
        return
    draws = generator(0, "images", word)
    images, labels = torch.randn(count, 3, size, size, generator=draws), torch.arange(count) % CLASSES
    train = TrainSettings(**{**SETTINGS, "epochs": 2, "batch": batch})
    network = build(word, 3, size, CLASSES, generator(0, "network"))
    training = Training(network, lambda i: (images[i], labels[i]), count, loss_of("ce"), train, 0, "t", False)
    while not training.done:
        training.advance()
    assert all(parameter.isfinite().all() for parameter in network.parameters())


@SLOW
@given(word=st.sampled_from(WORDS), count=st.integers(1, 6), batch=BATCH, mode=st.sampled_from(["eval", "train"]))
def test_a_teacher_labels_batches_of_any_size(tmp_path, word, count, batch, mode):
    if not accepted(word, 3, SIZE):
        return
    data = noise_set()
    images = data.encode(data.train.images[:count])
    views = ViewSettings(augment="rrc", crop=0.5, mix="cutmix", alpha=1.0)
    logits_of = teacher_logits(pool_in(tmp_path, (word,)), data.space, "one", mode)
    batches = OnlineBatches(images, data.space, logits_of, views, batch, True, 0, "t")
    assert sum(len(batches(0, place)[1]) for place in range(batches.steps)) == count


SIZES = st.fixed_dictionaries(
    {key: BATCH for key in ("batch_real", "batch_train", "batch_syn", "batch_net", "update_syn", "batch")}
)


@pytest.mark.parametrize(
    "name", ["dm", "dc", "dsa", "apm", "scdd", "cda", "frepo", "kip", "krr_st", "mtt", "herding", "kmeans"]
)
def test_a_method_runs_at_any_size_or_is_refused(tmp_path_factory, name):
    experts = experts_in(tmp_path_factory.mktemp("experts")) if name == "mtt" else None

    @SLOW
    @given(word=st.sampled_from(SMALLEST), ipc=FEW, per_class=st.integers(2, 5), chunk=BATCH, sizes=SIZES)
    def runs(word, ipc, per_class, chunk, sizes):
        word = "ConvNetW4D2" if experts else word
        if not accepted(word, 3, SIZE):
            return
        teacher = experts or pool_in(tmp_path_factory.mktemp("pool"), (word,))
        own = {key: value for key, value in sizes.items() if key in small.SETTINGS[name]}
        given_settings = {**own, "iterations": 2, "images": ipc} if name == "krr_st" else {**own, "iterations": 2}
        given_settings = {key: value for key, value in given_settings.items() if key in small.SETTINGS[name]}
        try:
            method = small.method_of(
                name, teacher, noise_set(per_class), given_settings, network=word, ipc=ipc, chunk=chunk
            )
        except BadInput:
            return
        images = small.run(method).result().images
        assert images.isfinite().all() and images.shape[2:] == (SIZE, SIZE)

    runs()
