"""Which files a master pulls in: found in the text, kept inside the case folder, copied without side effects.

The engine never sees the original files. It gets a copy of the text that is reached from the master,
in which every reference is spelt as it is on disk and commands that only show, export or save
something are comments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from feeders.readers.errors import FileError, PathError

MAX_BYTES = 256 * 2**20
MAX_FILES = 2000
MAX_DEPTH = 64
BINARY_SHARE = 0.01
"""Largest share of zero bytes in a text; some published circuits have a few."""

REDIRECTS = ("redirect", "compile")
PICTURES = ("buscoords", "latloncoords")
"""Commands that read a file which the circuit does without."""
SILENCED = [
    "about",
    "alignfile",
    "cd",
    "cvrtloadshapes",
    "dos",
    "dump",
    "estimate",
    "export",
    "fileedit",
    "formedit",
    "help",
    "panel",
    "plot",
    "save",
    "show",
    "visualize",
    "vdiff",
    "exportoverloads",
    "exportvviolations",
    "zscrefresh",
    "comhelp",
    "uuids",
    "guids",
]
"""Commands that show, write or run something, and change nothing in the circuit."""
DATA_KEYS = "csvfile|file|pqcsvfile|pmult_csv|qmult_csv|sngfile|dblfile|pqsngfile|pqdblfile"
CODE_KEYS = "usermodel|shaftmodel|dynadll|dyndll|capusermodel|usercontrol"

_WORD = r"(\"[^\"]*\"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|[^\s,!)\]}]+)"
_COMMAND = re.compile(r"^\s*([A-Za-z~]+)\s*(?:=\s*)?(.*)$", re.DOTALL)
_DATA = re.compile(rf"(?i)\b({DATA_KEYS})\s*=\s*{_WORD}")
_CODE = re.compile(rf"(?i)\b({CODE_KEYS})\s*=\s*{_WORD}")
_DATAPATH = re.compile(rf"(?i)\b(datapath|editor)\s*=\s*{_WORD}")


@dataclass
class Copy:
    """The files reached: relative name -> what the engine gets to read; and what was left out."""

    files: dict[Path, bytes] = field(default_factory=dict)
    silenced: list[str] = field(default_factory=list)
    bytes_read: int = 0


def collect(master: Path, folder: Path) -> Copy:
    """Everything that a master reads, made harmless.

    Raises  PathError  a reference leaves the folder; FileError  a file is missing, includes itself, is too
            large or not text
    """
    copy = Copy()
    _text(master.resolve(), folder.resolve(), copy, ())
    return copy


def _text(path: Path, folder: Path, copy: Copy, above: tuple[Path, ...]) -> None:
    """Read one script and what it includes."""
    name = _inside(path, folder, "")
    if path in above:
        chain = " -> ".join(p.name for p in (*above[above.index(path) :], path))
        raise FileError(f"{name} includes itself: {chain}")
    if len(above) > MAX_DEPTH:
        raise FileError(f"{name}: files include each other more than {MAX_DEPTH} deep")
    if name in copy.files:
        return
    raw = _bytes(path, name, copy)
    if raw.count(b"\0") > BINARY_SHARE * len(raw):
        raise FileError(f"{name} is not a text file")
    lines = re.split(r"\r\n|\r|\n", _decoded(raw))
    copy.files[name] = b""
    outside_comment, out = True, []
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if bare.startswith("/*") or not outside_comment:
            outside_comment = "*/" in line
            continue
        out.append(_line(line, f"{name} line {number}", path, folder, copy, above))
    copy.files[name] = ("\n".join(out) + "\n").encode("utf-8")


def _decoded(raw: bytes) -> str:
    """UTF-8 if it is, else Latin-1, which everything is; the engine gets UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _bytes(path: Path, name: Path, copy: Copy) -> bytes:
    size = path.stat().st_size
    copy.bytes_read += size
    if copy.bytes_read > MAX_BYTES or len(copy.files) > MAX_FILES:
        limit = f"{MAX_BYTES // 2**20} MiB or {MAX_FILES} files"
        raise FileError(f"{name}: more than {limit} in this circuit")
    return path.read_bytes()


