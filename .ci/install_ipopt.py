"""Put a working cyipopt with Ipopt 3.14 or later into the virtual environment that runs this file.

Three routes, in this order; the first that ends in a solved problem is kept:

1. a cyipopt that is there already and works;
2. the official cyipopt built against the Ipopt library inside the casadi wheel (needs a C compiler and the
   Python headers, nothing else);
3. a prebuilt cyipopt from a third party, with a somewhat older Ipopt.

The third-party files are checked against the digests below. Only the standard library is used here.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

OLDEST_IPOPT = (3, 14)
BUILD_TIMEOUT_S = 1800
SOLVE_TIMEOUT_S = 120

# Each requirement with the digests of the files that may be taken for it (Linux x86-64, Python 3.11-3.13).
CASADI = (
    "casadi==3.8.2",
    "e7565f06da49f5d097c57eba0f1f53b86242dd6c876c5aea5193f03364a02a14",
    "118df1a9ae944a80989849ea5cfa76c20b28e95d6f568c9f989e8c16a66ab1db",
)
CYIPOPT_SOURCE = (
    "cyipopt==1.7.0",
    "527eab917415af8808df05ab1899df12bde6e95e5c5d32644b59a69e18561471",
)
CYIPOPT_PREBUILT = (
    "cyipopt-wheels==1.7.0.dev0",
    "28d3060472b0eccda6977324d19f647815ad94935d07db8b039174a02aa1ae65",
    "11813b908cf64fea6322ad416da074898cc7169ba54e73dcb2d9eadcdbe2e907",
    "1699777aa3e6449eb9d101f97928135fe1cd244b49f587ccb449e12ab4a8f12d",
)
# What the build of cyipopt runs with; numpy is pinned to the installed version as well.
BUILD_TOOLS = ("cython==3.3.1", "setuptools==84.2.1")

# HS071, a textbook problem with a known optimum. It runs in a child process because a wrong library ends
# the process that loads it. Printed: the Ipopt version, if the solution is right.
SOLVE_SMALL_PROBLEM = """
import cyipopt, numpy as np

class Problem:
    def objective(self, x): return x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]
    def gradient(self, x):
        total = x[0] + x[1] + x[2]
        return np.array([x[3] * (x[0] + total), x[0] * x[3], x[0] * x[3] + 1, x[0] * total])
    def constraints(self, x): return np.array([x.prod(), x @ x])
    def jacobian(self, x): return np.concatenate([x.prod() / x, 2 * x])

nlp = cyipopt.Problem(4, 2, Problem(), lb=[1] * 4, ub=[5] * 4, cl=[25, 40], cu=[2e19, 40])
for name, value in (("print_level", 0), ("sb", "yes"), ("hessian_approximation", "limited-memory")):
    nlp.add_option(name, value)
_, info = nlp.solve(np.array([1.0, 5.0, 5.0, 1.0]))
assert info["status"] == 0 and abs(info["obj_val"] - 17.0140173) < 1e-5, info["status_msg"]
print("solved with Ipopt", *cyipopt.IPOPT_VERSION)
"""

ADVICE = """\
cyipopt with Ipopt >= 3.14 could not be installed: {reasons}
Any one of these mends it, then run the same command again:
  - a C compiler and the Python headers (Debian, Ubuntu: apt install gcc python3-dev);
  - Python 3.11, 3.12 or 3.13 on Linux x86-64, for which a prebuilt file exists;
  - an environment with cyipopt from conda-forge (conda install -c conda-forge cyipopt), with the simulator
    installed into it by pip install -e .
Everything but the interior-point method works without it."""


class RouteError(Exception):
    """One route did not end in a working cyipopt; the text says why."""


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"==> {text}", flush=True)


def ipopt_version() -> tuple[int, ...]:
    """Return the version of an Ipopt that has just solved a small problem through cyipopt.

    Raises RouteError when cyipopt is missing, cannot be loaded, is too old or gives a wrong answer.
    """
    if importlib.util.find_spec("cyipopt") is None:
        raise RouteError("cyipopt is not installed")
    try:
        child = subprocess.run(
            [sys.executable, "-c", SOLVE_SMALL_PROBLEM],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SOLVE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RouteError(f"the small problem was not solved within {SOLVE_TIMEOUT_S} s") from None
    # Ipopt may print lines of its own besides ours.
    answer = re.search(r"^solved with Ipopt ((?:\d+ ?)+)$", child.stdout, flags=re.MULTILINE)
    if child.returncode != 0 or answer is None:
        last = (child.stderr.strip().splitlines() or [f"it ended with code {child.returncode}"])[-1]
        raise RouteError(f"cyipopt does not work here ({last})")
    version = tuple(int(number) for number in answer[1].split())
    if version < OLDEST_IPOPT:
        raise RouteError(f"Ipopt {dotted(version)} is older than {dotted(OLDEST_IPOPT)}")
    return version


def dotted(version: tuple[int, ...]) -> str:
    """Write a version tuple the usual way."""
    return ".".join(str(number) for number in version)


def installed(*names: str) -> list[str]:
    """Return those of the named distributions that are installed."""
    found = []
    for name in names:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def pip(*arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run this interpreter's pip; raise RouteError with the last lines it printed if it fails."""
    command = [sys.executable, "-m", "pip", *arguments, "-qq", "--disable-pip-version-check", "--no-input"]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RouteError(f"pip {arguments[0]} took longer than {BUILD_TIMEOUT_S} s") from None
    if done.returncode != 0:
        tail = "\n    ".join(done.stdout.strip().splitlines()[-15:])
        raise RouteError(f"pip {arguments[0]} failed:\n    {tail}")


