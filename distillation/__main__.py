"""``python -m distillation NAME``: the commands beside the pipeline; ``--help`` describes each."""

import importlib
import sys
from pathlib import Path

from distillation.runtime import signals

COMMANDS = Path(__file__).parent / "commands"


def main() -> int | None:
    """Runs the command that the first argument names and returns its exit status."""
    signals.end_in_a_sentence()
    names = sorted(path.stem for path in COMMANDS.glob("[a-z]*.py"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        is_help = len(sys.argv) > 1 and sys.argv[1] in ("-h", "--help")
        print(f"usage: python -m distillation {{{','.join(names)}}} ...", file=sys.stdout if is_help else sys.stderr)
        return 0 if is_help else 2
    name = sys.argv.pop(1)
    sys.argv[0] = f"python -m distillation {name}"
    return importlib.import_module(f"distillation.commands.{name}").main()


if __name__ == "__main__":
    sys.exit(main())
