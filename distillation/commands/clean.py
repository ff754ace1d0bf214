"""Remove old work: checkpoints and finished results that nobody has touched for some days.

Reads   .dvc/tmp/work
Writes  nothing; removes whole task folders there. Outs and DVC's cache stay.
"""

import argparse
import fcntl
import shutil
import time

from distillation.runtime.errors import guarded
from distillation.runtime.work import discard, work_folder


def run(days):
    before, freed = time.time() - days * 86400, 0
    for trash in work_folder().glob("*.trash"):
        shutil.rmtree(trash)
    for folder in sorted(path for path in work_folder().glob("*") if path.is_dir()):
        with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a run holds it
                continue
            files = [file for file in folder.rglob("*") if file.is_file()]
            if max((file.stat().st_mtime for file in files), default=0) < before:
                freed += sum(file.stat().st_size for file in files)
                discard(folder)
    print(f"Freed {freed / 1e6:.1f} MB.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=30, help="how old work must be (default: 30)")
    return guarded(run, parser.parse_args().days)