def install_checked(
    requirement: tuple[str, ...],
    *options: str,
    scratch: Path,
    environment: dict[str, str] | None = None,
) -> None:
    """Install one requirement, without its dependencies, from a file whose digest is listed with it."""
    name, *digests = requirement
    listing = scratch / "requirement.txt"
    listing.write_text(" ".join([name, *(f"--hash=sha256:{digest}" for digest in digests)]) + "\n")
    arguments = ("install", "--no-deps", "--require-hashes", *options, "-r", str(listing))
    pip(*arguments, environment=environment)


def remove_cyipopt() -> None:
    """Uninstall cyipopt, whoever built it: two builds in one environment overwrite each other's files."""
    found = installed("cyipopt", "cyipopt-wheels")
    if found:
        pip("uninstall", "-y", *found)


def compiler_environment() -> dict[str, str]:
    """Return the variables that make the build use a compiler that exists.

    Raises RouteError when there is no compiler or the Python headers are missing.
    """
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        raise RouteError("the Python headers are missing")
    configured = os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc"
    if shutil.which(shlex.split(configured)[0]):
        return {}
    for name in ("gcc", "cc"):
        if shutil.which(name):
            return {"CC": name, "LDSHARED": f"{name} -shared"}
    raise RouteError("no C compiler was found")


def casadi_folder() -> Path:
    """Return the folder of the installed casadi package, without importing it."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("casadi")
    if spec is None or spec.origin is None:
        raise RouteError("casadi was installed but is not found")
    return Path(spec.origin).parent


def build_environment(casadi: Path, scratch: Path, extra: dict[str, str]) -> dict[str, str]:
    """Return the variables under which the build of cyipopt finds casadi's Ipopt and its fixed tools."""
    # A link without blanks: the flags that pkg-config prints are split at blanks.
    link = scratch / "casadi"
    link.symlink_to(casadi)
    stand_in = scratch / "bin" / "pkg-config"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\necho '-I{link}/include/coin-or -L{link} -lipopt'\n")
    stand_in.chmod(0o755)
    tools = scratch / "build-tools.txt"
    pins = (*BUILD_TOOLS, f"numpy=={importlib.metadata.version('numpy')}")
    tools.write_text("\n".join(pins) + "\n")
    # $ORIGIN is the loader's word for the folder of the extension: it stays literal, so that the
    # environment may be moved. Both pip variables: old versions of pip read the first, new ones the second.
    return {
        **extra,
        "PATH": f"{stand_in.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LDFLAGS": f"{os.environ.get('LDFLAGS', '')} -Wl,-rpath,$ORIGIN/../casadi".strip(),
        "PIP_CONSTRAINT": str(tools),
        "PIP_BUILD_CONSTRAINT": str(tools),
    }


def use_present() -> None:
    """Route 1: keep what is there, unless two builds of cyipopt lie on top of each other."""
    if len(installed("cyipopt", "cyipopt-wheels")) == 2:
        raise RouteError("cyipopt and cyipopt-wheels are both installed")


def build_with_casadi() -> None:
    """Route 2: build the official cyipopt against the Ipopt of the casadi wheel."""
    require_own_environment()
    compiler = compiler_environment()
    say("Building cyipopt against the Ipopt of casadi (under a minute)")
    remove_cyipopt()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        install_checked(CASADI, "--only-binary", ":all:", scratch=scratch)
        environment = build_environment(casadi_folder(), scratch, compiler)
        # No cache: it may hold a cyipopt that was built here against another Ipopt.
        options = ("--no-cache-dir", "--no-binary", "cyipopt")
        install_checked(CYIPOPT_SOURCE, *options, scratch=scratch, environment=environment)


def take_prebuilt() -> None:
    """Route 3: install the prebuilt cyipopt."""
    require_own_environment()
    say("Installing the prebuilt cyipopt")
    remove_cyipopt()
    with tempfile.TemporaryDirectory() as name:
        install_checked(CYIPOPT_PREBUILT, "--only-binary", ":all:", scratch=Path(name))


def require_own_environment() -> None:
    """Refuse to install into a system or conda Python."""
    if sys.prefix == sys.base_prefix:
        raise RouteError("this Python is not that of a virtual environment, so nothing was installed")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RouteError("there is no file for this platform")
    if not installed("numpy"):
        raise RouteError("numpy is not installed: install the simulator first (pip install -e .)")


def main() -> int:
    """Try the routes in order; return 0 when one of them works."""
    routes = (
        ("already there", use_present),
        ("built with casadi's Ipopt", build_with_casadi),
        ("prebuilt", take_prebuilt),
    )
    reasons = []
    for label, route in routes:
        try:
            route()
            version = ipopt_version()
        except RouteError as failure:
            reasons.append(f"\n  {label}: {failure}")
            if installed("cyipopt", "cyipopt-wheels") or route is not use_present:
                say(f"Not {label}: {failure}")
            continue
        say(f"cyipopt {label}: Ipopt {dotted(version)} solved the check problem")
        return 0
    # Nothing rather than something broken: a wrong library would end the process that imports cyipopt.
    with contextlib.suppress(RouteError):
        require_own_environment()
        remove_cyipopt()
    print(ADVICE.format(reasons="".join(reasons)), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
