"""The command line: one function per verb, each thin over the Python API; exit codes are in `HELP`."""

from __future__ import annotations

import logging
import sys
import tomllib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

import anoca
from anoca.cli_scenarios import scenarios_app, shipped
from anoca.config import FeederSection, load_scenario
from anoca.errors import InputError
from anoca.report.terminal import Terminal, all_certified, complain
from anoca.runner import RESULTS
from dms import IpoptMissingError
from feeders import readers
from feeders.readers.errors import ReadError

HELP = """Simulate homes with PV and batteries on a real feeder.

Every home plans and asks for the export it would like; the utility grants as much of it as voltages and
currents allow (ANOCA), and an independent power flow checks every answer. Begin with

  anoca scenarios copy case2_hour.toml, then anoca run case2_hour.toml

Exit codes: 0 fine, 1 something is uncertified or violated, 2 bad input, 130 interrupted.
"""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # [sweep] is a section of a scenario, not markup
    help=HELP,
)
feeder_app = typer.Typer(no_args_is_help=True, help="Networks: list, check, show, plot, convert.")
app.add_typer(feeder_app, name="feeder")
app.add_typer(scenarios_app, name="scenarios")

ScenarioArgument = Annotated[Path, typer.Argument(help="Scenario file, TOML", show_default=False)]
OutOption = Annotated[Path, typer.Option("--out", help="Where results go")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object with `rows` instead of tables")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Say what binds, whom it cuts, what blocks")]
FeederArgument = Annotated[
    str,
    typer.Argument(help="A library feeder, a folder of tables, or a .dss or .json file", show_default=False),
]
FeederOption = Annotated[
    list[str] | None,
    typer.Option("-o", "--option", help="Feeder option key=value, such as n_buses=500; may be repeated"),
]

INTERRUPTED = 130
KEEP_FINISHED = ("sweep", "compare", "reproduce", "demo")
"""Verbs of several runs, each with a folder of its own."""
AUDIT_SHOWN = 10

