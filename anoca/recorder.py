"""`Recorder`: what a run writes down, tick by tick, as the tables of `anoca.results`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from anoca.agents import HomesTick
from anoca.config import Scenario
from anoca.explanations import Explainer
from anoca.placement import Placement
from anoca.plant import Reading
from anoca.results import TABLES, columns_of, table
from anoca.values import totals, values_table
from dms import DmsProblem, DmsRequest, DmsSolution, OptimalityCertificate, Units, fairness
from dms.certificate import run
from dms.solution import COUNT_KW
from feeders import Connections
from feeders.table import Array


class Recorder:
    """Collects rows; a snapshot has no homes and no plant, and leaves those columns empty.

    warnings  what the run was told before its first tick, for its manifest
    """

    def __init__(self, scenario: Scenario, placement: Placement) -> None:
        self.scenario, self.placement = scenario, placement
        self.warnings: list[str] = []
        self._ticks: list[dict[str, Any]] = []
        self._timings: list[dict[str, Any]] = []
        self._frames: dict[str, list[pd.DataFrame]] = {
            "prosumers": [],
            "granted": [],
            "messages": [],
            "limits": [],
            "causes": [],
            "slacks": [],
            "controls": [],
            "nodes": [],
        }
        self._row: dict[str, Any] = {}
        self._position: Array | None = None
        self._explainer, self._explain_s = Explainer(scenario.dms), 0.0
        self._record_s = 0.0
        connections = placement.feeder[Connections]
        self._by_prosumer, self._q_free = Units.of(connections), connections.q_mode == "free"
        capacity = [h.battery.capacity_kwh if h.battery else 0.0 for h in placement.homes()]
        self._capacity_kwh = np.array(capacity)

    def dms(
        self, tick: int, when: pd.Timestamp, problem: DmsProblem, request: DmsRequest, solution: DmsSolution
    ) -> None:
        """The utility's side of a tick."""
        certificate, flowed = solution.certificate, solution.state.flow.converged
        self._row = dict.fromkeys(TABLES["ticks"], np.nan) | {
            "tick": tick,
            "time": when,
            "norm": problem.norm,
            "status": solution.status.value,
            "method": solution.method,
            "guard_hit": solution.guard,
            "certified": certificate.safe,
            "total_oes_kw": float(request.p_export_kw.sum()),
            "total_aes_kw": float(solution.p_adjusted_kw.sum()),
            "curtailed_kw": solution.total_curtailed_kw,
            "largest_kw": solution.largest_kw,
            "homes": solution.homes(),
            "gini": solution.gini,
            "jain": solution.jain,
            "lost_share": solution.lost_share,
            "binding": solution.binding() if flowed else 0,
            "preexisting": len(solution.preexisting),
            "steps_moved": self._controls(tick, problem, solution),
            "moves_gap_pct": 100 * solution.moves.gap if solution.moves else np.nan,
            "iterations": solution.iterations,
            "dms_worst_v_pu": certificate.worst_v_pu if flowed else np.nan,
            "dms_worst_i_pct": 100 * (certificate.worst_i + 1) if flowed else np.nan,
            "optimal": "",
            "plant_worst_line": "",
            "plant_violated": False,
        }
        self._explain(tick, problem, request, solution)
        if self.scenario.output.nodes:
            self._nodes(tick, problem, request, solution)
        if self.scenario.mode == "snapshot":
            self._frames["prosumers"].append(self._snapshot_prosumers(tick, problem, request, solution))

    def optimality(self, found: OptimalityCertificate) -> None:
        """The `optimal` certificate of the tick."""
        self._row |= {"optimal": found.optimal, "kkt_residual": found.kkt_residual, "gap": found.gap}

    def not_tested(self) -> None:
        """The test of optimality did not come to an end."""
        self._row |= {"optimal": "not_tested"}

    def _snapshot_prosumers(
        self, tick: int, problem: DmsProblem, request: DmsRequest, solution: DmsSolution
    ) -> pd.DataFrame:
        unknown = dict.fromkeys(TABLES["prosumers"], np.nan)
        total = problem.units.total_kw
        known = {
            "tick": tick,
            "prosumer": problem.units.name,
            "p_oes_kw": total(request.p_export_kw),
            "p_ois_kw": total(request.p_import_kw),
            "p_aes_kw": total(solution.p_adjusted_kw),
            "p_curtail_kw": total(solution.p_curtail_kw),
            "q_kvar": total(solution.q_kvar),
            "path": "",
        }
        return columns_of("prosumers", **{**unknown, **known})

    def homes(
        self,
        tick: int,
        span: pd.DatetimeIndex,
        request: DmsRequest,
        solution: DmsSolution,
        home_tick: HomesTick,
    ) -> None:
        """The homes' side of a tick: plans, answers, and what was lived through."""
        plan, dispatch, real = home_tick.plan, home_tick.dispatch, home_tick.realised
        curtailed = np.maximum(plan.p_export_kw - home_tick.aes_kw, 0.0)
        stored, spilled = dispatch.p_stored_kw, real.p_spill_curtail_kw
        unavailable = curtailed - stored - spilled
        self._frames["prosumers"].append(
            columns_of(
                "prosumers",
                tick=tick,
                prosumer=self.placement.name,
                p_oes_kw=plan.p_export_kw,
                p_ois_kw=plan.p_import_kw,
                p_aes_kw=home_tick.aes_kw,
                p_curtail_kw=curtailed,
                q_kvar=self._by_prosumer.total_kw(solution.q_kvar),
                p_planned_kw=dispatch.p_export_kw,
                p_export_kw=real.p_export_kw,
                p_import_kw=real.p_import_kw,
                p_load_kw=home_tick.load_kw,
                p_pv_kw=home_tick.pv_kw,
                p_charge_kw=real.p_charge_kw,
                p_discharge_kw=real.p_discharge_kw,
                p_devices_kw=real.p_devices_kw,
                p_stored_kw=stored,
                p_spill_plan_kw=real.p_spill_plan_kw,
                p_spill_curtail_kw=spilled,
                p_unavailable_kw=unavailable,
                p_spill_tracking_kw=real.p_spill_tracking_kw,
                soc_start_kwh=real.soc_start_kwh,
                soc_end_kwh=real.soc_end_kwh,
                capacity_kwh=self._capacity_kwh,
                cost_usd=real.cost_usd,
                regret_usd=dispatch.regret_usd,
                path=plan.path,
                gap=plan.gap,
            )
        )
        self._row |= {
            "total_import_kw": float(real.p_import_kw.sum()),
            "total_export_kw": float(real.p_export_kw.sum()),
            "stored_kw": float(stored.sum()),
            "spilled_kw": float(spilled.sum()),
            "unavailable_kw": float(unavailable.sum()),
            "import_price_per_kwh": home_tick.import_price_per_kwh,
            "export_price_per_kwh": home_tick.export_price_per_kwh,
            "homes_storing": int(np.count_nonzero(stored > COUNT_KW)),
            "homes_spilling": int(np.count_nonzero(spilled > COUNT_KW)),
            "soc_mean_pct": 100 * float(real.soc_end_kwh.sum()) / max(self._capacity_kwh.sum(), 1e-9),
        }
        self._messages(tick, span, request, solution)

    def granted(self, tick: int, home_tick: HomesTick) -> None:
        """The same homes in a run of their own, in which every request is granted."""
        real = home_tick.realised
        self._frames["granted"].append(
            columns_of(
                "granted",
                tick=tick,
                prosumer=self.placement.name,
                p_oes_kw=home_tick.plan.p_export_kw,
                p_export_kw=real.p_export_kw,
                p_import_kw=real.p_import_kw,
                soc_start_kwh=real.soc_start_kwh,
                soc_end_kwh=real.soc_end_kwh,
                cost_usd=real.cost_usd,
            )
        )

    def plant(self, reading: Reading) -> None:
        """What the plant's meters read."""
        self._row |= {
            "plant_worst_line": reading.worst_line,
            "plant_worst_line_pct": reading.worst_line_pct,
            "plant_v_min_pu": reading.v_min_pu,
            "plant_v_max_pu": reading.v_max_pu,
            "plant_over_v_pu": reading.state.worst_over_v if reading.flow.converged else np.nan,
            "plant_withheld_kw": reading.withheld_kw if reading.flow.converged else np.nan,
            "plant_violated": reading.violated,
        }

    def close_tick(self, seconds: dict[str, float]) -> None:
        """Finish the row of the tick."""
        self._ticks.append(self._row)
        empty = dict.fromkeys(TABLES["timings"], 0.0)
        own = {"tick": self._row["tick"], "explain_s": self._explain_s, "record_s": self._record_s}
        self._timings.append({**empty, **own, **seconds})
        self._record_s = self._explain_s = 0.0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Time what is done inside as `record_s`, explanations left out."""
        began, explained = time.perf_counter(), self._explain_s
        yield
        self._record_s += time.perf_counter() - began - (self._explain_s - explained)

    def headline(self) -> str:
        """One line on the last tick, for progress."""
        r = self._ticks[-1]
        worst = r["plant_worst_line_pct"]
        cable = "" if np.isnan(worst) else f", worst cable {worst:.2f} %"
        low, high = r["plant_v_min_pu"], r["plant_v_max_pu"]
        volts = "" if np.isnan(low) else f", |v| {low:.4f}-{high:.4f} pu"
        return (
            f"{r['time']:%H:%M} OES {r['total_oes_kw'] / 1e3:.2f} MW, curtailed {r['curtailed_kw']:.1f} kW "
            f"({r['certified']}){cable}{volts}"
        )

    def _explain(self, tick: int, problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> None:
        """Limits that bind or are broken, whom they curtail, and what blocks a tick without an answer."""
        began = time.perf_counter()
        for name, frame in self._explainer.tick(tick, problem, request, solution).items():
            self._frames[name].append(frame)
        self._explain_s += time.perf_counter() - began

    def _controls(self, tick: int, problem: DmsProblem, solution: DmsSolution) -> float:
        """Rows of the taps and capacitor steps; the number of steps moved in all."""
        controls = problem.controls
        if not len(controls):
            return 0.0
        before = controls.present(problem.feeder) if self._position is None else self._position
        steps = controls.steps_moved(solution.position, before)
        self._position = solution.position
        self._frames["controls"].append(
            columns_of(
                "controls",
                tick=tick,
                control=controls.name,
                position=solution.position,
                before=before,
                steps_moved=steps,
            )
        )
        return round(float(steps.sum()), 6)

    def _nodes(self, tick: int, problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> None:
        base = problem.feeder.v_base_v[1:]
        uncut = not solution.unit_curtail_kw.any() and solution.state.flow.converged
        before = solution.state.flow if uncut else run(problem.network, request)
        bands = [f.place.ravel() for f in solution.values.families if f.rows in ("v_band", "v_ll_band")]
        limited = np.isin(np.arange(1, len(base) + 1), np.concatenate(bands))
        self._frames["nodes"].append(
            columns_of(
                "nodes",
                tick=tick,
                node=problem.feeder.node_names[1:],
                limited=limited,
                v_oes_pu=_pu(before.v[1:], base) if before.converged else np.nan,
                v_aes_pu=_pu(solution.state.flow.v[1:], base) if solution.state.flow.converged else np.nan,
            )
        )

    def _messages(
        self, tick: int, span: pd.DatetimeIndex, request: DmsRequest, solution: DmsSolution
    ) -> None:
        connections = self.placement.feeder[Connections].prosumer
        number = pd.Series(connections).groupby(connections).cumcount().to_numpy()
        common = {
            "tick": tick,
            "prosumer": connections,
            "connection": number,
            "seq": tick,
            "mrid": [f"{name}/{tick}/{tick}" for name in connections],
            "valid_from": span[0],
            "valid_until": span[1],
        }
        asked = columns_of(
            "messages",
            kind="OES",
            p_export_kw=request.p_export_kw,
            p_import_kw=request.p_import_kw,
            q_kvar=request.q_kvar,
            p_curtail_kw=np.nan,
            certified="",
            **common,
        )
        granted = columns_of(
            "messages",
            kind="AES",
            p_export_kw=solution.p_adjusted_kw,
            p_import_kw=np.nan,
            q_kvar=np.where(self._q_free, solution.q_set_kvar, np.nan),
            p_curtail_kw=solution.p_curtail_kw,
            certified=solution.certificate.safe,
            **common,
        )
        self._frames["messages"] += [asked, granted]

    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables with rows."""
        found = {"ticks": table("ticks", self._ticks), "timings": table("timings", self._timings)}
        for name, frames in self._frames.items():
            filled = [frame for frame in frames if len(frame)]
            if filled:
                found[name] = pd.concat(filled, ignore_index=True)
            elif name == "limits":
                found[name] = frames[0]  # empty, its columns with their types
        if self.scenario.mode == "loop":
            days = np.array([when.date() for when in found["ticks"]["time"]])
            hours = self.scenario.clock.step_minutes / 60
            found["values"] = values_table(found["prosumers"], days, hours, found.get("granted"))
        return found

    def summary(self, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
        """Totals of the run: one flat record with the keys of `anoca.results.SUMMARY`."""
        ticks, timings = tables["ticks"], tables["timings"]
        hours = self.scenario.clock.step_minutes / 60 if self.scenario.mode == "loop" else np.nan
        return {
            "name": self.scenario.name,
            "mode": self.scenario.mode,
            "norm": self.scenario.dms.norm,
            "seed": self.scenario.seed,
            "ticks": len(ticks),
            "prosumers": len(self.placement.name),
            "total_mw": float(ticks["total_oes_kw"].mean() / 1e3),
            "curtailed_mw": float(ticks["curtailed_kw"].mean() / 1e3),
            "largest_kw": float(ticks["largest_kw"].max()),
            "homes": int(ticks["homes"].max()),
            **_fairness(tables["prosumers"]),
            "curtailed_kwh": float(ticks["curtailed_kw"].sum() * hours),
            "stored_kwh": float(ticks["stored_kw"].sum() * hours),
            "spilled_kwh": float(ticks["spilled_kw"].sum() * hours),
            **totals(tables.get("values")),
            "ticks_curtailed": int((ticks["curtailed_kw"] > COUNT_KW).sum()),
            "ticks_binding": int((ticks["binding"] > 0).sum()),
            "steps_moved": float(ticks["steps_moved"].sum()),
            "certified": int((ticks["certified"] != "no").sum()),
            "guard_hits": int((ticks["guard_hit"] != "").sum()),
            "relaxed": int((ticks["certified"] == "relaxed").sum()),
            "ticks_plant_violated": int(ticks["plant_violated"].sum()),
            "iterations": int(ticks["iterations"].sum()),
            "plant_worst_line_pct": float(ticks["plant_worst_line_pct"].max()),
            "plant_v_min_pu": float(ticks["plant_v_min_pu"].min()),
            "plant_v_max_pu": float(ticks["plant_v_max_pu"].max()),
            "seconds": float(timings.drop(columns="tick").sum().sum()),
            "dms_s": float(timings["dms_s"].mean()),
        }


def _fairness(prosumers: pd.DataFrame) -> dict[str, float]:
    """How evenly what was lost over the run falls on the homes, in energy."""
    sums = prosumers.groupby("prosumer")[["p_curtail_kw", "p_oes_kw"]].sum()
    lost, asked = sums["p_curtail_kw"].to_numpy(dtype=float), sums["p_oes_kw"].to_numpy(dtype=float)
    share = fairness.lost_shares(lost, asked)
    return {
        "gini": fairness.gini(share),
        "jain": fairness.jain(share),
        "lost_share": fairness.lost_share(lost, asked),
    }


def _pu(v: Array, base: Array) -> Array:
    found: Array = np.abs(v) / base
    return found
