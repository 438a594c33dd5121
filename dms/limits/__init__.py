"""Limits: what a user states, the families of limits on a feeder, and their rows (2j), (2l), (2m).

A kind of limit is one function that finds it on a feeder (`find.FIND`), one that states its rows
(`rows.ADD`) and one that measures it in the independent power flow (`dms.certificate.MEASURE`); widening,
tightening, tolerances, tables and certificates treat all kinds alike.
"""

from dms.limits.family import BAND_TOLERANCE_PU, CURRENT_TOLERANCE, WIDEN, Family
from dms.limits.find import coil_pairs
from dms.limits.idle import idle, some, unrated
from dms.limits.rows import apply_limits, set_limit_numbers
from dms.limits.stated import Limits
from dms.limits.values import LimitValues

__all__ = [
    "BAND_TOLERANCE_PU",
    "CURRENT_TOLERANCE",
    "WIDEN",
    "Family",
    "LimitValues",
    "Limits",
    "apply_limits",
    "coil_pairs",
    "idle",
    "set_limit_numbers",
    "some",
    "unrated",
]
