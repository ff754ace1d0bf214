"""Temporary clones of the working tree, in which tests run the real workflow."""

import os
import shutil
import signal

import hypothesis
import pytest

from tests.helpers.clones import Clone

os.environ["OMP_NUM_THREADS"] = (
    "1"  # read when torch is imported: two test processes of two spinning threads each crawl
)
# A shell starts what it puts in the background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("any machine", deadline=None)  # a test must not fail because others work
hypothesis.settings.load_profile("any machine")


@pytest.fixture
def own_root(tmp_path, monkeypatch):
    """The root of work and raw downloads in a folder of the test."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory):
    """A small clone after ``dvc repro``, to be copied: a test that changed it would change every other's."""
    clone = Clone.of_the_product(tmp_path_factory.mktemp("reproduced"))
    clone.run("dvc", "repro")
    clone.commit()
    return clone


@pytest.fixture
def copy_of(tmp_path):
    """A function that gives a copy of a clone, its DVC cache and its finished work included."""

    def copy(clone):
        shutil.copytree(clone.folder, tmp_path / "copy", symlinks=True)
        return Clone(tmp_path / "copy")

    return copy


@pytest.fixture
def clone(reproduced, copy_of):
    """The test's own clone, reproduced: 14 MB and a fifth of a second."""
    return copy_of(reproduced)
