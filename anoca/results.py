"""`Results`: the tables of a run, their columns, and the folder they are written to.

`results/<name>/<hash>/` holds `scenario.toml` (resolved), `manifest.json`, the Parquet tables
and, if asked for, plots. A run is written under a temporary name and renamed when whole, so a
folder that exists is finished and nothing is ever overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anoca.config import SCHEMA_VERSION

TABLES: dict[str, dict[str, str]] = {
    "ticks": {
        "tick": "number from 0",
        "time": "start, local",
        "norm": "norm of the curtailment",
        "status": "outcome of the DMS, see dms.Status",
        "method": "rung of the solve ladder that gave the answer",
        "guard_hit": "what ended the optimisation early: crashed (...) or over budget of ... s; else empty",
        "certified": "yes, relaxed or no: set-points checked by the independent power flow",
        "total_oes_kw": "requested export of all prosumers",
        "total_aes_kw": "granted export",
        "curtailed_kw": "their difference",
        "largest_kw": "largest curtailment of one prosumer",
        "homes": "prosumers curtailed by more than 0.1 kW",
        "gini": "Gini index of the shares lost by those who asked, 0 = even (and where nobody is cut)",
        "jain": "Jain's index of the shares kept, 1 = even",
        "lost_share": "curtailed part of all that was asked for",
        "binding": "limits in force that the set-points lie on; a line counts at each end",
        "preexisting": "limits broken even at zero export (widened, or the tick is infeasible)",
        "steps_moved": "steps of all taps and capacitors that were moved",
        "moves_gap_pct": "loss by whole steps against the relaxed optimum, percent of the objective",
        "iterations": "of the interior point, 0 if a power flow decided",
        "optimal": "yes, no or not_tested: the `optimal` certificate; empty unless dms.certify_optimal",
        "kkt_residual": "largest of stationarity, reduced gradient and complementarity, scaled",
        "gap": "(objective - proven lower bound) / objective; empty where there is no bound",
        "dms_worst_v_pu": "distance outside the bands in force, in the certificate; negative = margin",
        "dms_worst_i_pct": "most loaded terminal in the certificate, percent of the limit in force",
        "total_import_kw": "realised import of all prosumers",
        "total_export_kw": "realised export",
        "stored_kw": "curtailed power that went into batteries (or was not discharged)",
        "spilled_kw": "curtailed power that was spilled",
        "unavailable_kw": "curtailed power that did not come: PV below, or load above the nowcast",
        "homes_storing": "prosumers that stored more than 0.1 kW of it",
        "homes_spilling": "prosumers that spilled more than 0.1 kW of it",
        "soc_mean_pct": "state of charge of all batteries at the end, percent",
        "import_price_per_kwh": "what homes pay, $/kWh",
        "export_price_per_kwh": "what homes are paid, $/kWh",
        "plant_worst_line": "most loaded rated line conductor in the plant",
        "plant_worst_line_pct": "its current in percent of its limit, rating x limits.i_scale",
        "plant_v_min_pu": "lowest voltage with a band in the plant",
        "plant_v_max_pu": "highest voltage with a band in the plant",
        "plant_over_v_pu": "distance outside the nominal band in the plant, negative = margin",
        "plant_withheld_kw": "export that inverters in the plant could not give, by rating or Volt-Watt",
        "plant_violated": "the plant is outside a limit in force (loads and PV differ from the nowcast)",
    },
    "prosumers": {
        "tick": "number from 0",
        "prosumer": "name; with curtail_unit = connection, name and number of the connection",
        "p_oes_kw": "requested export",
        "p_ois_kw": "announced import",
        "p_aes_kw": "granted export",
        "p_curtail_kw": "requested less granted",
        "q_kvar": "reactive power injected, in the power flow at the set-points",
        "p_planned_kw": "export planned again after the answer",
        "p_export_kw": "realised export",
        "p_import_kw": "realised import",
        "p_load_kw": "realised load",
        "p_pv_kw": "available PV",
        "p_charge_kw": "battery charging, AC side",
        "p_discharge_kw": "battery discharging, AC side",
        "p_devices_kw": "drawn by vehicles and heat pumps, less what they give",
        "p_stored_kw": "curtailed power that went into battery or devices, or was not discharged",
        "p_spill_plan_kw": "PV spilled because prices or the home's own limits ask for it",
        "p_spill_curtail_kw": "PV spilled because of the curtailment",
        "p_unavailable_kw": "curtailed power that did not come; stored + spilled + this = curtailed",
        "p_spill_tracking_kw": "PV spilled to stay below the set-point when the forecast was wrong",
        "soc_start_kwh": "battery energy at the start",
        "soc_end_kwh": "battery energy at the end",
        "capacity_kwh": "usable energy of the battery, 0 without one",
        "cost_usd": "import paid less export earned",
        "regret_usd": "what the curtailment costs over the home's horizon, J(AES) - J(OES), by its forecasts",
        "path": "how the plan was found",
        "gap": "relative optimality gap of the plan",
    },
    "values": {
        "day": "local date",
        "prosumer": "name",
        "ticks": "of that day in the run",
        "bill_usd": "import paid less export earned",
        "import_kwh": "realised import",
        "export_kwh": "realised export",
        "asked_kwh": "energy of the requests (OES)",
        "curtailed_kwh": "requested less granted",
        "stored_kwh": "of it into battery or devices, or not discharged",
        "spilled_kwh": "of it spilled",
        "unavailable_kwh": "of it not there: PV below, or load above the nowcast",
        "free_kwh": "of the curtailed energy, that of ticks in which it cost the home nothing",
        "regret_usd": "sum over the ticks of J(AES) - J(OES), what curtailment costs over the home's horizon",
        "soc_change_kwh": "battery energy at the end of the day less that at its start",
        "bill_granted_usd": "the same bill had everything been granted; empty unless output.counterfactual",
        "export_granted_kwh": "export in that case",
        "soc_change_granted_kwh": "change of the battery's energy in that case",
    },
    "granted": {
        "tick": "number from 0; the table is there with output.counterfactual: everything granted, always",
        "prosumer": "name",
        "p_oes_kw": "requested export",
        "p_export_kw": "realised export",
        "p_import_kw": "realised import",
        "soc_start_kwh": "battery energy at the start",
        "soc_end_kwh": "battery energy at the end",
        "cost_usd": "import paid less export earned",
    },
    "messages": {
        "tick": "number from 0",
        "kind": "OES or AES",
        "prosumer": "name",
        "connection": "number from 0",
        "seq": "sequence number",
        "mrid": "identity; an AES repeats its OES's",
        "valid_from": "start",
        "valid_until": "end",
        "p_export_kw": "requested or granted export",
        "p_import_kw": "announced import",
        "q_kvar": "of an OES: injected as announced; of an AES: set-point where the utility decides it",
        "p_curtail_kw": "of an AES",
        "certified": "of an AES",
    },
    "limits": {
        "tick": "number from 0",
        "kind": "v_min, v_max, v_ll_min, v_ll_max, unbalance, negative_sequence, i_max, s_max, reverse_power",
        "element": "node, bus, terminal or sources",
        "phase": "of the element",
        "limit": "in force",
        "value": "at the set-points",
        "unit": "pu, A, VA or kW; none of a ratio",
        "binding": "value on the limit in force",
        "violated": "value beyond the limit in force",
        "preexisting": "broken at zero export; widened unless preexisting = strict",
        "original_limit": "before widening",
        "multiplier": "objective (MW, or MW^2) per unit of the programme's row; none without an optimum",
        "kw_per_unit": "total curtailment saved per `per` of relaxed limit; none where that is undetermined",
        "peak_kw_per_unit": "the same of the largest curtailment",
        "per": "what that unit is",
        "group": "one number for limits that ask the same of all homes: both ends, parallel cables",
    },
    "causes": {
        "tick": "number from 0",
        "prosumer": "curtailed by more than 0.1 kW; at most five causes each, of 1 % or more",
        "kind": "of the limit",
        "element": "of the limit, one for its group",
        "phase": "of the limit",
        "share": "part of all that limits ask of the home; negative: its export relieves this limit",
        "asked": "objective per MW of the home; those of a home between its bounds sum to its marginal cost",
        "per_kw": "what one more kilowatt of its export adds to the limit's value",
        "unit": "of that value",
    },
    "slacks": {
        "tick": "number from 0; of ticks without an answer, the first in which these limits are broken",
        "blocked": "by_limits, at_zero_export, no_operating_point, not_at_all or unknown, see dms.Blocked",
        "problem": "limits, currents_sparse or currents_spread; the 50 largest of each; none: see blocked",
        "kind": "of the limit, or current",
        "element": "what has to give, or the node that needs support",
        "amount": "by which the limit has to move, or the current, at the least",
        "unit": "of amount and limit",
        "limit": "as it stands",
        "p_kw": "of a current fed in",
        "q_kvar": "of a current fed in",
    },
    "controls": {
        "tick": "number from 0",
        "control": "transformer, bank, or names of a gang",
        "position": "tap, or capacitor steps in service",
        "before": "where it was",
        "steps_moved": "between the two",
    },
    "nodes": {
        "tick": "number from 0",
        "node": "bus.phase",
        "limited": "has a voltage band",
        "v_oes_pu": "power flow at the requests, nothing curtailed",
        "v_aes_pu": "power flow at the set-points",
    },
    "timings": {
        "tick": "number from 0",
        "hems_s": "all homes forecast and plan",
        "dms_s": "screen, optimisation, certificate",
        "optimal_s": "the `optimal` certificate, if asked for",
        "respond_s": "all homes re-plan after the answer, and live through the tick",
        "plant_s": "power flow of the plant",
        "explain_s": "what binds, whom it curtails, what blocks",
        "record_s": "rows of the tables",
        "granted_s": "the same homes with everything granted, if asked for",
    },
}
"""Every table and column; names of columns are units' suffixes of what they hold."""


