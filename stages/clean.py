"""Remove old work: checkpoints and finished results that nobody has touched for some days.

Reads   .dvc/tmp/work
Writes  nothing; removes whole task folders there. Outs and DVC's cache stay.
"""

import argparse
import fcntl
import shutil
import sys
import time

from stages.runtime.errors import guarded
from stages.runtime.work import work_folder


def run(days):
    before, freed = time.time() - days * 86400, 0
    for folder in sorted(p for p in work_folder().glob("*") if p.is_dir()):
        files = [f for f in folder.rglob("*") if f.is_file()]
        if max((f.stat().st_mtime for f in files), default=0) < before:
            with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # a run holds it
                    continue
                freed += sum(f.stat().st_size for f in files)
                shutil.rmtree(folder)
    print(f"Freed {freed / 1e6:.1f} MB.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=30, help="how old work must be (default: 30)")
    sys.exit(guarded(run, parser.parse_args().days))
