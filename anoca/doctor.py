"""What the simulator finds on this machine: versions, solvers and what to do about anything missing.

``diagnose()`` returns the findings; ``python -m anoca.doctor`` prints them. Native solvers are tried on tiny
problems in child processes with a time limit, so that a crash inside a library becomes a finding.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anoca

if TYPE_CHECKING:
    from rich.table import Table

OLDEST_PYTHON = (3, 11)
OLDEST_IPOPT = (3, 14)
PROBE_TIMEOUT_S = 60.0
LINEAR_SOLVERS = ("mumps", "spral")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

INSTALL_FIX = "pip install -e . (or make setup)"
IPOPT_FIX = "python .ci/install_ipopt.py, or conda install -c conda-forge cyipopt"

# What each library is for; a dependency that is not listed here is simply "the simulator".
NEEDED_FOR = {
    "casadi": "the Ipopt library, where cyipopt is built on the spot",
    "cyipopt": "the interior-point method of the DMS",
    "dss-python": "reading OpenDSS feeders and checking voltages against the engine",
    "highspy": "the linear, quadratic and mixed-integer problems",
    "joblib": "sweeps on several cores",
    "matplotlib": "the figures",
    "networkx": "the network's graph",
    "numba": "the compiled dynamic programme of the homes",
    "numpy": "all arithmetic",
    "pandas": "the result tables",
    "py-dss-interface": "the second, independent check of voltages",
    "pyarrow": "the result files",
    "pydantic": "checking scenarios",
    "pyomo": "the readable reference models",
    "qdldl": "the barrier method of the DMS",
    "rich": "the terminal output",
    "scipy": "sparse linear algebra",
    "simpy": "the event simulation",
    "typer": "the command line",
    "tzdata": "time zones",
}
# Libraries that no extra names but that are used when they are there.
ALSO_USED = ("casadi",)

# min (x - 1)^2 + (y - 2)^2 with x + y = 2 has its optimum at (0.5, 1.5).
IPOPT_PROBE = """
import json, os, sys
import cyipopt
import numpy as np

class Tiny:
    def objective(self, x): return (x[0] - 1) ** 2 + (x[1] - 2) ** 2
    def gradient(self, x): return np.array([2 * (x[0] - 1), 2 * (x[1] - 2)])
    def constraints(self, x): return np.array([x[0] + x[1]])
    def jacobian(self, x): return np.ones(2)
    def hessianstructure(self): return np.array([0, 1]), np.array([0, 1])
    def hessian(self, x, multipliers, factor): return np.array([2.0, 2.0]) * factor

nlp = cyipopt.Problem(2, 1, Tiny(), lb=[-10] * 2, ub=[10] * 2, cl=[2], cu=[2])
nlp.add_option("print_level", 0)
nlp.add_option("sb", "yes")
library = ""
if os.path.exists("/proc/self/maps"):
    with open("/proc/self/maps") as maps:
        library = next((line.split(maxsplit=5)[5].strip() for line in maps if "libipopt" in line), "")
answer = {"ok": False, "ipopt": list(cyipopt.IPOPT_VERSION), "library": library}
try:
    nlp.add_option("linear_solver", sys.argv[1])
except TypeError:
    answer["error"] = "not in this build"
else:
    x, info = nlp.solve(np.zeros(2))
    answer["ok"] = bool(info["status"] == 0 and np.allclose(x, [0.5, 1.5], atol=1e-6))
print(json.dumps(answer))
"""

# min x + y with x + 2 y >= 2 and 0 <= x, y: the optimum is 1 at (0, 1).
HIGHS_PROBE = """
import json
import highspy

highs = highspy.Highs()
highs.silent()
x, y = highs.addVariable(lb=0), highs.addVariable(lb=0)
highs.addConstr(x + 2 * y >= 2)
highs.minimize(x + y)
print(json.dumps({"ok": abs(highs.getObjectiveValue() - 1) < 1e-7, "highs": highs.version()}))
"""

PYOMO_PROBE = """
import json
import pyomo.environ as pyo

