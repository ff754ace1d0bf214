"""The product in a repository of its own, with settings that take seconds."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]

# The default, made small: seconds a stage instead of a minute. Every setting stays on its real path, and every network
# still learns: a wrong label shows in its accuracy.
NETWORK = "ConvNetD2W16NN"
SMALL = {
    "teacher.main.networks": [NETWORK],
    "teacher.main.supervised.epochs": 6,
    "teacher.main.supervised.lr": 0.1,
    "objectives.supervised.epochs": 6,  # of the pools that tests add
    "method.network": NETWORK,
    "method.alpha": 0.0,
    "method.dm.iterations": 20,
    "method.dm.batch_real": 8,
    "evaluate.networks": [NETWORK],
    "evaluate.seeds": 2,
    "evaluate.draws": 2,
    "evaluate.standard.hard.epochs": 40,
    "evaluate.standard.hard.lr": 0.1,
    "evaluate.common.epochs": 40,
    "evaluate.common.lr": 0.1,
    "evaluate.whole.epochs": 3,
    "evaluate.whole.lr": 0.1,
    "compute.threads": 1,
    "compute.workers": 1,  # tests share the machine with each other
}


class Clone:
    """A Git and DVC repository in a folder of its own, with the product's code and a small params.yaml."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
        self.env |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        bin_folder = Path(sys.executable).parent
        self.env["PATH"] = f"{bin_folder}{os.pathsep}{self.env['PATH']}"
        for name in ("DVC_ROOT", "DVC_STAGE"):
            self.env.pop(name, None)

    @classmethod
    def of_the_product(cls, folder, settings=None):
        clone = cls(folder)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (clone.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, clone.folder / name)
        (clone.folder / "dvc.lock").unlink(missing_ok=True)
        clone.set({**SMALL, "compute.checkpoint": 0.0, **(settings or {})})
        clone.run("git", "init", "-qb", "main")
        clone.commit()
        return clone

    def path(self, name):
        return self.folder / name

    def run(self, *args, ok=True, **more):
        done = subprocess.run(args, cwd=self.folder, env=self.env, capture_output=True, text=True, **more)
        assert not ok or done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *args):
        """A command in a process group of its own, so that all of it can be killed."""
        log = open(self.folder / ".dvc" / "tmp" / "log.txt", "ab")  # noqa: SIM115 (the child's)
        return subprocess.Popen(args, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True)

    def kill(self, process, group=True):
        """SIGKILL, for the command and, with ``group``, everything that it started."""
        if process.poll() is None:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()

    def processes(self):
        """Every living process that works in the folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
        return found

    def commit(self):
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "state", "--allow-empty")

    def set(self, settings):
        """Change values of params.yaml, comments kept."""
        yaml = YAML()
        values = yaml.load(self.path("params.yaml"))
        for path, value in settings.items():
            *above, last = path.split(".")
            at = values
            for key in above:
                at = at[key]
            at[last] = value
        yaml.dump(values, self.path("params.yaml"))

    def edit(self, name, old, new):
        text = self.path(name).read_text()
        assert old in text, f"{name} does not contain {old!r}"
        self.path(name).write_text(text.replace(old, new, 1))

    @property
    def lock(self):
        return self.path("dvc.lock").read_text()
