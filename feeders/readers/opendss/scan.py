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

_COMMAND_WORDS = """
new edit more m ~ select save show solve enable disable plot reset compile set dump open close redirect help
quit next panel sample clear about calcvoltagebases setkvbase buildy get init export fileedit voltages
currents powers seqvoltages seqcurrents seqpowers losses phaselosses cktlosses allocateloads formedit totals
capacity classes userclasses zsc zsc10 zscrefresh ysc puvoltages varvalues varnames buscoords makebuslist
makeposseq reduce interpolate alignfile top rotate vdiff summary distribute di_plot comparecases
yearlycurves cd visualize closedi doscmd estimate reconductor addbusmarker uuids setloadandgenkv
cvrtloadshapes nodediff rephase setbusxy updatestorage obfuscate latlongcoords batchedit pstcalc variable
reprocessbuses clearbusmarkers relcalc var cleanup finishtimestep nodelist connect disconnect remove
calcincmatrix refine_buslevels calclaplacian exportoverloads exportvviolations giscoords clearall comhelp
newactor wait solveall abort clone
"""
COMMANDS = _COMMAND_WORDS.split()
"""The engine's commands in its order: of a word that only begins some, it takes the first."""
REDIRECTS = ("redirect", "compile")
PICTURES = ("buscoords", "latlongcoords", "giscoords")
"""Commands that read a file which the circuit does without."""
SILENCED = [
    "about",
    "alignfile",
    "cd",
    "cvrtloadshapes",
    "doscmd",
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
    "distribute",
    "rephase",
    "di_plot",
    "comparecases",
    "yearlycurves",
]
"""Commands that show, write or run something, and change nothing in the circuit."""


def _starts(names: str) -> str:
    """A pattern for names and what they may be shortened to, given as csv|file: at least csv."""
    found = []
    for name in names.split():
        head, _, tail = name.partition("|")
        found.append(head + "".join(f"(?:{c}" for c in tail) + ")?" * len(tail))
    return "|".join(found)


DATA_KEYS = _starts("cs|vfile fi|le pq|csvfile pmult_|csv qmult_|csv sn|gfile db|lfile pqsn|gfile pqdb|lfile")
CODE_KEYS = _starts("us|ermodel sh|aftmodel dy|nadll dy|ndll capu|sermodel userc|ontrol")

_WORD = r"(\"[^\"]*\"|'[^']*'|\([^)]*\)|\[[^\]]*\]|\{[^}]*\}|[^\s,!)\]}]+)"
_COMMAND = re.compile(r"^[\s,=]*[\"'(\[{]?\s*([A-Za-z_~]+)[\"')\]}]?[\s,=]*(.*)$", re.DOTALL)
_QUOTED = {'"': '"', "'": "'", "(": ")", "[": "]", "{": "}"}
_ELSEWHERE = re.compile(
    r"""(?ix) (?:^|[\s=,|"'(\[{])
    ( (?:[a-z]:)? [\\/] [^\s\\/"')\]},] [^\s"',)\]}]*      # from the root
    | [^\s=,"'(\[{]* \.\.[\\/] [^\s"',)\]}]*               # upwards
    | [^\s=,"'(\[{]* \.(?:so|dll|dylib)\b [^\s"',)\]}]*     # machine code
    | u\s*=\s*["'(\[{]?[^\s"',)\]}]*[./\\][^\s"',)\]}]*  # of a generator, shortened
    )"""
)
"""What no word of a line may be, whatever its key."""
_DATA = re.compile(rf"(?i)\b({DATA_KEYS})\s*=\s*{_WORD}")
_CODE = re.compile(rf"(?i)\b({CODE_KEYS})\s*=\s*{_WORD}")
_DATAPATH = re.compile(rf"(?i)\b({_starts('datap|ath edit|or')})\s*=\s*{_WORD}")


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
    bare = _bare(line)
    match = _COMMAND.match(bare)
    if match is None:
        return bare
    verb, rest = _command(match[1].lower()), match[2].strip()
    if verb in SILENCED:
        copy.silenced.append(f"{place}: {bare.strip()}")
        return "! " + bare
    if verb in (*REDIRECTS, *PICTURES):
        word = re.match(_WORD, rest)
        if word is None:
            return "! " + bare
        picture = verb in PICTURES
        found = _find(word[1], path, folder, place, required=not picture)
        if found is None:
            copy.silenced.append(f"{place}: {bare.strip()} (no such file)")
            return "! " + bare
        if picture:
            _data(found, folder, copy)
        else:
            _text(found, folder, copy, (*above, path))
        return f'{verb} "{_relative(found, path)}"'
    return _references(bare, place, path, folder, copy)


def _bare(line: str) -> str:
    """A line without its comment; signs of one between quotes are none."""
    if "!" not in line and "//" not in line:
        return line
    until = ""
    for k, c in enumerate(line):
        if until:
            until = "" if c == until else until
        elif c == "!" or line.startswith("//", k):
            return line[:k]
        else:
            until = _QUOTED.get(c, "")
    return line


def _command(word: str) -> str:
    """The command that the engine takes a word for."""
    return word if word in COMMANDS else next((c for c in COMMANDS if c.startswith(word)), word)


def _references(bare: str, place: str, path: Path, folder: Path, copy: Copy) -> str:
    """A line with properties: data files copied, foreign code and other files refused."""
    if code := _CODE.search(bare):
        raise PathError(f"{place}: {code[0]}: models in machine code are not run")
    if _DATAPATH.search(bare):
        copy.silenced.append(f"{place}: {bare.strip()}")
        return _DATAPATH.sub("", bare)
    if foreign := _ELSEWHERE.search(_DATA.sub("", bare)):
        raise PathError(f"{place}: {foreign[1]}: give a path inside the case folder; machine code is not run")

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
