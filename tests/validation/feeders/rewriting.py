"""DSS texts taken apart into statements and put together again in another style."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

Rng = np.random.Generator
Files = dict[str, str]

_VALUE = r"\"[^\"]*\"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|[^\s,=]+"
_PROPERTY = re.compile(rf"\s*,?\s*(?:([\w%]+)\s*=\s*)?({_VALUE})")
_MORE = re.compile(r"^\s*(?:~|more\b|m\b)", re.IGNORECASE)
_INCLUDE = re.compile(r"^\s*(redirect|buscoords)\s+(\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One `new` with all its properties, or, without a kind, a line that stays as it is."""

    line: str
    kind: str = ""
    name: str = ""
    properties: tuple[tuple[str, str], ...] = ()


def bare(line: str) -> str:
    """A line without its comment."""
    return line.split("!")[0].split("//")[0].rstrip()


def parsed(text: str) -> list[Statement]:
    """The statements of a text, comments left out."""
    found: list[Statement] = []
    for line in map(bare, text.splitlines()):
        if not line.strip():
            continue
        if _MORE.match(line):
            last = found.pop()
            found.append(replace(last, properties=last.properties + pairs(_MORE.sub("", line))))
        elif match := re.match(r"(?i)^\s*new\s+(?:object\s*=\s*)?(\w+)\.(\S+)(.*)$", line):
            found.append(Statement("", match[1], match[2], pairs(match[3])))
        else:
            found.append(Statement(line.strip()))
    return found


def pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Names ("" for a property by its place) and values."""
    return tuple((key, value) for key, value in _PROPERTY.findall(text))


@dataclass
class Style:
    """How statements are written; every field is one kind of change, switched off here."""

    rng: Rng
    case: Callable[[str], str] = str
    blank: Callable[[], str] = lambda: " "
    indent: Callable[[], str] = lambda: ""
    equals: Callable[[], str] = lambda: "="
    comma: Callable[[], str] = lambda: ""
    quote: Callable[[str], str] = str
    head: Callable[[], str] = lambda: "new "
    continued: Callable[[], str] = lambda: ""
    comment: Callable[[], str] = lambda: ""
    between: Callable[[], str] = lambda: ""
    short: Callable[[str, str], str] = lambda kind, key: key

    def text(self, statements: list[Statement]) -> str:
        return "".join(self.between() + self.written(s) for s in statements)

    def written(self, s: Statement) -> str:
        if not s.kind:
            return f"{self.indent()}{self.case(s.line)}{self.comment()}\n"
        words = self.indent() + self.case(self.head() + s.kind + ".") + self.case(s.name)
        for k, (key, value) in enumerate(s.properties):
            words += (k >= whole(s) and self.continued()) or self.blank()
            name = self.case(self.short(s.kind.lower(), key)) + self.equals() if key else ""
            words += name + self.case(self.quote(value)) + self.comma()
        return f"{words}{self.comment()}\n"


def whole(s: Statement) -> int:
    """How many properties the first line must have: at its end the engine takes the element for complete.

    A control needs what it controls, a line that changes its number of phases loses its impedance, a code
    reduces its matrix, and a property by its place counts from the start of its line.
    """
    keys = [key.lower() for key, _ in s.properties]
    if s.kind.lower().endswith("control") or "kron" in keys:
        return len(keys)
    return max((k + 1 for k, key in enumerate(keys) if key in ("phases", "")), default=0)


def maybe(rng: Rng, share: float, *options: str) -> Callable[[], str]:
    """One of the options, or nothing."""
    return lambda: options[int(rng.integers(len(options)))] if rng.random() < share else ""


# Changes of style ----------------------------------------------------------------------------------


def upper(style: Style) -> None:
    style.case = str.upper


def lower(style: Style) -> None:
    style.case = str.lower


def mixed(style: Style) -> None:
    style.case = lambda text: "".join(c.upper() if style.rng.random() < 0.5 else c.lower() for c in text)


def white_space(style: Style) -> None:
    style.blank = lambda: " " + maybe(style.rng, 0.7, " ", "   ", "\t", " \t ")()
    style.indent = maybe(style.rng, 0.4, " ", "    ", "\t")


def tabs(style: Style) -> None:
    style.blank = lambda: "\t"
    style.comment = maybe(style.rng, 0.5, "\t", "   ")


def blank_lines(style: Style) -> None:
    style.between = maybe(style.rng, 0.6, "\n", "\n\n", "   \n", "\t\n")


NOTES = (" ! note", "   // note", " !kw=9", " // new load.no bus1=a", "\t!!! (", ' ! "', " // ~ kv=1")


def comments(style: Style) -> None:
    style.comment = maybe(style.rng, 0.5, *NOTES)


def comment_lines(style: Style) -> None:
    style.between = maybe(
        style.rng, 0.5, "! new load.no bus1=a\n", "// ~ kw=1e9\n", "!\n", "//\n", "!~ kv=3\n"
    )


def block_comments(style: Style) -> None:
    blocks = ("/* one line */\n", "/* several\nnew load.no bus1=a\n*/\n", "/*\n~ kw=9\n! x\n*/\n")
    style.between = maybe(style.rng, 0.3, *blocks)


def continuation(style: Style) -> None:
    style.continued = maybe(style.rng, 0.4, "\n~ ", "\n  ~ ", "\nMore ", "\nmore ", "\nM ", " ! so far\n~ ")


def quotes(style: Style) -> None:
    """Another kind of quotes for what has some, and some for what has none."""

    def quote(value: str) -> str:
        inner = value[1:-1] if value[0] in "\"'([{" else value
        if style.rng.random() < 0.4:
            return value
        left, right = ("()", "[]", "{}", '""', "''")[int(style.rng.integers(5))]
        return f"{left}{inner}{right}"

    style.quote = quote


def inner_separators(style: Style) -> None:
    """Commas or blanks within arrays; not in formulas, nor where rows are told apart by a bar."""

    def quote(value: str) -> str:
        if value[0] not in "\"'([{" or "|" in value or "/" in value or "*" in value:
            return value
        words = [word for word in re.split(r"[\s,]+", value[1:-1]) if word]
        return value[0] + (", ", ",", "  ", " , ")[int(style.rng.integers(4))].join(words) + value[-1]

    style.quote = quote


def equals(style: Style) -> None:
    style.equals = lambda: (" = ", "= ", " =", "=", "\t=\t")[int(style.rng.integers(5))]


def commas(style: Style) -> None:
    style.comma = maybe(style.rng, 0.6, ",")


def object_word(style: Style) -> None:
    style.head = lambda: ("new object=", "New ", "new  Object = ", "NEW ")[int(style.rng.integers(4))]


STYLES = (
    upper, lower, mixed, white_space, tabs, blank_lines, comments, comment_lines, block_comments,
    continuation, quotes, inner_separators, equals, commas, object_word,
)  # fmt: skip


# Changes of order and of files ----------------------------------------------------------------------

FREE = {
    "line": {"bus1", "bus2", "length"},
    "load": {"phases", "bus1", "conn", "model", "kv", "vminpu", "vmaxpu", "cvrwatts", "cvrvars", "zipv"},
    "capacitor": {"phases", "bus1", "conn", "kv"},
    "reactor": {"phases", "bus1", "bus2", "kv"},
    "transformer": {"xhl", "xht", "xlt", "buses", "kvs", "kvas", "conns", "bank", "leadlag", "%imag"},
    "regcontrol": {"vreg", "band", "ptratio", "ctprim", "r", "x", "delay"},
    "linecode": {"rmatrix", "xmatrix", "cmatrix", "normamps", "emergamps"},
    "circuit": {"basekv", "pu", "bus1", "angle"},
    "pvsystem": {"bus1", "kv", "conn", "irradiance", "pmpp", "kva"},
}
"""Properties that may stand in any order among themselves."""
ALIKE = ("load", "line", "capacitor", "linecode", "reactor")
"""Elements of which several in a row may stand in any order."""


def property_order(rng: Rng, statements: list[Statement]) -> list[Statement]:
    found = []
    for s in statements:
        free, properties = FREE.get(s.kind.lower(), set()), list(s.properties)
        keys = [key.lower() for key, _ in properties]
        # Behind `wdg` the words belong to one winding; one that comes twice is as given last.
        end = min((keys.index(word) for word in ("wdg", "cond") if word in keys), default=len(keys))
        by_place = keys.index("") if "" in keys else -1
        at = [k for k in range(by_place + 1, end) if keys[k] in free and keys.count(keys[k]) == 1]
        for k, other in zip(at, rng.permutation(at) if at else [], strict=True):
            properties[k] = s.properties[other]
        found.append(replace(s, properties=tuple(properties)))
    return found


def line_order(rng: Rng, statements: list[Statement]) -> list[Statement]:
    found: list[Statement] = []
    for kind, group in runs(statements):
        found += [group[k] for k in rng.permutation(len(group))] if kind in ALIKE else group
    return found


def runs(statements: list[Statement]) -> Iterator[tuple[str, list[Statement]]]:
    """Stretches of statements of one kind."""
    group: list[Statement] = []
    for s in statements:
        if group and group[0].kind.lower() != s.kind.lower():
            yield group[0].kind.lower(), group
            group = []
        group.append(s)
    yield group[0].kind.lower(), group


def bom(files: Files) -> Files:
    return {name: "\ufeff" + text for name, text in files.items()}


def windows_lines(files: Files) -> Files:
    return {name: text.replace("\n", "\r\n") for name, text in files.items()}


def no_last_line_end(files: Files) -> Files:
    return {name: text.rstrip("\n") for name, text in files.items()}


FILES = (bom, windows_lines, no_last_line_end)
ORDERS = (property_order, line_order)
OTHERS = ("abbreviate", "include")
KINDS = (*(c.__name__ for c in (*STYLES, *FILES, *ORDERS)), *OTHERS)


@dataclass
class Variant:
    """A circuit written otherwise: its files, the first of them the master, and what was done."""

    files: Files
    kinds: tuple[str, ...]
    result: Path = field(default_factory=Path)

    @property
    def reordered(self) -> bool:
        return "line_order" in self.kinds


def varied(files: Files, kinds: tuple[str, ...], rng: Rng, short: dict[str, list[str]]) -> Variant:
    """All changes at once; of two that touch the same thing, the later one holds."""
    style, texts = Style(rng), {}
    for change in STYLES:
        if change.__name__ in kinds:
            change(style)
    if "abbreviate" in kinds:
        style.short = lambda kind, key: abbreviated(short.get(kind, []), key)
    for number, (name, text) in enumerate(files.items()):
        statements = parsed(text)
        for order in ORDERS:
            if order.__name__ in kinds:
                statements = order(rng, statements)
        if "include" in kinds and number == 0:
            statements, parts = split(rng, statements)
            texts |= {part: style.text(inner) for part, inner in parts.items()}
        texts[name] = style.text(statements)
    for change_files in FILES:
        if change_files.__name__ in kinds:
            texts = change_files(texts)
    return Variant(texts, kinds)


def split(rng: Rng, statements: list[Statement]) -> tuple[list[Statement], dict[str, list[Statement]]]:
    """Two stretches of elements in files of their own, one of them in a folder."""
    at = [k for k, s in enumerate(statements) if s.kind and s.kind.lower() != "circuit"]
    first = next(k for k in at if all(j in at for j in range(k, k + 3)))
    last = next(k for k in range(first, len(statements)) if k + 1 not in at)
    cut = int(rng.integers(first + 1, last + 1))
    parts = {"part one.dss": statements[first:cut], "sub/two.dss": statements[cut : last + 1]}
    lines = [Statement('redirect "part one.dss"'), Statement(r"redirect sub\two.dss")]
    return statements[:first] + lines + statements[last + 1 :], parts


def abbreviated(names: list[str], key: str) -> str:
    """The shortest beginning of a property's name that the engine takes for it."""
    if key.lower() not in names:
        return key
    for n in range(1, len(key)):
        start = key[:n].lower()
        if start not in names and next(name for name in names if name.startswith(start)) == key.lower():
            return key[:n]
    return key


