"""The command line: one function per verb, each thin over the Python API.

Exit codes: 0 fine, 1 something is uncertified or violated, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from anoca.config import load_scenario
from anoca.errors import InputError
from anoca.runner import RESULTS
from dms import IpoptMissingError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
feeder_app = typer.Typer(no_args_is_help=True, help="Networks: list, check, show.")
scenarios_app = typer.Typer(no_args_is_help=True, help="Scenarios that come with the package: list, copy.")
app.add_typer(feeder_app, name="feeder")
app.add_typer(scenarios_app, name="scenarios")

err_console = Console(stderr=True)
out_console = Console() if Console().is_terminal else Console(width=200)

ScenarioArgument = Annotated[Path, typer.Argument(help="Scenario file, TOML", show_default=False)]
OutOption = Annotated[Path, typer.Option("--out", help="Where results go")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object with `rows` instead of tables")]
FeederArgument = Annotated[str, typer.Argument(help="Name of a library feeder", show_default=False)]
FeederOption = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", help="Feeder option key=value, such as n_buses=500; may be repeated"),
]


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("-v", help="Say more")] = False,
    quiet: Annotated[bool, typer.Option("-q", help="Say less")] = False,
) -> None:
    level = logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)


INTERRUPTED = 130
SHOWN_AS_ZERO = 1e-6

# The base class of usage errors, wherever this version of typer keeps it.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def main() -> None:
    """Entry point: issues of the user's input and Ctrl-C become messages and exit codes."""
    try:
        code = app(standalone_mode=False)
    except InputError as exc:
        for issue in exc.issues:
            err_console.print(f"error: {issue}", style="red", markup=False, highlight=False, soft_wrap=True)
        code = 2
    except IpoptMissingError as exc:
        err_console.print(f"error: {exc}", style="red", markup=False, soft_wrap=True)
        code = 1
    except typer.Exit as exc:
        code = exc.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as exc:  # typer itself leaves like this on Ctrl-C
        code = exc.code
    except _UsageError as exc:
        exc.show()
        code = exc.exit_code
    if code == INTERRUPTED:
        err_console.print("interrupted; run the same command again to go on with what is missing")
    sys.exit(code or 0)


# Verbs -------------------------------------------------------------------------------------------


@app.command("run")
def run_verb(scenario: ScenarioArgument, out: OutOption = RESULTS, as_json: JsonOption = False) -> None:
    """Run a scenario: both stages in time, or one snapshot."""
    from anoca.runner import is_done, run

    checked = load_scenario(scenario)
    if is_done(checked, out):
        _say(as_json, f"{checked.name}: done already, reading its results")
    with _progress(checked.name, as_json) as tell:
        results = run(checked, out, tell)
    _show(as_json, _tick_table(results.tables["ticks"]), f"{checked.name}: ticks")
    _show_bad_ticks(as_json, results.tables["ticks"])
    _show_broken_limits(as_json, results.tables["limits"])
    _emit(as_json, [{**results.summary, "folder": str(results.folder)}], "Totals")
    _say(as_json, f"Limits: {checked.limits.limits().describe()}")
    _say(as_json, f"Tables, plots and manifest: {results.folder}")
    raise typer.Exit(0 if results.is_certified else 1)


