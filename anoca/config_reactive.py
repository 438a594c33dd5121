"""`[prosumers.reactive]`: how the inverters of a scenario make their reactive power."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from feeders import Inverters
from feeders.inverters import CATEGORY_B_VOLT_VAR, CATEGORY_B_VOLT_WATT

QMode = Literal["request", "constant", "unity", "power_factor", "volt_var", "free"]

Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class ReactiveSection(BaseModel):
    """How the inverters make their reactive power; see `feeders.Inverters` and `feeders.Connections`.

    mode          "request": that of export_rule, no rating enforced; "constant": the same inside the rating;
                  "unity", "power_factor", "volt_var"; "free": decided by the utility, sent with the AES.
                  In the last four the Q of export_rule is drawn beside the inverter
    modes         exceptions, by prosumer
    kva_per_kw    rating of an inverter over the peak of its PV
    power_factor  of mode power_factor, negative absorbs
    volt_var      four points [voltage, Q], parts of nominal and of the rating; default: IEEE 1547 Category B
    volt_watt     two points [voltage, P], or true: those of IEEE 1547 Category B
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: QMode = "request"
    modes: dict[str, QMode] = {}
    kva_per_kw: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.1
    power_factor: Annotated[float, Field(ge=-1, le=1)] = 0.95
    volt_var: list[Point] = [list(point) for point in CATEGORY_B_VOLT_VAR]
    volt_watt: bool | list[Point] = False

    @model_validator(mode="after")
    def _whole(self) -> ReactiveSection:
        self.inverters()
        return self

    def inverters(self) -> Inverters:
        """As the feeder takes them.

        Raises  ValueError  a curve with another number of points
        """
        watt: Any = self.volt_watt
        if isinstance(watt, bool):
            watt = CATEGORY_B_VOLT_WATT if watt else None
        as_given: Any = self.volt_var
        return Inverters(
            mode=self.mode,
            modes=self.modes,
            power_factor=self.power_factor,
            volt_var=tuple(tuple(point) for point in as_given),
            volt_watt=None if watt is None else tuple(tuple(point) for point in watt),
        )

    @property
    def asked(self) -> bool:
        """Some inverter has a rule."""
        return {self.mode, *self.modes.values()} != {"request"}
