"""BMOPF JSON: the exchange format of the IEEE PES task force on multiconductor optimal power flow.

Schema: `distribution-system-opt/dsopt-schema`, `schema/bmopf/0.2.0/bmopf.schema.json` (proposed; to the
baseline 0.1.0 it adds n-winding transformers, taps, no-load shunts and inverters, among others). 0.2.0 is
written, both are read. Everything is in volt, ampere, watt, ohm, siemens, metre and radian.

The schema allows fields of one's own in one place, the top-level object `extras`. What it has no field for
(voltage bases, coordinates, voltage bands of loads, capacitor steps, tap ranges, regulator controls) is
written there under the key `anoca`, as the difference between what the schema's fields alone say and the
feeder: so a feeder comes back as it was, and the difference itself is the audit of what others do not see.

What is said in other terms: a source with an impedance is an ideal source at a bus of its own, behind a line;
a switch with a contact impedance has a line behind it; small shunts of transformers and reactors are shunts.
"""

from feeders.readers.bmopf.read import read, recognises
from feeders.readers.bmopf.write import write

__all__ = ["read", "recognises", "write"]
