"""The plain Pyomo route stage by stage: build, write the .nl file, read it, solve.

    .venv/bin/python benchmarks/plain_pyomo.py [case2 ...] [--norms l1,l2]

Pyomo model of the same equations (`dms.reference`), its own .nl writer, casadi's `NlpBuilder.import_nl`
and its Ipopt with default options from a power-flow start.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from anoca.studies.benching.agreement import Point
from anoca.studies.benching.dms_cases import cases, names
from anoca.studies.benching.methods import PLAIN_NORMS
from anoca.studies.benching.plain_pyomo import solve_plain
from anoca.studies.benching.timing import on_one_thread


def main() -> int:
    """One line a tick; 1 if one of them was not solved."""
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["case2"], help=f"of {', '.join(names())}")
    parser.add_argument("--norms", default=",".join(PLAIN_NORMS))
    given = parser.parse_args()
    solved = True
    print("case scenario norm: build, write, read, solve, tick s; iterations; objective; over; status")
    for tick in (tick for name in given.cases for tick in cases(name)):
        for norm in given.norms.split(","):
            problem = tick.compile(norm)
            request = tick.request(problem)
            found = solve_plain(problem, request)
            point = Point.of(problem, request, found.unit_curtail_kw)
            stages = (found.build_s, found.write_s, found.read_s, found.solve_s, found.tick_s)
            print(
                f"{tick.name} {tick.scenario:>3} {norm:>5}", *(f"{s:6.2f}" for s in stages),
                f"{found.iterations:6d}", f"{point.objective:.8g}", f"{point.over_v:.0e} {point.over_i:.0e}",
                found.status, flush=True,
            )  # fmt: skip
            solved &= found.converged
    return 0 if solved else 1


if __name__ == "__main__":
    sys.exit(main())
