"""Home energy management of many prosumers: plan, answer the utility, live with what comes (ANOCA III-A).

fleet = HemsFleet([Home("P1", Battery.powerwall2())], HemsConfig())
plan = fleet.plan(load_kw, pv_kw, tariff)       # plan.p_export_kw is the OES
dispatch = fleet.respond(aes_kw)                # AES <= OES from the utility
curve = fleet.bid_curve("P1")                    # what exporting less would cost, exactly
realised = fleet.realise(load_kw, pv_kw)        # the SOC moves on
"""

from hems.batches import DispatchBatch, PlanBatch, PlanStatus, RealisedBatch
from hems.bids import BidCurve
from hems.config import HemsConfig
from hems.errors import (
    ArbitrageError,
    BidError,
    ConfigError,
    HemsError,
    HomeError,
    SequenceError,
    SeriesError,
    SeriesFileError,
    SetpointError,
    TariffError,
    TicksMissingError,
    UncertifiedError,
)
from hems.files import FileRules, PowerFile, PriceFile, read_powers, read_prices
from hems.fleet import HemsFleet
from hems.forecast import Forecaster, ForecastNoise
from hems.forecasters import (
    ForecastMethod,
    ForecastView,
    believed,
    make_forecaster,
    register_forecaster,
)
from hems.household import Battery, Home, Inverter
from hems.loads import home_loads
from hems.prices import export_prices, flat_prices, ny_like_rtp, supply_prices
from hems.profiles import load_shape, pv_shape
from hems.roofs import Roof, draw_roofs, roof_pv
from hems.solar import Site
from hems.streams import Stream, generator
from hems.tariff import Tariff, ny_like_tou

__all__ = [
    "ArbitrageError",
    "Battery",
    "BidCurve",
    "BidError",
    "ConfigError",
    "DispatchBatch",
    "FileRules",
    "ForecastMethod",
    "ForecastNoise",
    "ForecastView",
    "Forecaster",
    "HemsConfig",
    "HemsError",
    "HemsFleet",
    "Home",
    "HomeError",
    "Inverter",
    "PlanBatch",
    "PlanStatus",
    "PowerFile",
    "PriceFile",
    "RealisedBatch",
    "Roof",
    "SequenceError",
    "SeriesError",
    "SeriesFileError",
    "SetpointError",
    "Site",
    "Stream",
    "Tariff",
    "TariffError",
    "TicksMissingError",
    "UncertifiedError",
    "believed",
    "draw_roofs",
    "export_prices",
    "flat_prices",
    "generator",
    "home_loads",
    "load_shape",
    "make_forecaster",
    "ny_like_rtp",
    "ny_like_tou",
    "pv_shape",
    "read_powers",
    "read_prices",
    "register_forecaster",
    "roof_pv",
    "supply_prices",
]
