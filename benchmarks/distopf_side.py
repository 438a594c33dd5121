"""The peer's side of benchmarks/distopf_peer.py; runs where distopf is installed and imports nothing of ours.

    python benchmarks/distopf_side.py tables CASE MULTIPLE V_MAX           its tables, as JSON
    python benchmarks/distopf_side.py flow CASE MULTIPLE V_MAX             its power flow at the requests
    python benchmarks/distopf_side.py solve CASE MULTIPLE V_MAX METHOD     set points and seconds

Methods: `lindist_l1`, `lindist_l2` (its linear model, cvxpy with Clarabel) and `branchflow_l1`, its
nonlinear model. That one starts an `ipopt` executable, which no wheel brings: its model goes through an
.nl file to casadi.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from distopf import CASES_DIR, Case, create_case

V_MIN_PU = 0.95


def case_of(name: str, multiple: float, v_max_pu: float = 1.05) -> Any:
    """A shipped case without schedules; its PV, or one at every load, asks for a multiple, P alone free.

    multiple  of the shipped PV's power, or of the load where the case has no PV
    """
    shipped = create_case(CASES_DIR / "csv" / name, ignore_schedule=True, ignore_bat=True)
    bus, gen = shipped.bus_data.copy(), shipped.gen_data.copy()
    bus[["cvr_p", "cvr_q"]] = 0.0
    bus["v_min"], bus["v_max"] = V_MIN_PU, v_max_pu
    if gen.empty:
        gen = _at_loads(bus)
    for phase in "abc":
        gen[f"p_{phase}"] *= multiple
        gen[f"q_{phase}"] = 0.0
        gen[f"s_{phase}_max"] = 1.2 * gen[f"p_{phase}"]
    gen["control_variable"] = "P"
    return Case(shipped.branch_data, bus, gen, shipped.cap_data, shipped.reg_data, ignore_schedule=True)


def _at_loads(bus: pd.DataFrame) -> pd.DataFrame:
    """PV of the load's size at every bus that has one, phase by phase."""
    loaded = bus[bus[["pl_a", "pl_b", "pl_c"]].sum(axis=1) > 0]
    columns = {"id": loaded["id"], "name": loaded["name"], "phases": loaded["phases"]}
    columns |= {f"p_{phase}": loaded[f"pl_{phase}"] for phase in "abc"}
    gen = pd.DataFrame(columns).reset_index(drop=True)
    for phase in "abc":
        gen[f"q_{phase}_max"], gen[f"q_{phase}_min"] = 100.0, -100.0
    return gen.assign(s_base=1e6, gen_shape="PV")


def tables(case: Any) -> dict[str, Any]:
    """What the network consists of."""
    found = {}
    for table in ("bus", "branch", "gen", "cap", "reg"):
        frame = getattr(case, f"{table}_data")
        found[table] = json.loads(frame.to_json(orient="records"))
    return found


def solve(case: Any, method: str) -> dict[str, Any]:
    """Its optimal power flow: seconds of the whole call, the building of its model included."""
    from distopf.matrix_models.objectives import cp_obj_curtail, cp_obj_curtail_lp

    began = time.perf_counter()
    if method == "branchflow_l1":
        _through_casadi()
        result = case.run_opf("curtail_min", control_variable="P", wrapper="pyomo", formulation="branchflow")
    else:
        objective = {"lindist_l1": cp_obj_curtail_lp, "lindist_l2": cp_obj_curtail}[method]
        result = case.run_opf(objective, control_variable="P", wrapper="matrix")
    seconds = time.perf_counter() - began
    power = json.loads(result.active_power_generation.to_json(orient="records"))
    return {"p": power, "seconds": seconds, "voltages": json.loads(result.voltages.to_json(orient="records"))}


def _through_casadi() -> None:
    """Its call of the Ipopt executable, replaced by the same file read and solved by casadi."""
    import casadi
    from distopf.pyomo_models import solvers
    from distopf.pyomo_models.results import PyoResult

    def solved(model: Any, solver: str = "ipopt", duals: bool = False, verbose: bool = False) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "peer.nl")
            _, number = model.write(path, format="nl")
            nl = casadi.NlpBuilder()
            nl.import_nl(path)
        quiet = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False}
        nlp = {"x": casadi.vertcat(*nl.x), "f": nl.f, "g": casadi.vertcat(*nl.g)}
        for strategy in ("monotone", "adaptive"):  # Ipopt's default, then the other where that fails
            ipopt = casadi.nlpsol("peer", "ipopt", nlp, {**quiet, "ipopt.mu_strategy": strategy})
            found = ipopt(x0=nl.x_init, lbx=nl.x_lb, ubx=nl.x_ub, lbg=nl.g_lb, ubg=nl.g_ub)
            if ipopt.stats()["success"]:
                break
        else:
            raise ValueError(ipopt.stats()["return_status"])
        x = np.asarray(found["x"]).ravel()
        for name, data in model.solutions.symbol_map[number].bySymbol.items():
            if name[:1] == "v" and name[1:].isdigit():
                data.set_value(float(x[int(name[1:])]), skip_validation=True)
        return PyoResult(
            model, None, solve_time=None, log="", objective_value=float(found["f"]), extract_duals=False
        )

    solvers.solve = solved


def main(verb: str, name: str, multiple: str, v_max_pu: str, method: str = "") -> None:
    """One JSON object."""
    warnings.filterwarnings("ignore")
    if verb == "solve":  # whatever it loads on first use is loaded now
        solve(case_of("ieee13" if name != "ieee13" else "ieee123_30der", 1.0), "lindist_l2")
    case = case_of(name, float(multiple), float(v_max_pu))
    if verb == "tables":
        found = tables(case)
    elif verb == "flow":
        found = {"voltages": json.loads(case.run_fbs(tolerance=1e-10).voltages.to_json(orient="records"))}
    else:
        found = solve(case, method)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
