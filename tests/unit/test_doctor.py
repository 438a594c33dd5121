"""The findings of anoca.doctor, and the pins of the set-up that it reports on."""

import ast
import dataclasses
import importlib.metadata
import platform
import re
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from anoca import doctor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.diagnose()}


def test_required_things_are_found_where_the_tests_run(checks: dict[str, doctor.Check]) -> None:
    assert [check for check in checks.values() if not check.ok and not check.optional] == []


def test_python_and_own_version(checks: dict[str, doctor.Check]) -> None:
    assert checks["python"].found == platform.python_version()
    assert checks["anoca"].found == importlib.metadata.version("anoca")


@pytest.mark.parametrize("name", ["numpy", "scipy", "pyomo", "highspy", "pydantic", "typer"])
def test_dependency_is_reported_with_its_version(checks: dict[str, doctor.Check], name: str) -> None:
    assert checks[name].found == importlib.metadata.version(name)
    assert not checks[name].optional


@pytest.mark.parametrize("name", ["cyipopt", "dss-python", "casadi"])
def test_extras_are_optional(checks: dict[str, doctor.Check], name: str) -> None:
    assert checks[name].optional
    assert checks[name].fix


def test_test_tools_are_left_out(checks: dict[str, doctor.Check]) -> None:
    assert "pytest" not in checks


def test_ipopt_and_mumps_work(checks: dict[str, doctor.Check]) -> None:
    pytest.importorskip("cyipopt")
    ipopt = checks["Ipopt solves"]
    assert ipopt.ok
    assert re.match(r"3\.1[4-9]", ipopt.found)
    assert checks["Ipopt with mumps"].found == "works"


def test_every_check_says_what_it_is_for(checks: dict[str, doctor.Check]) -> None:
    for check in checks.values():
        assert check.found, check
        assert check.needed_for, check
        assert check.fix, check


def test_check_is_frozen() -> None:
    check = doctor.Check("name", "1", True, "tests", "none")
    with pytest.raises(dataclasses.FrozenInstanceError):
        check.ok = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("numpy>=1.26", ("numpy", ">=1.26", "")),
        ("Jinja2 (>=3.1.4)", ("jinja2", ">=3.1.4", "")),
        ('dss_python==0.15.7; extra == "opendss"', ("dss-python", "==0.15.7", "opendss")),
        ('dask[distributed]>=2024.8; extra == "cluster"', ("dask", ">=2024.8", "cluster")),
        ("simpy", ("simpy", "", "")),
    ],
)
def test_requirement_is_taken_apart(line: str, parts: tuple[str, str, str]) -> None:
    assert doctor._parse_requirement(line) == parts


def test_requirement_of_unknown_form_is_named() -> None:
    with pytest.raises(ValueError, match="numpy<2"):
        doctor._parse_requirement("numpy<2")


@pytest.mark.parametrize(
    ("version", "bound", "meets"),
    [
        ("1.26", ">=1.26", True),
        ("1.26.0", ">=1.26", True),
        ("1.9", ">=1.26", False),
        ("2.0.0rc1", ">=1.26", True),
        ("0.15.7", "==0.15.7", True),
        ("0.15.7.0", "==0.15.7", True),
        ("0.15.8", "==0.15.7", False),
        ("anything", "", True),
    ],
)
def test_bounds(version: str, bound: str, meets: bool) -> None:
    assert doctor._meets(version, bound) is meets


def test_too_old_and_missing_libraries_are_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {"numpy": "1.20"}.get)
    old, missing = doctor._library("numpy", ">=1.26", ""), doctor._library("dask", ">=2024.8", "cluster")
    assert (old.ok, old.optional, old.found) == (False, False, "1.20 (>=1.26 needed)")
    assert (missing.ok, missing.optional) == (False, True)
    assert missing.found.startswith("missing")
    assert missing.fix == "pip install -e '.[cluster]'"


def test_prebuilt_cyipopt_counts_as_cyipopt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {"cyipopt-wheels": "1.7.0.dev0"}.get)
    check = doctor._library("cyipopt", ">=1.7.0", "ipopt")
    assert (check.ok, check.found) == (True, "1.7.0.dev0")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import no_such_module_of_ours", "No module named"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("print('not an object')", "no readable answer"),
        ("print([1])", "no readable answer"),
        ("print('{not json}')", "no readable answer"),
        ("", "no readable answer"),
        ("raise SystemExit(7)", "ended with code 7"),
    ],
)
def test_probe_turns_every_failure_into_an_answer(code: str, error: str) -> None:
    answer = doctor.run_probe(code)
    assert answer["ok"] is False
    assert error in str(answer["error"])