def variants(files: Files, short: dict[str, list[str]], rounds: int) -> list[Variant]:
    """Each change alone, then four at once."""
    found = []
    texts = {name: text for name, text in files.items() if name.lower().endswith(".dss")}
    for seed in range(rounds):
        rng = np.random.default_rng([seed, len(files), sum(map(len, files.values()))])
        kinds = (KINDS[seed],) if seed < len(KINDS) else tuple(rng.choice(KINDS, 4, replace=False).tolist())
        variant = varied(texts, kinds, rng, short)
        found.append(replace(variant, files={**files, **variant.files}))  # the master stays the first
    return found


# A part of a circuit ---------------------------------------------------------------------------------

M1_FILES = ("Sub_Xfmr.dss", "LineCodes.dss", "WireData.DSS", "LineGeom.DSS", "Lines.dss", "Capacitors.dss")
M1_FILES += ("Switches.dss", "loadshapes.dss", "Loads_Only.dss", "Xfmr_Only.dss", "2nd_ckt.dss")
M1_HEAD = "clear\nset defaultbasefrequency=60\n"
M1_TAIL = "set voltagebases=[66 12.47 0.480 0.416 0.208]\ncalcvoltagebases\nsolve\n"
M1_BUSES = 90


def m1_fragment(folder: Path) -> str:
    """What hangs on the first buses of M1, counted from its source, as one file."""
    head = [line for line in (folder / "Master_NoPV.dss").read_text().splitlines() if "=" in line]
    start = [s for s in parsed("\n".join(head)) if s.kind.lower() in ("circuit", "line")]
    texts = ((folder / name).read_text(encoding="latin-1") for name in M1_FILES)
    rest = [s for text in texts for s in parsed(text) if s.kind.lower() != "capcontrol"]
    reached = {"sourcebus"}
    while len(reached) < M1_BUSES:
        before = len(reached)
        for s in [*start, *rest]:
            ends = buses_of(s)
            if len(ends) > 1 and ends & reached and len(reached) < M1_BUSES:
                reached |= ends
        assert len(reached) > before
    kept = [s for s in rest if s.kind and buses_of(s) and buses_of(s) <= reached]
    for _ in range(3):  # codes and curves, the wires of geometries
        used = {value.lower() for s in kept for _, value in s.properties}
        kept = [s for s in rest if s.kind and (s.name.lower() in used or s in kept)]
    plain = Style(np.random.default_rng(0))
    return M1_HEAD + plain.text([s for s in start if buses_of(s) <= reached] + kept) + M1_TAIL


def buses_of(s: Statement) -> set[str]:
    """The buses that an element names, its load shape's being none."""
    words = [value for key, value in s.properties if key.lower() in ("bus", "bus1", "bus2", "buses")]
    return {
        w.split(".")[0].lower() for value in words for w in re.split(r"[\s,]+", value.strip("([{}])")) if w
    }
