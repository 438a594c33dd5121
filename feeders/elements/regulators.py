"""Regulators: the controls of tap changers; the taps themselves are in `Windings.tap`."""

from __future__ import annotations

import numpy as np

from feeders.table import Array, Table, column


class Regulators(Table):
    """One row per control: it holds the voltage behind a compensated line drop within a band.

    |v / pt_ratio - (r_v + j x_v) i / ct_primary_a| = v_reg_v +- band_v / 2, with v and i the voltage
    and current of one phase of the sensed winding; a tap step is (tap_max - tap_min) / tap_steps of
    the tap winding in `Windings`.
    """

    name: Array = column("-", dtype=str, check="unique")
    transformer: Array = column("row of Transformers", dtype=int, check="any")
    winding: Array = column("-", dtype=int, check="nonnegative", doc="sensed winding")
    tap_winding: Array = column("-", dtype=int, check="nonnegative", doc="winding whose tap it moves")
    v_reg_v: Array = column("V", check="positive", doc="set point, secondary of the voltage transformer")
    band_v: Array = column("V", check="positive", doc="full width of the dead band")
    pt_ratio: Array = column("-", check="positive")
    ct_primary_a: Array = column("A", check="positive", doc="primary rating of the current transformer")
    r_v: Array = column("V", default=0.0, doc="line drop compensation at rated current")
    x_v: Array = column("V", default=0.0, doc="line drop compensation at rated current")
    phase: Array = column("-", dtype=str, check="any", default="1", doc="1, 2, 3, min, max or avg")
    bus: Array = column("-", dtype=str, check="any", default="", doc="remote bus it watches, if any")
    delay_s: Array = column("s", check="nonnegative", default=0.0)
    max_tap_change: Array = column("-", dtype=int, check="nonnegative", default=16, doc="steps at a time")
    reversible: Array = column("-", dtype=bool, check="any", default=False)
    v_limit_v: Array = column("V", check="any", default=np.nan, doc="limit at the tap changer itself")
