"""A closed loop of three ticks on a synthetic feeder whose limits bind; it runs in about a second."""

from typing import Any

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "feeder": {"name": "synthetic", "options": {"n_buses": 20, "seed": 1}},
    "prosumers": {"percent": {"A": 150, "C": 100}, "battery_kw": 20.0},
    "limits": {"i_scale": 0.25},
    "hems": {"horizon": 24},
    "clock": {"ticks": 3},
}