# The base class of usage errors, wherever this version of typer keeps it.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say what each step does")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No tables, no progress")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version")] = False,
) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr
    )
    Terminal.quiet = quiet
    if version:
        print(f"anoca {anoca.__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Entry point: issues of the user's input and Ctrl-C become messages and exit codes."""
    try:
        code = app(standalone_mode=False)
    except InputError as exc:
        for issue in exc.issues:
            complain(f"error: {issue}")
        code = 2
    except IpoptMissingError as exc:
        complain(f"error: {exc}")
        code = 1
    except OSError as exc:
        complain(f"error: {exc}")
        code = 2
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
        complain(_interrupted(sys.argv[1:]))
    sys.exit(code or 0)


def _interrupted(words: list[str]) -> str:
    """What Ctrl-C left behind: verbs of several runs keep those that are finished, one run nothing."""
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb in KEEP_FINISHED:
        return "interrupted; what is finished stays, run the same command again for the rest"
    if verb == "run":
        return "interrupted; nothing of this run is kept, the same command again starts it over"
    return "interrupted"


# Runs --------------------------------------------------------------------------------------------


@app.command("run")
def run_verb(
    scenario: ScenarioArgument,
    out: OutOption = RESULTS,
    explain: ExplainOption = False,
    explain_tick: Annotated[int | None, typer.Option(help="This tick, not the worst; --explain")] = None,
    home: Annotated[list[str] | None, typer.Option(help="Also plot this home's day and the fleet's")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a scenario: both stages in time, or one snapshot."""
    from anoca.report.day import check_homes, plot_days
    from anoca.report.explain import explain_run, in_json
    from anoca.report.hints import hints
    from anoca.runner import is_done, run

    terminal, checked = Terminal(as_json), load_scenario(scenario)
    if home:
        check_homes(checked, home)
    if checked.sweep:
        terminal.say(f"{checked.name} has a [sweep]; this runs its base alone, `anoca sweep` runs all")
    if is_done(checked, out):
        terminal.say(f"{checked.name}: done already, reading its results")
    with terminal.progress(checked.name) as tell:
        results = run(checked, out, tell)
    terminal.ticks(results.tables["ticks"], f"{checked.name}: ticks")
    terminal.broken_limits(results.tables["limits"])
    terminal.controls(results.tables)
    terminal.values(results.tables.get("values"), f"{checked.name}: what the days were worth, all homes")
    wanted = explain or explain_tick is not None
    told = [explain_run(checked, results, explain_tick)] if wanted else []
    terminal.emit([{**results.summary, "folder": str(results.folder)}], "Totals", **in_json(told))
    terminal.explanations(told)
    for picture in plot_days(results, home) if home else []:
        terminal.say(f"Plot: {picture}")
    for line in hints(checked, results):
        terminal.say(line)
    terminal.say(f"Tables, plots and manifest: {results.folder}")
    raise typer.Exit(0 if results.is_certified and not results.summary["ticks_plant_violated"] else 1)


@app.command()
def compare(
    scenario: ScenarioArgument,
    norms: Annotated[str, typer.Option(help="Norms, separated by commas")] = "l1,l2,linf",
    optimal: Annotated[
        bool, typer.Option("--optimal", help="Test every answer for optimality, with a lower bound")
    ] = False,
    bids: Annotated[
        bool, typer.Option("--bids", help="Each norm also with the homes' bids as weights: least regret")
    ] = False,
    out: OutOption = RESULTS,
    explain: ExplainOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run one scenario with several norms: one table, one plot."""
    from anoca.report.explain import explain_comparison, in_json
    from anoca.report.hints import in_force
    from anoca.studies.bids import compare_bids
    from anoca.studies.compare import OPTIMALITY, known_norms
    from anoca.studies.compare import compare as compare_norms

    terminal, chosen, checked = Terminal(as_json), known_norms(_words(norms)), load_scenario(scenario)
    if optimal:
        checked = checked.with_overrides({"dms.certify_optimal": True})
    with terminal.progress(checked.name) as tell:
        study = compare_bids if bids else compare_norms
        frame, picture = study(checked, chosen, out, tell)
    told = explain_comparison(checked, frame) if explain else []
    rows = frame.drop(columns="folder")
    # A terminal is narrow: nothing that is empty or the same for all, and the tests in a table of their own.
    apart = [] if as_json else [column for column in OPTIMALITY if column in rows]
    shown = rows if as_json else rows.drop(columns=["case", "scenario", *apart]).dropna(axis=1, how="all")
    terminal.emit(shown.to_dict("records"), f"{checked.name}: norms compared", **in_json(told))
    if apart:
        terminal.emit(rows[["norm", *apart]].to_dict("records"), f"{checked.name}: tested for optimality")
    terminal.explanations(told)
    terminal.say("\n".join(in_force(checked)))
    terminal.say(f"Plot: {picture}")
    raise typer.Exit(0 if all_certified(frame["certified"]) else 1)


@app.command()
def sweep(
    scenario: ScenarioArgument,
    jobs: Annotated[int, typer.Option(help="Processes; -1 = one per core", min=-1)] = -1,
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Run the product of the scenario's [sweep] grid; what is done already is skipped."""
    from anoca.studies.sweep import sweep as run_sweep

    if jobs == 0:
        raise InputError("--jobs 0: give the number of processes, or -1 for one per core")
    terminal, checked = Terminal(as_json), load_scenario(scenario)
    with terminal.progress(checked.name) as tell:
        frame, picture = run_sweep(checked, out, jobs, tell)
    shown = ["curtailed_mw", "largest_kw", "homes", "certified", "ticks", "stored_kwh", "spilled_kwh"]
    rows = frame if as_json else frame[[*checked.sweep, *shown]]
    terminal.emit(rows.to_dict("records"), f"{checked.name}: sweep")
    terminal.say(f"Table: {out / checked.name / 'sweep.csv'}   Plot: {picture}")
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
    terminal, rows, ok = Terminal(as_json), [], True
    for name in list(CASES) if case == "all" else [case]:
        with terminal.progress(name) as tell:
            found = CASES[name](out, tell)
        for title, frame in found.tables.items():
            readable = (
                readable_table_iv if "paper_mw" in frame else partial(pd.DataFrame.drop, columns="case")
            )
            rows += frame.assign(table=title).to_dict("records")
            terminal.show(readable(frame), title)
            if "certified" in frame:
                ok &= bool((frame[["certified", "certified_expanded"]] != "no").all().all())
        for line in (*found.notes, *(f"Plot: {picture}" for picture in found.pictures)):
            terminal.say(f"  {line}")
    if as_json:
        terminal.emit(rows, "")
    raise typer.Exit(0 if ok else 1)


@app.command()
def demo(out: OutOption = RESULTS, as_json: JsonOption = False) -> None:
    """The main job: case 2 beside the paper, then one closed-loop hour with 416 homes."""
    from anoca.runner import run
    from anoca.studies.reproduce import case2, readable_table_iv

    terminal = Terminal(as_json)
    with terminal.progress("case 2: four scenarios, three norms") as tell:
        found = case2(out, tell)
    frame = found.tables["Case 2, Table IV"]
    terminal.show(readable_table_iv(frame), "Case 2, Table IV: ours | the paper's")
    for note in found.notes:
        terminal.say(f"  {note}")
    hour = load_scenario(shipped("case2_hour.toml"))
    with terminal.progress("one hour, 416 homes, HEMS and DMS in a loop") as tell:
        results = run(hour, out, tell)
    terminal.ticks(results.tables["ticks"], "One closed-loop hour: scenario 3, 21 June")
    summary = {**results.summary, "folder": str(results.folder)}
    if as_json:
        terminal.emit(frame.to_dict("records"), "", hour=summary)
    else:
        terminal.emit([summary], "The hour in totals")
    terminal.say("Where to look:")
    for picture in (*found.pictures, *sorted(Path(str(results.folder)).glob("*.png"))):
        terminal.say(f"  {picture}")
    terminal.say(f"  {results.folder}: Parquet tables, manifest.json with every column explained")
    ok = all_certified(frame["certified"]) and results.is_certified
    raise typer.Exit(0 if ok else 1)


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="Benchmark: dms, hems or day")] = "dms",
    quick: Annotated[bool, typer.Option("--quick", help="The smallest case alone")] = False,
    cases: Annotated[str, typer.Option(help="Cases, separated by commas; default all")] = "",
    norms: Annotated[str, typer.Option(help="Norms, separated by commas; default all")] = "",
    methods: Annotated[str, typer.Option(help="Methods, separated by commas; default all there are")] = "",
    starts: Annotated[
        str, typer.Option(help="dms: cold, warm, go_ahead; hems: home, plan, respond; default all")
    ] = "",
    runs: Annotated[
        int | None, typer.Option(help="Rounds, medians are shown; default 3, of day 1", min=1)
    ] = None,
    memory: Annotated[bool, typer.Option("--memory", help="Also peak memory, a process each")] = False,
    out: OutOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Time the methods of the DMS or of the homes in turn, or a closed-loop day by norm; one thread."""
    from anoca.studies.bench import Plan, load, rounds
    from anoca.studies.benching.tables import Keeper, readable

    terminal, run_bench = Terminal(as_json), load(name)
    asked = {"cases": cases, "norms": norms, "methods": methods, "starts": starts}
    words = {what: _words(text) for what, text in asked.items()}
    if empty := [what for what, text in asked.items() if text and not words[what]]:
        raise InputError(f"--{empty[0]} {asked[empty[0]]!r} names nothing; leave it out for all there are")
    plan, keeper = Plan(**words, quick=quick, runs=runs or rounds(name), memory=memory), Keeper(out, name)
    with terminal.progress(f"bench {name}") as tell:
        frame = run_bench(plan, tell, keeper.keep)
    keeper.keep(frame)
    rows = frame if as_json else readable(frame)
    terminal.emit(rows.to_dict("records"), f"bench {name}: medians of up to {plan.runs} rounds")
    terminal.say(f"Tables: {keeper.folder}")
    ours = frame["method"] != "plain_pyomo"
    raise typer.Exit(0 if all_certified(frame["certified"][ours]) else 1)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


# Feeders and set-up ------------------------------------------------------------------------------


@app.command()
def powerflow(feeder: FeederArgument, option: FeederOption = None, as_json: JsonOption = False) -> None:
    """Solve a feeder's power flow at base load and list its node voltages."""
    from anoca.studies.powerflow import powerflow as solve_powerflow

    terminal, found = Terminal(as_json), solve_powerflow(feeder, _feeder_options(option))
    if as_json:
        terminal.emit(found.rows.to_dict("records"), "", **found.facts)
    else:
        title = f"{feeder}: extremes of {len(found.rows)} nodes (all of them: --json)"
        terminal.show(found.extremes(), title)
        facts = {k: f"{v:.8g}" if isinstance(v, float) else v for k, v in found.facts.items() if v == v}
        terminal.say("  ".join(f"{key}: {value}" for key, value in facts.items()))
        if found.warnings:
            terminal.say(f"{found.warnings}; list them: anoca feeder check {feeder}")
    raise typer.Exit(0 if found.facts["converged"] else 1)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Versions, which Ipopt and linear solver are in use, and what is missing."""
    from anoca.doctor import diagnose

    checks = diagnose()
    Terminal(as_json).emit([asdict(check) for check in checks], "anoca doctor")
    raise typer.Exit(0 if all(check.ok or check.optional for check in checks) else 1)


@feeder_app.command("list")
def feeder_list(as_json: JsonOption = False) -> None:
    """Networks of the library."""
    from feeders import library
    from feeders.topology import summary

    terminal = Terminal(as_json)
    rows = [{**summary(library.load(name)), "name": name} for name in library.names() if name != "synthetic"]
    keep = ("name", "buses", "nodes", "lines", "switches", "transformers", "loads", "p_load_kw", "cycles")
    terminal.emit([{k: r[k] for k in keep} for r in rows], "Feeders of the library")
    terminal.say("Also `synthetic`, any size: -o n_buses=500 -o seed=1, or feeder.options in a scenario")


@feeder_app.command("check")
def feeder_check(
    name: FeederArgument,
    option: FeederOption = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="Every audit note")] = False,
    as_json: JsonOption = False,
) -> None:
    """All issues of a network at once, and what reading it assumed."""
    from anoca.placement import read_feeder, unchecked_feeder
    from feeders.checks import check

    audit: list[Any] = []
    if readers.is_file(name):
        feeder, audit = read_feeder(Path(name), _feeder_options(option))
    else:
        feeder = unchecked_feeder(name, _feeder_options(option))
    issues = [*check(feeder), *audit]
    terminal = Terminal(as_json)
    urgent = [issue for issue in issues if issue.severity != "audit"]
    noted = [issue for issue in issues if issue.severity == "audit"]
    shown = issues if as_json or all_of_them else [*urgent, *noted[:AUDIT_SHOWN]]
    if issues or as_json:
        title = f"{name}: {len(urgent)} error(s) and warning(s), {len(noted)} audit note(s)"
        terminal.emit([asdict(issue) for issue in shown], title)
    if len(shown) < len(issues):
        terminal.say(f"{len(issues) - len(shown)} more audit notes: --all")
    if not issues:
        terminal.say(f"{name}: no issues")
    raise typer.Exit(2 if any(issue.severity == "error" for issue in issues) else 0)


@feeder_app.command("show")
def feeder_show(
    name: FeederArgument,
    option: FeederOption = None,
    table: Annotated[str, typer.Option(help="One table, row by row: loads, switches, lines, nodes ...")] = "",
    as_json: JsonOption = False,
) -> None:
    """What a network consists of; with --table, one of its tables."""
    from anoca.placement import unchecked_feeder
    from anoca.studies.powerflow import table_of
    from feeders.topology import summary

    feeder, terminal = unchecked_feeder(name, _feeder_options(option)), Terminal(as_json)
    if table:
        frame = table_of(feeder, table)
        if as_json:
            terminal.emit(frame.to_dict("records"), "")
        else:
            terminal.show(frame, f"{name}: {table}, {len(frame)} rows")
    else:
        terminal.emit([summary(feeder)], name)


@feeder_app.command("plot")
def feeder_plot(
    name: FeederArgument,
    option: FeederOption = None,
    colour: Annotated[str, typer.Option(help="voltage or loading")] = "voltage",
    to: Annotated[Path | None, typer.Option("--to", help="File, .png or .svg")] = None,
    lay_out: Annotated[bool, typer.Option("--lay-out", help="Ignore the buses' own coordinates")] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw a network: one-line diagram, coloured by voltage or by loading."""
    from anoca.placement import load_feeder
    from anoca.report.diagram import one_line_diagram

    if colour not in ("voltage", "loading"):
        raise InputError(f"unknown colour {colour!r}; known: voltage, loading")
    path = to or Path(f"{name}-{colour}.png")
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"{path}: the file must end in .png or .svg")
    feeder = load_feeder(FeederSection(name=name, options=_feeder_options(option)))
    picture = one_line_diagram(feeder, path, colour, coordinates=not lay_out)  # type: ignore[arg-type]
    terminal = Terminal(as_json)
    if as_json:
        terminal.emit([{"plot": str(picture)}], "")
    terminal.say(f"Plot: {picture}")


@feeder_app.command("convert")
def feeder_convert(
    name: FeederArgument,
    to: Annotated[Path, typer.Argument(help="A folder for CSV tables, or a .json file for BMOPF")],
    option: FeederOption = None,
    form: Annotated[str, typer.Option("--format", help="tables or bmopf, whatever the ending")] = "",
) -> None:
    """Write a network as CSV tables or as a BMOPF case, to read, to change, and to name in a scenario."""
    from anoca.placement import read_feeder, unchecked_feeder

    audit: list[Any] = []
    try:
        target = readers.writer(to, form)
        if to.exists():
            raise InputError(f"{to} is there already")
        if readers.is_file(name):
            feeder, audit = read_feeder(Path(name), _feeder_options(option))
        else:
            feeder = unchecked_feeder(name, _feeder_options(option))
        audit += target.write(feeder, to) if target.write else []
    except ReadError as exc:
        raise InputError(str(exc)) from exc
    terminal = Terminal(False)
    urgent = [issue for issue in audit if issue.severity != "audit"]
    noted = [issue for issue in audit if issue.severity == "audit"]
    for issue in [*urgent, *noted[:AUDIT_SHOWN]]:
        terminal.say(f"{issue}")
    if len(noted) > AUDIT_SHOWN:
        terminal.say(f"{len(noted) - AUDIT_SHOWN} more audit notes")
    terminal.say(f"written: {to}")


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