@app.command()
def compare(
    scenario: ScenarioArgument,
    norms: Annotated[str, typer.Option(help="Norms, separated by commas")] = "l1,l2,linf",
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Run one scenario with several norms: one table, one plot."""
    from anoca.studies.compare import compare as compare_norms

    checked = load_scenario(scenario)
    with _progress(checked.name, as_json) as tell:
        frame, picture = compare_norms(checked, [n.strip() for n in norms.split(",")], out, tell)
    _emit(as_json, frame.drop(columns="folder").to_dict("records"), f"{checked.name}: norms compared")
    _say(as_json, f"Limits: {checked.limits.limits().describe()}")
    _say(as_json, f"Plot: {picture}")
    raise typer.Exit(0 if _all_certified(frame["certified"]) else 1)


@app.command()
def sweep(
    scenario: ScenarioArgument,
    jobs: Annotated[int, typer.Option(help="Processes; -1 = one per core")] = -1,
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Run the product of the scenario's [sweep] grid; what is done already is skipped."""
    from anoca.studies.sweep import sweep as run_sweep

    checked = load_scenario(scenario)
    with _progress(checked.name, as_json) as tell:
        frame, picture = run_sweep(checked, out, jobs, tell)
    shown = ["curtailed_mw", "largest_kw", "homes", "certified", "ticks", "stored_kwh", "spilled_kwh"]
    rows = frame if as_json else frame[[*checked.sweep, *shown]]
    _emit(as_json, rows.to_dict("records"), f"{checked.name}: sweep")
    _say(as_json, f"Table: {out / checked.name / 'sweep.csv'}   Plot: {picture}")
    raise typer.Exit(0 if bool((frame["certified"] == frame["ticks"]).all()) else 1)


@app.command()
def reproduce(
    case: Annotated[str, typer.Argument(help="case1, case2 or all")] = "all",
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Put our figures beside the paper's: Table II (case 1) and Table IV (case 2)."""
    from anoca.studies.reproduce import CASES, readable_table_iv

    if case not in (*CASES, "all"):
        raise InputError(f"unknown case {case!r}; known: {', '.join(CASES)}, all")
    names = list(CASES) if case == "all" else [case]
    ok, rows = True, []
    for name in names:
        with _progress(name, as_json) as tell:
            found = CASES[name](out, tell)
        for title, frame in found.tables.items():
            readable = (
                readable_table_iv if "paper_mw" in frame else partial(pd.DataFrame.drop, columns="case")
            )
            rows += frame.assign(table=title).to_dict("records")
            _show(as_json, readable(frame), title)
            if "certified" in frame:
                ok &= bool((frame[["certified", "certified_expanded"]] != "no").all().all())
        for note in found.notes:
            _say(as_json, f"  {note}")
        for picture in found.pictures:
            _say(as_json, f"  Plot: {picture}")
    if as_json:
        _emit(True, rows, "")
    raise typer.Exit(0 if ok else 1)


@app.command()
def demo(out: OutOption = RESULTS, as_json: JsonOption = False) -> None:
    """The main job: case 2 beside the paper, then one closed-loop hour with 416 homes."""
    from anoca.runner import run
    from anoca.studies.reproduce import case2, readable_table_iv

    with _progress("case 2: four scenarios, three norms", as_json) as tell:
        found = case2(out, tell)
    frame = found.tables["Case 2, Table IV"]
    _show(as_json, readable_table_iv(frame), "Case 2, Table IV: ours | the paper's")
    for note in found.notes:
        _say(as_json, f"  {note}")
    hour = load_scenario(_shipped("case2_hour.toml"))
    with _progress("one hour, 416 homes, HEMS and DMS in a loop", as_json) as tell:
        results = run(hour, out, tell)
    _show(as_json, _tick_table(results.tables["ticks"]), "One closed-loop hour: scenario 3, 21 June")
    summary = {**results.summary, "folder": str(results.folder)}
    if as_json:
        _print_json({"rows": frame.to_dict("records"), "hour": summary})
    else:
        _emit(False, [summary], "The hour in one line")
    _say(as_json, "Where to look:")
    for picture in (*found.pictures, *sorted(Path(str(results.folder)).glob("*.png"))):
        _say(as_json, f"  {picture}")
    _say(as_json, f"  {results.folder}: Parquet tables, manifest.json with every column explained")
    ok = _all_certified(frame["certified"]) and results.is_certified
    raise typer.Exit(0 if ok else 1)


@app.command()
def powerflow(feeder: FeederArgument, option: FeederOption = None, as_json: JsonOption = False) -> None:
    """Solve a feeder's power flow at base load and list its node voltages."""
    from anoca.studies.powerflow import powerflow as solve_powerflow

    found = solve_powerflow(feeder, _feeder_options(option))
    if as_json:
        _print_json({"rows": found.rows.to_dict("records"), **found.facts})
    else:
        _show(False, found.extremes(), f"{feeder}: extremes of {len(found.rows)} nodes (all of them: --json)")
        _say(False, "  ".join(f"{key}: {_fact(value)}" for key, value in found.facts.items()))
    raise typer.Exit(0 if found.facts["converged"] else 1)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, which Ipopt and linear solver are in use, and what is missing."""
    from dataclasses import asdict

    from anoca.doctor import diagnose

    checks = diagnose()
    frame = pd.DataFrame([asdict(check) for check in checks])
    _emit(as_json, frame.to_dict("records"), "anoca doctor")
    raise typer.Exit(0 if all(check.ok or check.optional for check in checks) else 1)


@feeder_app.command("list")
def feeder_list(as_json: JsonOption = False) -> None:
    """Networks of the library."""
    from feeders import library
    from feeders.topology import summary

    rows = [{**summary(library.load(name)), "name": name} for name in library.names() if name != "synthetic"]
    keep = ("name", "buses", "nodes", "lines", "transformers", "loads", "load_mw")
    _emit(as_json, [{k: r[k] for k in keep if k in r} for r in rows], "Feeders of the library")
    _say(as_json, "Also `synthetic`, any size: feeder.options = {n_buses = 500, seed = 1}")


@feeder_app.command("check")
def feeder_check(name: FeederArgument, option: FeederOption = None, as_json: JsonOption = False) -> None:
    """All issues of a network at once."""
    from dataclasses import asdict

    from anoca.placement import unchecked_feeder
    from feeders.checks import check

    issues = check(unchecked_feeder(name, _feeder_options(option)))
    rows = [asdict(issue) for issue in issues]
    _emit(as_json, rows, f"{name}: {len(issues)} issue(s)")
    raise typer.Exit(2 if any(issue.severity == "error" for issue in issues) else 0)


@feeder_app.command("show")
def feeder_show(name: FeederArgument, option: FeederOption = None, as_json: JsonOption = False) -> None:
    """What a network consists of."""
    from anoca.placement import unchecked_feeder
    from feeders.topology import summary

    facts = summary(unchecked_feeder(name, _feeder_options(option)))
    rows = [facts] if as_json else [{"what": key, "value": str(value)} for key, value in facts.items()]
    _emit(as_json, rows, name)


@scenarios_app.command("list")
def scenarios_list(as_json: JsonOption = False) -> None:
    """Scenarios that come with the package."""
    rows = [
        {"file": path.name, "mode": (s := load_scenario(path)).mode, "description": s.description}
        for path in sorted(_scenario_folder().glob("*.toml"))
    ]
    _emit(as_json, rows, f"Scenarios in {_scenario_folder()}")


@scenarios_app.command("copy")
def scenarios_copy(name: str, to: Annotated[Path, typer.Argument()] = Path()) -> None:
    """Copy a shipped scenario, to change it."""
    target = to / name if to.is_dir() else to
    if target.exists():
        raise InputError(f"{target} is there already")
    shutil.copyfile(_shipped(name), target)
    _say(False, f"copied to {target}")


def _feeder_options(given: list[str] | None) -> dict[str, str | int | float | bool]:
    """`key=value` words as options; a value is read as a number or true/false where it is one."""
    options: dict[str, str | int | float | bool] = {}
    for word in given or []:
        key, equals, text = word.partition("=")
        if not equals:
            raise InputError(f"option {word!r} is not key=value")
        try:
            options[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            options[key] = text
    return options


# Showing -----------------------------------------------------------------------------------------


def _scenario_folder() -> Path:
    return Path(str(resources.files("scenarios")))


def _shipped(name: str) -> Path:
    path = _scenario_folder() / name
    if not path.is_file():
        have = ", ".join(p.name for p in sorted(_scenario_folder().glob("*.toml")))
        raise InputError(f"no shipped scenario {name!r}; there are {have}")
    return path


@contextmanager
def _progress(title: str, as_json: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on a terminal; one line per step where there is none; nothing with --json."""
    if as_json:
        yield lambda done, total, text: None
    elif not err_console.is_terminal:
        yield lambda done, total, text: print(f"{title}: {done}/{total} {text}", file=sys.stderr, flush=True)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[text]}"), console=err_console) as bar:
            task = bar.add_task(title, total=None, text="")
            yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)