SUMMARY: dict[str, str] = {
    "name": "of the scenario",
    "mode": "snapshot or loop",
    "norm": "norm of the curtailment",
    "seed": "of the random draws",
    "ticks": "how many",
    "prosumers": "how many",
    "total_mw": "requested export, mean over the ticks",
    "curtailed_mw": "curtailment, mean over the ticks",
    "largest_kw": "largest curtailment of one prosumer in any tick",
    "homes": "most prosumers curtailed in one tick",
    "gini": "Gini index of the shares of energy that homes lost over the run, 0 = even",
    "jain": "Jain's index of the shares of energy that homes kept over the run, 1 = even",
    "lost_share": "share of all energy asked for that was curtailed",
    "curtailed_kwh": "energy curtailed over the run (loop)",
    "stored_kwh": "of it stored",
    "spilled_kwh": "of it spilled",
    "export_kwh": "energy exported by the prosumers (loop)",
    "bill_usd": "import paid less export earned, all prosumers (loop)",
    "regret_usd": "what curtailment costs over the homes' horizons, summed over ticks and homes (loop)",
    "free_kwh": "curtailed energy of ticks in which it cost the home nothing (loop)",
    "soc_change_kwh": "energy of all batteries at the end less that at the start (loop)",
    "bill_granted_usd": "the bill had everything been granted (output.counterfactual)",
    "export_granted_kwh": "energy exported in that case",
    "soc_change_granted_kwh": "change of the batteries' energy in that case",
    "ticks_curtailed": "ticks with more than 0.1 kW curtailed",
    "ticks_binding": "ticks in which a limit binds",
    "steps_moved": "steps of all taps and capacitors, all ticks",
    "certified": "ticks whose set-points are certified, relaxed ones included",
    "guard_hits": "ticks whose optimiser crashed or was over its budget",
    "relaxed": "ticks with limits widened because zero export breaks them",
    "ticks_plant_violated": "ticks in which the plant left a limit that the set-points kept",
    "iterations": "of the interior point, all ticks",
    "plant_worst_line_pct": "most loaded line conductor in any tick, percent of its limit",
    "plant_v_min_pu": "lowest voltage with a band in any tick",
    "plant_v_max_pu": "highest voltage with a band in any tick",
    "seconds": "all computing",
    "dms_s": "one DMS tick, mean",
}
"""What `summary` holds: one flat record per run, also the columns of a sweep's table."""


