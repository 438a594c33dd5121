"""Two populations of homes: `EUROPEAN`, held against measured profiles, and `NEW_YORK`, larger and cooled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hems.appliances import Appliance
from hems.occupancy import SHARE_WORKING

_MEALS = ((8.5, 1.0, 1.0), (12.3, 1.2, 0.8), (17.5, 2.7, 0.36))
_MORNING_EVENING = ((8.6, 1.2, 1.4), (20.0, 3.5, 0.25))
_DAYTIME = ((10.2, 2.2, 1.0), (16.5, 3.0, 0.4))
_WASH = ((0.0, 0.3, 1.0), (0.3, 0.85, 0.1), (0.85, 1.0, 0.25))
_DISHES = ((0.0, 0.25, 1.0), (0.25, 0.65, 0.08), (0.65, 0.9, 1.0))
_THERMOSTAT = ((0.0, 0.45, 1.0), (0.45, 1.0, 0.4))


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadModel:
    """Parameters of a population of homes.

    base_kw, base_spread   what is always on, and its logarithmic spread over homes
    cold_share, cold_kw    shares of homes with none, one, two cold appliances; their power while running
    lights_kw, screens_kw  of one person awake; of k people sqrt(k) times as much
    use_spread             logarithmic spread over homes of how often anything is used
    working                share of people who leave for work
    cooling_kw             mean power of air conditioning while it runs, 0: none
    appliances             by name; one added at the end leaves the draws of the others alone, but for cooling
    """

    base_kw: float = 0.050
    base_spread: float = 0.06
    cold_share: tuple[float, float, float] = (0.25, 0.55, 0.20)
    cold_kw: float = 0.13
    lights_kw: float = 0.12
    screens_kw: float = 0.105
    use_spread: float = 0.38
    working: float = SHARE_WORKING
    cooling_kw: float = 0.0
    appliances: Mapping[str, Appliance] = field(default_factory=dict)


EUROPEAN = LoadModel(
    appliances={
        "kettle": Appliance(
            owned=0.95, uses=2.3, kw=2.75, minutes=3.0, prefer=_MEALS, floor=0.5, kw_spread=0.12, most=9
        ),
        "microwave": Appliance(owned=0.85, uses=1.5, kw=1.2, minutes=4.0, prefer=_MEALS, most=5),
        "hob": Appliance(
            owned=0.45, uses=0.95, kw=1.9, minutes=16, prefer=_MEALS[2:], floor=0.15, phases=_THERMOSTAT
        ),
        "oven": Appliance(
            owned=0.6, uses=0.40, kw=2.4, minutes=34, prefer=_MEALS[1:], floor=0.1, phases=_THERMOSTAT, most=3
        ),
        "washing machine": Appliance(
            owned=0.9, uses=0.39, kw=2.25, minutes=75, prefer=_DAYTIME, phases=_WASH, most=3
        ),
        "dryer": Appliance(owned=0.4, uses=0.31, kw=2.5, minutes=50, prefer=_DAYTIME, most=3),
        "dishwasher": Appliance(
            owned=0.4, uses=0.5, kw=2.0, minutes=75, prefer=_MEALS[2:], phases=_DISHES, most=2
        ),
        "water heater": Appliance(
            owned=0.16, uses=1.05, kw=3.15, minutes=32, prefer=_MORNING_EVENING, kw_spread=0.1, most=4
        ),
        "shower": Appliance(
            owned=0.15, uses=1.1, kw=8.2, minutes=4.0, prefer=_MORNING_EVENING, kw_spread=0.1, most=5
        ),
        "iron, cleaner": Appliance(owned=0.9, uses=0.5, kw=1.3, minutes=15, prefer=_DAYTIME, most=3),
    },
)

_NEW_YORK_SIZE = 1.35
"""American appliances run at higher powers and longer."""

NEW_YORK = LoadModel(
    base_kw=0.28,
    base_spread=0.4,
    cold_share=(0.0, 0.65, 0.35),
    cold_kw=0.22,
    lights_kw=0.30,
    screens_kw=0.18,
    use_spread=0.35,
    cooling_kw=1.1,
    appliances={
        name: replace(kind, kw=kind.kw * _NEW_YORK_SIZE, minutes=kind.minutes * 1.2)
        for name, kind in EUROPEAN.appliances.items()
    },
)