def _tick_table(ticks: pd.DataFrame) -> pd.DataFrame:
    """The columns of the ticks that a person reads first."""
    keep = {
        "time": "time",
        "total_oes_kw": "OES kW",
        "curtailed_kw": "cut kW",
        "largest_kw": "largest kW",
        "homes": "homes",
        "binding": "binding",
        "stored_kw": "stored kW",
        "spilled_kw": "spilled kW",
        "certified": "certified",
        "plant_worst_line": "plant's worst cable",
        "plant_worst_line_pct": "% of rating",
        "plant_v_min_pu": "v min pu",
        "plant_v_max_pu": "v max pu",
    }
    shown = ticks[list(keep)].rename(columns=keep)
    shown = shown.loc[:, [(shown[c].notna() & (shown[c] != "")).any() for c in shown]]
    shown["time"] = [f"{t:%H:%M}" for t in ticks["time"]]
    return shown


def _show_broken_limits(as_json: bool, limits: pd.DataFrame) -> None:
    """Limits that no export has caused: broken with every prosumer at zero export."""
    broken = limits[limits["preexisting"]]
    if len(broken):
        worst = broken.drop_duplicates(["kind", "element"]).drop(columns=["tick", "binding", "preexisting"])
        title = f"Limits broken even at zero export, not caused by it: {len(worst)} (first 10)"
        _show(as_json, worst.head(10), title)


