"""`anoca` and `python -m anoca`: one thread per process, then the command line.

The thread count is set before any numerical library is loaded: results then repeat to the last
digit, and a sweep's processes do not fight over the cores. A value that is set already is kept.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def main() -> None:
    """Run the command line; Ctrl-C while it loads is an interruption like any other."""
    try:
        from anoca.cli import main as command_line
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    command_line()


if __name__ == "__main__":
    main()
