"""Write docs/scenarios.md: every section and key of a scenario, from the code that checks them.

.venv/bin/python docs/settings.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from anoca.config import ExtraProsumer, Scenario
from anoca.config_reactive import ReactiveSection
from anoca.results import SUMMARY, TABLES

TARGET = Path(__file__).with_name("scenarios.md")
HEAD = """# Scenario files and result tables

Written by `docs/settings.py` from the code that checks scenarios and writes results.

A scenario is a TOML file. Only `name`, `seed`, `[feeder] name` and some prosumers are required. Unknown
keys are errors. `anoca scenarios copy case2_hour.toml` gives you one to change. Paths start at its folder.
`anoca feeder show NAME --table loads` (or `switches`, `nodes` ...) lists the names that a scenario may use.

## A worked example

```toml
name = "village"
seed = 7

[feeder]
name = "synthetic"
options = { n_buses = 300, seed = 2 }

[prosumers]
percent = { A = 120, C = 60 }        # by category; B stays a plain load
weights = { "12" = 5.0 }             # five times less willingly; under l2 the square: about 25 times less
battery_kw = 10.0                    # one Powerwall per 10 kW of base load

[[prosumers.extra]]                  # a solar farm at named nodes
name = "farm"
node = "b17.1"
to = "b17.2"                         # left out: phase to earth
base_kw = 40.0
percent = 200

[series]
load_file = "load.csv"               # time,1,3,4,... then one row per tick: 2026-06-21T12:30-04:00,4.2,...

[tariff]
kind = "csv"
file = "prices.csv"                  # time,import_price_per_kwh,export_price_per_kwh

[sweep]
"prosumers.percent" = [{ A = 60, C = 30 }, { A = 120, C = 60 }]
"limits.i_scale" = [1.0, 0.8]
```

A series covers the run's ticks and the horizon that the last tick looks ahead (96 ticks of 5 minutes unless
`hems.horizon` says otherwise), and the day before the first tick if `forecast.method` needs it, on the run's
clock, each time with its offset from UTC. A column may say its unit, `3_kwh`; a file may be Parquet, and
long: `time,prosumer,load_kw`. Other steps than the clock's are taken with `resample = true`. Columns that
are no prosumers, and whatever was converted, are named in a warning.

Without files, `series.load = "homes"` builds loads from people and appliances
([load-calibration.md](load-calibration.md)) and `series.pv = "roofs"` gives every roof its own orientation
under one moving sky ([pv-ramps.md](pv-ramps.md)).

A forecaster of your own is a class on the Python path, named by `forecast.method = "my_module:MyClass"`:

```python
class MyClass:
    history_h = 24.0  # hours of past wanted at the first tick

    def __init__(self, *, seed, dt_h, **options):  # options: [forecast] options
        ...

    def forecast(self, view):  # hems.ForecastView: kind, names, times_past, past_kw ...
        return ...  # (homes, horizon) kW
```
"""


def main() -> None:
    """Write the page."""
    parts = [HEAD, _section("Top level", Scenario)]
    for name, field in Scenario.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            parts.append(_section(f"[{name}]", field.annotation))
        if name == "prosumers":
            parts.append(_section("[[prosumers.extra]]", ExtraProsumer))
            parts.append(_section("[prosumers.reactive]", ReactiveSection))
    parts.append(
        "## Result tables\n\n`results/<name>/<hash>/<table>.parquet`, readable with `pandas.read_parquet`.\n"
    )
    for table, columns in TABLES.items():
        rows = "\n".join(f"| `{column}` | {text} |" for column, text in columns.items())
        parts.append(f"### {table}\n\n| column | what |\n|---|---|\n{rows}\n")
    rows = "\n".join(f"| `{key}` | {text} |" for key, text in SUMMARY.items())
    parts.append(f"### summary, in manifest.json and sweep.csv\n\n| key | what |\n|---|---|\n{rows}\n")
    TARGET.write_text("\n".join(parts), encoding="utf-8")


def _section(title: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    rows = []
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        rows.append(f"| `{key}` | {_values(schema['properties'][key])} | {_default(field)} |")
    text = inspect.cleandoc(model.__doc__ or "")
    return (
        f"## {title}\n\n```text\n{text}\n```\n\n| key | values | default |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _values(schema: dict[str, Any]) -> str:
    """What a key takes, in words, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(w for part in schema["anyOf"] if (w := _values(part)) != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
    words = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true or false"}
    kind = schema.get("type", "")
    if kind == "object":
        return f"table, each {_values(schema.get('additionalProperties', {}))}"
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(_values, schema['prefixItems']))}]"
        items = schema.get("items", {})
        return "list of tables" if "$ref" in items else f"list, each {_values(items) or 'any value'}"
    text = "local date and time" if schema.get("format") == "date-time" else words.get(kind, kind)
    text = "file" if schema.get("format") == "path" else text
    bounds = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="))
    return " ".join([text, *(f"{sign} {schema[key]:g}" for key, sign in bounds if key in schema)])


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "none" if field.default in ({}, [], "", None) else f"`{field.default}`"


if __name__ == "__main__":
    main()