@dataclass(frozen=True)
class Results:
    """Tables of one run; `tables["ticks"]` and so on, columns as in `TABLES`.

    warnings  limits that act on nothing, and what became of the values of a user's files
    """

    scenario: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    tables: dict[str, pd.DataFrame] = field(repr=False)
    summary: dict[str, Any]
    folder: Path | None = field(default=None, compare=False)
    warnings: tuple[str, ...] = ()

    @property
    def is_certified(self) -> bool:
        """Every published AES of the run is certified."""
        return bool((self.tables["ticks"]["certified"] != "no").all())

    def content_hash(self) -> str:
        """Hash of the table contents, measured times left out: equal runs have equal hashes."""
        digest = hashlib.sha256()
        for name in sorted(self.tables):
            if name != "timings":
                digest.update(name.encode())
                digest.update(self.tables[name].to_csv(index=False, float_format="%.9g").encode())
        return digest.hexdigest()[:16]


def table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the declared columns, in order.

    Raises  KeyError  a row has a column that is not declared, or lacks one
    """
    columns = list(TABLES[name])
    if rows and set(rows[0]) != set(columns):
        raise KeyError(f"table {name}: columns differ by {sorted(set(rows[0]) ^ set(columns))}")
    return pd.DataFrame(rows, columns=columns)


def columns_of(name: str, **arrays: Any) -> pd.DataFrame:
    """Arrays (or scalars) as a table with the declared columns, in order.

    Raises  KeyError  as `table`
    """
    if set(arrays) != set(TABLES[name]):
        raise KeyError(f"table {name}: columns differ by {sorted(set(arrays) ^ set(TABLES[name]))}")
    return pd.DataFrame({column: arrays[column] for column in TABLES[name]})


def write(results: Results, folder: Path) -> Results:
    """Write everything under a temporary name, then rename; an existing folder is left alone.

    Returns  the results with their folder
    Raises   FileExistsError  the folder is there already
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, frame in results.tables.items():
        frame.to_parquet(partial / f"{name}.parquet", index=False)
    (partial / "scenario.toml").write_text(to_toml(results.scenario), encoding="utf-8")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "provenance": results.provenance,
        "summary": results.summary,
        "warnings": list(results.warnings),
        "content_hash": results.content_hash(),
        "columns": {**{name: TABLES[name] for name in results.tables}, "summary": SUMMARY},
    }
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=2, default=_plain), encoding="utf-8")
    try:
        partial.rename(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not is_whole(folder):
            raise
        return read(folder)  # another process was first with the very same run
    return replace(results, folder=folder)


def is_whole(folder: Path) -> bool:
    """A finished run is there: its manifest and every table that the manifest names."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return False
    names = [name for name in manifest.get("columns", ()) if name != "summary"]
    return bool(names) and all(_is_parquet(folder / f"{name}.parquet") for name in names)


def _is_parquet(path: Path) -> bool:
    """Begins and ends with the format's mark, as a file that was written to its end does."""
    if not path.is_file() or path.stat().st_size < 12:
        return False
    with path.open("rb") as file:
        first = file.read(4)
        file.seek(-4, os.SEEK_END)
        return first == file.read(4) == b"PAR1"


def read(folder: Path) -> Results:
    """Read a finished run.

    Raises  FileNotFoundError  there is no manifest
    """
    import tomllib

    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    tables = {p.stem: pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))}
    scenario = tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8"))
    kept = manifest["provenance"], tables, manifest["summary"], folder, tuple(manifest.get("warnings", ()))
    return Results(scenario, *kept)


def to_toml(data: dict[str, Any]) -> str:
    """Plain data as TOML: scalars and lists first, then one section per dictionary."""
    return "\n".join(_toml_section(data, "")) + "\n"


def _toml_section(data: dict[str, Any], prefix: str) -> list[str]:
    flat = {k: v for k, v in data.items() if not (isinstance(v, dict) and v)}
    lines = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in flat.items()]
    for key, value in data.items():
        if isinstance(value, dict) and value:
            path = f"{prefix}{_toml_key(key)}"
            lines += ["", f"[{path}]", *_toml_section(value, f"{path}.")]
    return lines


def _toml_key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _toml_text(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml_value(v) for v in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items()) + "}"
    return _toml_text(value) if isinstance(value, str) else json.dumps(value)


def _toml_text(text: str) -> str:
    """JSON's string is TOML's, but for characters beyond 16 bits and DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} does not go into the manifest")