def _line(line: str, place: str, path: Path, folder: Path, copy: Copy, above: tuple[Path, ...]) -> str:
    """One line as the engine may read it."""
    bare = line.split("!")[0].split("//")[0]
    match = _COMMAND.match(bare)
    if match is None:
        return line
    verb, rest = match[1].lower(), match[2].strip()
    if verb in SILENCED or any(len(verb) >= 3 and command.startswith(verb) for command in SILENCED):
        copy.silenced.append(f"{place}: {bare.strip()}")
        return "! " + bare
    if len(verb) >= 3 and any(command.startswith(verb) for command in (*REDIRECTS, *PICTURES)):
        word = re.match(_WORD, rest)
        if word is None:
            return line
        picture = any(command.startswith(verb) for command in PICTURES)
        found = _find(word[1], path, folder, place, required=not picture)
        if found is None:
            copy.silenced.append(f"{place}: {bare.strip()} (no such file)")
            return "! " + bare
        if picture:
            _data(found, folder, copy)
        else:
            _text(found, folder, copy, (*above, path))
        return f'{verb} "{_relative(found, path)}"'
    return _references(line, bare, place, path, folder, copy)


def _references(line: str, bare: str, place: str, path: Path, folder: Path, copy: Copy) -> str:
    """A line with properties: data files copied, foreign code refused."""
    if code := _CODE.search(bare):
        raise PathError(f"{place}: {code[0]}: models in machine code are not run")
    if _DATAPATH.search(bare):
        copy.silenced.append(f"{place}: {bare.strip()}")
        return _DATAPATH.sub("", bare)
    if not _DATA.search(bare):
        return line

    def replace(match: re.Match[str]) -> str:
        found = _find(match[2], path, folder, place, required=True)
        assert found is not None
        _data(found, folder, copy)
        return f'{match[1]}="{_relative(found, path)}"'

    return _DATA.sub(replace, bare)


def _data(path: Path, folder: Path, copy: Copy) -> None:
    name = _inside(path, folder, "")
    if name not in copy.files:
        copy.files[name] = _bytes(path, name, copy)


def _relative(found: Path, path: Path) -> Path:
    """Spelling of a file as seen from the folder of another one."""
    up: list[str] = []
    for base in (path.parent, *path.parent.parents):
        if found.is_relative_to(base):
            return Path(*up, found.relative_to(base))
        up.append("..")
    raise PathError(f"{found.name} has no folder in common with {path.name}")


def _find(word: str, path: Path, folder: Path, place: str, *, required: bool) -> Path | None:
    """The file that a reference means: beside the script, or in the case folder, in any case of letters."""
    name = word.strip("\"'()[]{} ").replace("\\", "/")
    if not name or Path(name).is_absolute() or re.match(r"[A-Za-z]:", name):
        raise PathError(f"{place}: {name or 'an empty name'}: give a path inside the case folder")
    for base in (path.parent, folder):
        found = _any_case(base, name)
        if found is not None and found.is_file():
            _inside(found, folder, place)
            return found.resolve()
        _inside((base / name).resolve(), folder, place)
    if required:
        raise FileError(f"{place}: there is no file {name} in {folder.name}")
    return None


def _any_case(base: Path, name: str) -> Path | None:
    current = base
    for part in Path(name).parts:
        exact = current / part
        if part == ".." or exact.exists():
            current = exact
            continue
        if not current.is_dir():
            return None
        same = [p for p in current.iterdir() if p.name.lower() == part.lower()]
        if not same:
            return None
        current = same[0]
    return current


def _inside(path: Path, folder: Path, place: str) -> Path:
    """The path relative to the folder."""
    resolved = path.resolve()
    if not resolved.is_relative_to(folder):
        where = f"{place}: " if place else ""
        raise PathError(f"{where}{path.name} lies outside the case folder {folder.name}")
    return resolved.relative_to(folder)
