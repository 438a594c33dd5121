"""Write docs/scenarios.md: every section and key of a scenario, from the code that checks them.

.venv/bin/python docs/settings.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from anoca.config import Scenario
from anoca.results import TABLES

TARGET = Path(__file__).with_name("scenarios.md")
HEAD = """# Scenario files and result tables

Written by `docs/settings.py` from the code that checks scenarios and writes results.

A scenario is a TOML file. Only `name`, `seed` and `[feeder] name` are required. Unknown keys are errors.
`anoca scenarios copy case2_hour.toml` gives you one to change.
"""


def main() -> None:
    """Write the page."""
    parts = [HEAD, _section("Top level", Scenario)]
    for name, field in Scenario.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            parts.append(_section(f"[{name}]", field.annotation))
    parts.append(
        "## Result tables\n\n`results/<name>/<hash>/<table>.parquet`, readable with `pandas.read_parquet`.\n"
    )
    for table, columns in TABLES.items():
        rows = "\n".join(f"| `{column}` | {text} |" for column, text in columns.items())
        parts.append(f"### {table}\n\n| column | what |\n|---|---|\n{rows}\n")
    TARGET.write_text("\n".join(parts), encoding="utf-8")


def _section(title: str, model: type[BaseModel]) -> str:
    rows = [
        f"| `{key}` | {_type(field)} | {_default(field)} |"
        for key, field in model.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
    ]
    text = inspect.cleandoc(model.__doc__ or "")
    return (
        f"## {title}\n\n```text\n{text}\n```\n\n| key | values | default |\n|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    if get_origin(annotation) is not None and get_args(annotation):
        values = [a for a in get_args(annotation) if isinstance(a, str | int)]
        if values:
            return ", ".join(f"`{v}`" for v in values)
    text = getattr(annotation, "__name__", None) if get_origin(annotation) is None else None
    return (text or str(annotation)).replace("typing.", "").replace("|", "or")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return f"`{field.default}`" if field.default not in ({}, []) else "none"


if __name__ == "__main__":
    main()
