"""Devices of a home beside its PV and its first battery, one file each; see `hems.devices.device`."""

from hems.devices.appliance import Appliance, Run
from hems.devices.battery import ExtraBattery
from hems.devices.device import Block, Device, Numbers, Seen
from hems.devices.thermal import HeatPump
from hems.devices.vehicle import ElectricVehicle, Stay

__all__ = [
    "Appliance",
    "Block",
    "Device",
    "ElectricVehicle",
    "ExtraBattery",
    "HeatPump",
    "Numbers",
    "Run",
    "Seen",
    "Stay",
]
