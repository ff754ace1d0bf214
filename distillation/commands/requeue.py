"""Queue again the experiments that were running when their worker or the machine was killed. A command, no stage.

Reads   DVC's queue, params.yaml
Writes  DVC's queue: what DVC still shows as running, though nothing runs it, is noted as failed and waits again under its
        name with its parameters. What its stages had finished is not computed again. The exit code is 2 where DVC refuses
        one; the others are queued all the same.
"""

import argparse
import dataclasses
import subprocess

import psutil

from distillation import params as parameters
from distillation.recipes import overlay
from distillation.runtime import process
from distillation.runtime.errors import BadInput, guarded


def run():
    process.begin()
    here, lost, refused = parameters.load().values, abandoned(), {}
    for name, params in lost.items():
        try:
            _again(here, name, params)
        except BadInput as error:
            refused[name] = str(error).rstrip(".")
    again = [name for name in lost if name not in refused]
    print(f"{len(again)} queued again{': ' * bool(again)}{', '.join(again)}. `dvc queue start -j N` goes on.")
    if refused:
        said = "; ".join(f"{name}, as {why}" for name, why in refused.items())
        raise BadInput(f"{len(refused)} of {len(lost)} could not be queued again: {said}.")


def _again(here, name, params):
    _dvc("queue", "kill", name)  # nothing is left to kill: DVC notes that it failed
    flags = overlay.flags(here, params)
    _dvc("exp", "run", "--queue", "--name", name, *(part for flag in flags for part in ("--set-param", flag)))


def abandoned():
    """Name to parameters of the experiments that DVC shows as running while their process is gone, which DVC then knows."""
    from dvc.repo import Repo

    with Repo() as repo:
        queue = repo.experiments.celery_queue
        shown = list(queue.iter_active())
        kept = _of_workers(queue) if shown else set()
        still = {entry.stash_rev for entry in queue.iter_active()} - kept  # what ended meanwhile is no longer active
        lost = [entry for entry in shown if entry.stash_rev in still and not _alive(queue, entry.stash_rev)]
        for entry in lost:
            _note_its_end(queue.proc, entry.stash_rev)
        return {entry.name or entry.stash_rev[:7]: _params(entry.stash_rev) for entry in lost}


def _of_workers(queue):
    """Revisions that living workers have in hand: before their process starts, and while its results are collected."""
    return {task["args"][0]["stash_rev"] for tasks in queue.worker_status().values() for task in tasks}


def _alive(queue, revision):
    """Whether DVC's process runs; after a restart of the machine its number may be that of any other process."""
    info = queue.proc.get(revision)
    if info is None or info.returncode is not None:
        return False
    try:
        command = psutil.Process(info.pid).cmdline()
    except psutil.Error:  # there is none, or it is somebody else's
        return False
    return "exec-run" in command and any(revision in part for part in command)


def _note_its_end(processes, revision):
    """Else `dvc queue kill` would interrupt whatever process has its number now."""
    info = processes.get(revision)
    if info and info.returncode is None:
        processes[revision] = dataclasses.replace(info, returncode=-1)


def _params(revision):
    shown = subprocess.run(["git", "show", f"{revision}:./params.yaml"], capture_output=True, text=True, check=True)
    return parameters.parse(shown.stdout)


def _dvc(*arguments):
    done = subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1].removeprefix("ERROR: ").rstrip(".")
        raise BadInput(f"`dvc {' '.join(arguments[:2])}` refuses: {said}.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    return guarded(run)