STATUS_HINTS = {
    "fallback": "certified, but a uniform cap found by power flows and no optimum: the optimiser failed",
    "infeasible": 'a limit is broken even at zero export; preexisting = "relax" would widen and list it',
    "no_operating_point": "the loads alone have no power-flow solution; check loads and feeder",
    "uncertified": "no set-points passed the certificate; zero export was sent without one",
}


def _show_bad_ticks(as_json: bool, ticks: pd.DataFrame) -> None:
    """What it means when a tick is neither a go-ahead nor an optimum."""
    for status, hint in STATUS_HINTS.items():
        times = ticks.loc[ticks["status"] == status, "time"]
        if len(times):
            shown = ", ".join(f"{t:%H:%M}" for t in times[:6]) + (", ..." if len(times) > 6 else "")
            _say(as_json, f"{status} at {shown}: {hint}")


def _show(as_json: bool, frame: pd.DataFrame, title: str) -> None:
    if as_json:
        return
    out_console.print(title, style="bold", markup=False, highlight=False)
    rich = RichTable(show_edge=False, pad_edge=False)
    for column in frame.columns:
        right = pd.api.types.is_numeric_dtype(frame[column])
        rich.add_column(str(column), justify="right" if right else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        rich.add_row(*(_cell(value) for value in row))
    out_console.print(rich)
    out_console.print()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if abs(value) < SHOWN_AS_ZERO:
            return "0"
        return "" if pd.isna(value) else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
    return str(value)


def _fact(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _emit(as_json: bool, rows: Sequence[Mapping[Any, Any]], title: str) -> None:
    if as_json:
        _print_json({"rows": rows})
    elif len(rows) == 1:
        facts = [{"what": key, "value": _cell(value)} for key, value in rows[0].items() if _cell(value)]
        _show(False, pd.DataFrame(facts), title)
    else:
        _show(False, pd.DataFrame(rows), title)


def _print_json(data: dict[str, Any]) -> None:
    def plain(value: Any) -> Any:
        return value.item() if hasattr(value, "item") else str(value)

    text = json.dumps(_without_nan(data), default=plain, allow_nan=False)
    print(text)


def _without_nan(value: Any) -> Any:
    """NaN is no JSON; it becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not pd.notna(value) else value


def _say(as_json: bool, text: str) -> None:
    if not as_json:
        out_console.print(text, markup=False, highlight=False, soft_wrap=True)


def _all_certified(column: pd.Series) -> bool:
    def ok(text: str) -> bool:
        first, _, last = text.partition(" of ")
        return first == last if last else text != "no"

    return all(ok(str(text)) for text in column)