model = pyo.ConcreteModel()
model.x = pyo.Var(bounds=(0, None))
model.low = pyo.Constraint(expr=2 * model.x >= 3)
model.cost = pyo.Objective(expr=model.x)
pyo.SolverFactory("appsi_highs").solve(model)
print(json.dumps({"ok": abs(pyo.value(model.x) - 1.5) < 1e-7}))
"""


@dataclass(frozen=True)
class Check:
    """One finding: what was looked for, what is there, whether it will do, and how to mend it if not."""

    name: str
    found: str
    ok: bool
    needed_for: str
    fix: str
    optional: bool = False


def diagnose() -> list[Check]:
    """Look at the interpreter, the libraries, the solvers and the thread settings.

    Nothing is changed or printed. A finding that is not ``ok`` matters only if it is not ``optional``.
    """
    dependencies = _dependencies()
    return [
        _python(),
        _platform(),
        _own_version(),
        *(_library(*dependency) for dependency in dependencies),
        *_solvers(),
        *(_threads(name, os.environ) for name in THREAD_VARIABLES),
    ]


def _python() -> Check:
    return Check(
        name="python",
        found=platform.python_version(),
        ok=sys.version_info >= OLDEST_PYTHON,
        needed_for="the simulator",
        fix=f"use Python {_dotted(OLDEST_PYTHON)} or later",
    )


def _platform() -> Check:
    system, machine = platform.system(), platform.machine()
    return Check(
        name="platform",
        found=platform.platform(),
        ok=(system, machine) == ("Linux", "x86_64"),
        needed_for="the tested set-up (Linux, x86-64)",
        fix="elsewhere, take cyipopt from conda-forge; untested",
        optional=True,
    )


def _own_version() -> Check:
    version = _version("anoca")
    return Check(
        name="anoca",
        found=version or f"source only ({anoca.__version__})",
        ok=version is not None,
        needed_for="the simulator",
        fix=INSTALL_FIX,
    )


def _dependencies() -> list[tuple[str, str, str]]:
    """Return (name, lower or exact bound, extra) of every library that our own metadata names, and some more.

    The test tools are left out: whoever runs the tests has them from the same place as the tests.
    """
    try:
        lines = importlib.metadata.requires("anoca") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    named = [_parse_requirement(line) for line in lines]
    wanted = [requirement for requirement in named if requirement[2] != "test"]
    return [*wanted, *((name, "", "optional") for name in ALSO_USED)]


def _parse_requirement(line: str) -> tuple[str, str, str]:
    """Split a requirement such as ``dask[distributed]>=2024.8; extra == "cluster"`` into its parts.

    Enough for the requirements of this project (one bound, at most an extra as marker), not for all of them.
    """
    match = re.fullmatch(
        r"""(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?(?P<bound>(?:>=|==)\s*[\w.]+)?\)?"""
        r"""\s*(?:;\s*extra\s*==\s*["'](?P<extra>[\w-]+)["'])?""",
        line.strip(),
    )
    if match is None:
        raise ValueError(f"requirement {line!r} has an unknown form")
    name = re.sub(r"[-_.]+", "-", match["name"]).lower()
    return name, (match["bound"] or "").replace(" ", ""), match["extra"] or ""


def _library(name: str, bound: str, extra: str) -> Check:
    version = _version(name)
    if extra == "":
        fix = INSTALL_FIX
    elif extra == "ipopt" or name == "casadi":
        fix = IPOPT_FIX
    elif extra == "optional":
        fix = f"pip install {name}"
    else:
        fix = f"pip install -e '.[{extra}]'"
    if name == "cyipopt" and version is None:
        version = _version("cyipopt-wheels")
    ok = version is not None and _meets(version, bound)
    return Check(
        name=name,
        found=(version or "missing") + (f" ({bound} needed)" if bound and not ok else ""),
        ok=ok,
        needed_for=NEEDED_FOR.get(name, "the simulator"),
        fix=fix,
        optional=extra != "",
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _meets(version: str, bound: str) -> bool:
    """Tell whether a version satisfies ``>=x``, ``==x`` or no bound, by its release numbers alone."""
    if not bound:
        return True
    have, want = _release(version), _release(bound[2:])
    size = max(len(have), len(want))
    have, want = (numbers + (0,) * (size - len(numbers)) for numbers in (have, want))
    return have == want if bound.startswith("==") else have >= want


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in version)


def _solvers() -> list[Check]:
    """Try every solver at once, each in its own child process."""
    probes = {
        "highs": (HIGHS_PROBE,),
        "pyomo": (PYOMO_PROBE,),
        **{solver: (IPOPT_PROBE, solver) for solver in LINEAR_SOLVERS},
    }
    with ThreadPoolExecutor(max_workers=len(probes)) as pool:
        futures = {name: pool.submit(run_probe, *arguments) for name, arguments in probes.items()}
    answers = {name: future.result() for name, future in futures.items()}
    highs, pyomo = answers["highs"], answers["pyomo"]
    return [
        _ipopt(answers),
        *(_linear_solver(solver, answers[solver]) for solver in LINEAR_SOLVERS),
        Check(
            name="HiGHS solves",
            found=str(highs["highs"]) if highs.get("ok") else _failure(highs),
            ok=bool(highs.get("ok")),
            needed_for=NEEDED_FOR["highspy"],
            fix="pip install --force-reinstall highspy",
        ),
        Check(
            name="Pyomo solves",
            found="through HiGHS" if pyomo.get("ok") else _failure(pyomo),
            ok=bool(pyomo.get("ok")),
            needed_for=NEEDED_FOR["pyomo"],
            fix="pip install --force-reinstall pyomo highspy",
        ),
    ]


def run_probe(code: str, *arguments: str, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, object]:
    """Run a small program in a child process and return the last JSON object it prints on a line.

    A program that fails, crashes, prints no object or takes too long gives ``{"ok": False, "error": ...}``.
    """
    # SPRAL refuses to start without the first two; one thread keeps the probes from crowding a small machine.
    environment = {"OMP_CANCELLATION": "TRUE", "OMP_PROC_BIND": "TRUE", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"ok": False, "error": f"no answer within {timeout_s:g} s"}
    if child.returncode < 0:
        return {"ok": False, "error": f"crashed with signal {-child.returncode}"}
    if child.returncode > 0:
        lines = child.stderr.strip().splitlines()
        return {"ok": False, "error": lines[-1] if lines else f"ended with code {child.returncode}"}
    # Not simply the last line: a native library may print its own lines when the process ends.
    for line in reversed(child.stdout.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                return dict(json.loads(line))
    return {"ok": False, "error": "no readable answer"}


def _failure(answer: Mapping[str, object]) -> str:
    return str(answer.get("error", "wrong answer"))


def _ipopt(answers: Mapping[str, Mapping[str, object]]) -> Check:
    """Report Ipopt from the first linear-solver probe that got as far as naming its version."""
    tried = [answers[solver] for solver in LINEAR_SOLVERS]
    answer = next((one for one in tried if "ipopt" in one), tried[0])
    numbers = answer.get("ipopt")
    version = tuple(int(number) for number in numbers) if isinstance(numbers, list) else ()
    works = any(bool(one.get("ok")) for one in tried)
    return Check(
        name="Ipopt solves",
        found=f"{_dotted(version)}, {ipopt_build(str(answer['library']))}" if version else _failure(answer),
        ok=works and version >= OLDEST_IPOPT,
        needed_for=f"{NEEDED_FOR['cyipopt']} ({_dotted(OLDEST_IPOPT)} or later)",
        fix=IPOPT_FIX,
        optional=True,
    )


def ipopt_build(library: str) -> str:
    """Name the build of Ipopt from the path of the shared library that the process has loaded."""
    folders = re.split(r"[/\\]", library)[:-1]
    if not library:
        return "build unknown"
    if "casadi" in folders:
        return "casadi's library"
    if any(folder.startswith("cyipopt") and folder.endswith(".libs") for folder in folders):
        return "prebuilt"
    return f"other: {library}"


def _linear_solver(solver: str, answer: Mapping[str, object]) -> Check:
    return Check(
        name=f"Ipopt with {solver}",
        found="works" if answer.get("ok") else _failure(answer),
        ok=bool(answer.get("ok")),
        needed_for="Ipopt's default linear solver" if solver == "mumps" else "a second linear solver",
        fix=IPOPT_FIX if solver == "mumps" else "an Ipopt that has it, as the one in the casadi wheel",
        optional=True,
    )


def _threads(name: str, environment: Mapping[str, str]) -> Check:
    value = environment.get(name)
    return Check(
        name=name,
        found=value or "not set",
        ok=value == "1",
        needed_for="runs that repeat to the last digit",
        fix=f"export {name}=1",
        optional=True,
    )


def as_table(checks: list[Check]) -> Table:
    """Lay the findings out for a terminal; the fix is shown only where one is needed."""
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for title in ("", "check", "found", "needed for", "fix"):
        table.add_column(title, overflow="fold")
    for check in checks:
        mark = "[green]ok[/]" if check.ok else "[yellow]-[/]" if check.optional else "[red]missing[/]"
        fix = "" if check.ok else check.fix
        table.add_row(mark, *(escape(text) for text in (check.name, check.found, check.needed_for, fix)))
    return table


def as_text(checks: list[Check]) -> str:
    """Lay the findings out as plain lines, for when the library that draws tables is itself missing."""
    lines = []
    for check in checks:
        mark = "ok" if check.ok else "-" if check.optional else "missing"
        fix = "" if check.ok else f" -> {check.fix}"
        lines.append(f"{mark:8}{check.name}: {check.found} ({check.needed_for}){fix}")
    return "\n".join(lines)


def main() -> int:
    """Print the findings; return 1 if something is missing that is not optional."""
    checks = diagnose()
    try:
        from rich.console import Console
    except ImportError:
        print(as_text(checks))
    else:
        Console().print(as_table(checks))
    return int(any(not check.ok and not check.optional for check in checks))


if __name__ == "__main__":
    sys.exit(main())
