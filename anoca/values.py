"""What curtailment was worth: bills, energy and regret of every home and day, from the tables of a run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from anoca.results import columns_of
from feeders.table import Array

FREE_USD = 1e-6
"""A tick's curtailment that costs a home less than this has cost it nothing; the rest is rounding."""

GRANTED = ("bill_granted_usd", "export_granted_kwh", "soc_change_granted_kwh")


def values_table(
    prosumers: pd.DataFrame, days: Array, hours: float, granted: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Table `values`: one row per local day and home, in the order of both.

    bill = sum_t (pi gi - pe ge) dt        regret = sum_t J_t(AES) - J_t(OES), by the forecasts of tick t

    With perfect forecasts and horizons that end with the run, regrets add up to what the run costs more than
    one in which everything is granted; else they are what homes saw coming.

    prosumers, granted  tables of that name      days  (ticks,) local dates      hours  of a tick
    """
    keys = [pd.Index(days[prosumers["tick"].to_numpy()], name="day"), prosumers["prosumer"]]
    energy = {
        "import_kwh": "p_import_kw",
        "export_kwh": "p_export_kw",
        "asked_kwh": "p_oes_kw",
        "curtailed_kwh": "p_curtail_kw",
        "stored_kwh": "p_stored_kw",
        "spilled_kwh": "p_spill_curtail_kw",
        "unavailable_kwh": "p_unavailable_kw",
    }
    free = prosumers["p_curtail_kw"].where(prosumers["regret_usd"] <= FREE_USD, 0.0)
    each = pd.DataFrame({kwh: prosumers[kw] * hours for kwh, kw in energy.items()}).assign(
        bill_usd=prosumers["cost_usd"], regret_usd=prosumers["regret_usd"], free_kwh=free * hours
    )
    found = each.groupby(keys, sort=False).sum()
    found["ticks"] = each.groupby(keys, sort=False).size()
    found["soc_change_kwh"] = _change(prosumers, keys)
    found[list(GRANTED)] = np.nan
    if granted is not None:
        found["bill_granted_usd"] = granted["cost_usd"].groupby(keys, sort=False).sum()
        found["export_granted_kwh"] = (granted["p_export_kw"] * hours).groupby(keys, sort=False).sum()
        found["soc_change_granted_kwh"] = _change(granted, keys)
    flat = found.reset_index()
    return columns_of("values", **{str(name): flat[name] for name in flat})


def _change(table: pd.DataFrame, keys: list[pd.Index | pd.Series]) -> pd.Series:
    soc = table.groupby(keys, sort=False)
    change: pd.Series = soc["soc_end_kwh"].last() - soc["soc_start_kwh"].first()
    return change


def totals(values: pd.DataFrame | None) -> dict[str, float]:
    """Sums over homes and days, for the summary; NaN for a snapshot, and for what was not asked for."""
    names = ("bill_usd", "regret_usd", "free_kwh", "export_kwh", "soc_change_kwh", *GRANTED)
    if values is None:
        return dict.fromkeys(names, np.nan)
    return {name: float(values[name].sum(min_count=1)) for name in names}
