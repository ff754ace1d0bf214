"""Results are shared: over ssh (a real server, where one is installed) and by a path. Small stages of the product's shape;
`.ci/teams.sh` does the same with the product itself."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
STAGES = """
stages:
  work:
    cmd: echo work >> $DVC_ROOT/ran && mkdir -p out && cp params.yaml out/metrics.json
    params: [alpha]
    outs: [out]
  report:
    cmd: echo report >> $DVC_ROOT/ran && sed s/alpha/metric/ out/metrics.json > metrics.yaml
    deps: [out]
    metrics:
    - metrics.yaml:
        cache: false
"""


@pytest.fixture
def server(tmp_path):
    """(port, key) of an ssh server on this machine that knows one key."""
    if not SSHD:
        pytest.skip("sshd is not installed")
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "key.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
        "Subsystem": "sftp internal-sftp",
    }
    (tmp_path / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    process = subprocess.Popen([SSHD, "-D", "-f", tmp_path / "sshd_config", "-E", tmp_path / "sshd.log"])
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield port, tmp_path / "key"
    process.kill()
    process.wait()


class Person:
    """A clone of a team's repository."""

    def __init__(self, origin, name):
        self.folder = origin.parent / name
        subprocess.run(["git", "clone", "-q", origin, self.folder], check=True)
        self.run("git", "config", "user.name", name)
        self.run("git", "config", "user.email", f"{name}@example.org")

    def run(self, *args):
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(args, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{args}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ran(self):
        """The stages executed since this was last asked."""
        path = self.folder / "ran"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names


def team(tmp_path, url):
    """A repository with a remote, to which its first clone pushed what it ran, experiment included."""
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", origin], check=True)
    ada = Person(origin, "ada")
    ada.run("git", "checkout", "-qb", "main")
    ada.run("dvc", "init", "-q")
    ada.run("dvc", "remote", "add", "-d", "store", url)
    ada.run("dvc", "config", "exp.auto_push", "true")
    ada.run("dvc", "config", "exp.git_remote", "origin")
    (ada.folder / "dvc.yaml").write_text(STAGES)
    (ada.folder / "params.yaml").write_text("alpha: 0\n")
    (ada.folder / ".gitignore").write_text("ran\nout\n")
    return origin, ada


def shared(origin, ada, set_up):
    """What the second clone executes for an experiment, and for a pull and repro."""
    set_up(ada)
    ada.run("dvc", "repro", "-q")
    ada.run("git", "add", "-A")
    ada.run("git", "commit", "-qm", "c")
    ada.run("git", "push", "-q", "origin", "main")
    ada.run("dvc", "push", "-q", "--run-cache")
    ada.run("dvc", "exp", "run", "-q", "-S", "alpha=1000")
    assert ada.ran() == ["work", "report"] * 2
    bob = Person(origin, "bob")
    set_up(bob)
    bob.run("dvc", "pull", "-q")
    bob.run("dvc", "repro", "-q")
    nothing = bob.ran()
    bob.run("dvc", "exp", "run", "-q", "--pull", "-S", "alpha=1000")
    return nothing, bob.ran()


@pytest.mark.workflow
@pytest.mark.slow
def test_over_ssh_a_teammate_executes_only_the_report(tmp_path, server):
    port, key = server
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "store").mkdir()
    origin, ada = team(tmp_path, f"ssh://{user}@127.0.0.1:{port}{tmp_path}/store")
    assert shared(
        origin, ada, lambda person: person.run("dvc", "remote", "modify", "--local", "store", "keyfile", str(key))
    ) == ([], ["report"])


@pytest.mark.workflow
@pytest.mark.slow
def test_by_a_path_a_teammate_executes_only_the_report(tmp_path):
    origin, ada = team(tmp_path, str(tmp_path / "store"))
    assert shared(origin, ada, lambda person: None) == ([], ["report"])


@pytest.mark.workflow
@pytest.mark.slow
def test_a_shared_cache_needs_no_push(tmp_path):
    origin, ada = team(tmp_path, str(tmp_path / "store"))
    cache = str(tmp_path / "cache")

    def set_up(person):
        person.run("dvc", "config", "--local", "cache.dir", cache)

    ada.run("dvc", "config", "exp.auto_push", "false")
    set_up(ada)
    ada.run("dvc", "repro", "-q")
    ada.run("git", "add", "-A")
    ada.run("git", "commit", "-qm", "c")
    ada.run("git", "push", "-q", "origin", "main")
    ada.run("dvc", "exp", "run", "-q", "-S", "alpha=1000")
    bob = Person(origin, "bob")
    set_up(bob)
    bob.run("dvc", "exp", "run", "-q", "-S", "alpha=1000")
    assert bob.ran() == []
