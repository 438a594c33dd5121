"""Peak memory of one tick by one method: a process of its own, its largest resident size.

    python -m anoca.studies.benching.memory CASE SCENARIO METHOD NORM

prints megabytes: interpreter, libraries, feeder, compiled problem and solution together.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def peak_mb(case: str, scenario: str, method: str, norm: str) -> float:
    """Peak resident memory of a cold tick, MB; NaN where the process fails."""
    command = [sys.executable, "-m", __name__, case, scenario, method, norm]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    return float(done.stdout) if done.returncode == 0 else float("nan")


def main(case: str, scenario: str, method: str, norm: str) -> None:
    """Solve the tick once and print the peak."""
    from anoca.studies.benching.dms_cases import cases
    from anoca.studies.benching.methods import methods

    tick = next(tick for tick in cases(case) if tick.scenario == scenario)
    problem = tick.compile(norm)
    methods()[method](problem, tick.request(problem), None)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