def test_probe_is_stopped_after_its_time() -> None:
    started = time.monotonic()
    answer = doctor.run_probe("import time; time.sleep(60)", timeout_s=0.3)
    assert answer == {"ok": False, "error": "no answer within 0.3 s"}
    assert time.monotonic() - started < 20


def test_probe_passes_arguments_and_finds_the_answer_among_other_output() -> None:
    answer = "print(json.dumps({'ok': True, 'said': sys.argv[1]}))"
    code = f"import json, sys; print('before'); {answer}; print('after')"
    assert doctor.run_probe(code, "word") == {"ok": True, "said": "word"}


def test_an_unknown_linear_solver_does_not_pass() -> None:
    pytest.importorskip("cyipopt")
    answer = doctor.run_probe(doctor.IPOPT_PROBE, "no-such-solver")
    assert (answer["ok"], answer["error"]) == (False, "not in this build")


@pytest.mark.parametrize(
    ("library", "build"),
    [
        ("/v/lib/python3.11/site-packages/casadi/libipopt.so.3.14.19", "casadi's library"),
        ("/v/lib/python3.11/site-packages/cyipopt_wheels.libs/libipopt-1a2b.so.3", "prebuilt"),
        ("/usr/lib/libipopt.so.3", "other: /usr/lib/libipopt.so.3"),
        ("", "build unknown"),
    ],
)
def test_build_of_ipopt_is_told_from_its_path(library: str, build: str) -> None:
    assert doctor.ipopt_build(library) == build


def test_ipopt_that_crashes_is_reported() -> None:
    crash = {"ok": False, "error": "crashed with signal 11"}
    check = doctor._ipopt({"mumps": crash, "spral": crash})
    assert (check.ok, check.found) == (False, "crashed with signal 11")


def test_old_ipopt_is_not_ok() -> None:
    answer = {"ok": True, "ipopt": [3, 11, 9], "library": "/usr/lib/libipopt.so.1"}
    check = doctor._ipopt({"mumps": answer, "spral": {"ok": False, "error": "not there"}})
    assert not check.ok
    assert check.found == "3.11.9, other: /usr/lib/libipopt.so.1"


@pytest.mark.parametrize(("value", "ok"), [("1", True), ("4", False), ("", False)])
def test_threads(value: str, ok: bool) -> None:
    check = doctor._threads("OMP_NUM_THREADS", {"OMP_NUM_THREADS": value})
    assert check.ok is ok
    assert check.optional


def test_table_escapes_markup_and_shows_a_fix_only_where_needed() -> None:
    good = doctor.Check("good", "[red]1", True, "tests", "fix of good")
    bad = doctor.Check("bad", "missing", False, "tests", "fix of bad")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(doctor.as_table([good, bad]))
    text = capture.get()
    assert "[red]1" in text
    assert "fix of bad" in text
    assert "fix of good" not in text


def test_findings_are_printed_without_rich(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = doctor.Check("good", "1", True, "tests", "fix of good")
    bad = doctor.Check("bad", "missing", False, "tests", "fix of bad", optional=True)
    monkeypatch.setattr(doctor, "diagnose", lambda: [good, bad])
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert doctor.main() == 0
    assert capsys.readouterr().out.splitlines() == [
        "ok      good: 1 (tests)",
        "-       bad: missing (tests) -> fix of bad",
    ]


@pytest.mark.parametrize(("optional", "code"), [(True, 0), (False, 1)])
def test_exit_code_counts_required_things_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], optional: bool, code: int
) -> None:
    bad = doctor.Check("some tool", "missing", False, "tests", "get it", optional)
    monkeypatch.setattr(doctor, "diagnose", lambda: [bad])
    assert doctor.main() == code
    assert "some tool" in capsys.readouterr().out


def test_pins_of_the_ipopt_set_up_agree_with_the_constraints() -> None:
    tree = ast.parse((ROOT / ".ci" / "install_ipopt.py").read_text(encoding="utf-8"))
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    for name in ("CASADI", "CYIPOPT_SOURCE"):
        assert ast.literal_eval(values[name])[0] in pinned
    for name in ("CASADI", "CYIPOPT_SOURCE", "CYIPOPT_PREBUILT"):
        digests = ast.literal_eval(values[name])[1:]
        assert digests
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)


def test_constraints_name_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 30
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!]+", pin) for pin in pins)
