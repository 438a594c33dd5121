"""Broken and hostile circuits: each gets its own error, naming the element or the file, and soon."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from feeders.checks import FeederError
from feeders.readers.errors import (
    EngineError,
    FileError,
    LimitError,
    MissingEngineError,
    PathError,
    ReadError,
    UnsupportedError,
)
from feeders.readers.opendss import read

pytest.importorskip("dss", reason="needs dss_python: make setup")

LONGEST_S = 10.0
BASE = """clear
new circuit.c basekv=12.47 bus1=a
new linecode.k nphases=3 r1=.3 x1=.6 r0=.7 x0=1.9
new line.l1 bus1=a bus2=b linecode=k length=1
new line.l2 bus1=b bus2=d linecode=k length=2
new load.x bus1=d kv=12.47 kw=300 kvar=90
new capacitor.q bus1=d kv=12.47 kvar=50
set voltagebases=[12.47]
calcvoltagebases
"""

Files = dict[str, str]


def after(line: str) -> Files:
    """The base circuit with one more line before its voltage bases."""
    return {"m.dss": BASE.replace("set voltagebases", f"{line}\nset voltagebases")}


def instead(old: str, new: str) -> Files:
    assert old in BASE
    return {"m.dss": BASE.replace(old, new)}


CASES: dict[str, tuple[Files, type[Exception], str]] = {
    "missing include": (
        after("redirect nothing.dss"),
        FileError,
        r"m\.dss line \d+: there is no file nothing",
    ),
    "missing data": (after("new loadshape.s npts=2 csvfile=none.csv"), FileError, "no file none.csv"),
    "missing data in parentheses": (after("new loadshape.s npts=2 mult=(file=no.txt)"), FileError, "no.txt"),
    "includes itself": (after("redirect m.dss"), FileError, "m.dss includes itself"),
    "cyclic": (
        {**after("redirect one.dss"), "one.dss": "redirect two.dss\n", "two.dss": "redirect one.dss\n"},
        FileError,
        r"one.dss includes itself: one\.dss -> two\.dss -> one\.dss",
    ),
    "traversal": (after("redirect ../../etc/passwd"), PathError, "passwd lies outside the case folder"),
    "traversal, windows": (after(r"redirect ..\other\x.dss"), PathError, "outside the case folder"),
    "absolute": (after("redirect /etc/passwd"), PathError, "inside the case folder"),
    "absolute, windows": (after(r"redirect C:\x.dss"), PathError, "inside the case folder"),
    "absolute data": (after("new loadshape.s npts=2 csvfile=/etc/passwd"), PathError, "inside the case"),
    "absolute, shortened": (after("c /etc/passwd"), PathError, "passwd: give a path inside the case"),
    "absolute, quoted": (after('"compile" /etc/passwd'), PathError, "passwd: give a path inside the case"),
    "absolute, commas": (after("compile,,/etc/passwd"), PathError, "passwd: give a path inside the case"),
    "absolute, variable": (after("var @f=/etc/passwd"), PathError, "passwd: give a path inside the case"),
    "absolute, anywhere": (after("set recorder=/tmp/x"), PathError, "/tmp/x: give a path inside the case"),
    "upwards, anywhere": (after("set recorder=../x"), PathError, r"\.\./x: give a path inside the case"),
    "behind a quoted sign": (
        after('new loadshape.s npts=2 action="!" csvfile=/etc/passwd'),
        PathError,
        "passwd: give a path inside",
    ),
    "shortened data": (after("new loadshape.s npts=2 csvf=/etc/passwd"), PathError, "inside the case"),
    "shortened data, missing": (after("new loadshape.s npts=2 csvf=no.csv"), FileError, "no file no.csv"),
    "shortened machine code": (after("new generator.g bus1=d kw=1 userm=evil"), PathError, "machine code"),
    "machine code by one letter": (after("new generator.g bus1=d kw=1 u=./evil"), PathError, "machine code"),
    "machine code": (after("new generator.g bus1=d kw=1 usermodel=evil.so"), PathError, "machine code"),
    "binary": ({"m.dss": "\0\1" * 4000}, FileError, "not a text file"),
    "empty": ({"m.dss": ""}, EngineError, "defines no circuit"),
    "nonsense": ({"m.dss": "once upon a time\n"}, EngineError, "m.dss"),
    "unknown code": (instead("linecode=k length=1", "linecode=zz length=1"), EngineError, "zz"),
    "unknown class": (after("new linie.l9 bus1=a bus2=e"), EngineError, "linie"),
    "unknown property": (after("new line.l9 bus1=a bus2=e lenght=3"), EngineError, "lenght"),
    "zero impedance": (after("new line.l9 bus1=b bus2=e r1=0 x1=0 r0=0 x0=0"), ReadError, "l9"),
    "zero length": (instead("length=2", "length=0"), ReadError, "l2"),
    "not a number": (after("new line.l9 bus1=b bus2=e r1=nan"), EngineError, "l9"),
    "infinite": (after("new load.y bus1=b kv=12.47 kw=inf"), EngineError, r"load\.y"),
    "name twice": (after("new line.l1 bus1=b bus2=e length=1"), EngineError, "l1"),
    "dead bus": (after("new load.far bus1=nowhere kv=12.47 kw=1"), FeederError, "nowhere"),
    "island": (after("new line.l9 bus1=e bus2=f\nnew load.y bus1=f kv=12.47 kw=1"), FeederError, "no path"),
    "zero kv": (
        after("new transformer.t buses=(b e) kvs=(0 .48) kvas=(9 9)"),
        EngineError,
        r"transformer\.t",
    ),
    "no solution": (instead("kw=300", "kw=3e6 vlowpu=0 vminpu=.001"), EngineError, "no solution"),
    "current source": (after("new isource.i bus1=b amps=3"), UnsupportedError, "1 Isource"),
    "two circuits": (after("new circuit.other"), EngineError, "Duplicate"),
    "crash": (
        after("new capacitor.bad bus1=b conn=delta phases=3 cmatrix=[1 | 0 1 | 0 0 1]"),
        LimitError,
        "engine died",
    ),
}


def write(folder: Path, files: Files) -> Path:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="latin-1")
    return folder / "m.dss"


@pytest.mark.parametrize("name", CASES)
def test_typed_error(tmp_path: Path, name: str) -> None:
    files, error, message = CASES[name]
    master, start = write(tmp_path, files), monotonic()
    with pytest.raises(error, match=message):
        read(master)
    assert monotonic() - start < LONGEST_S


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feeders.readers.opendss.scan.MAX_BYTES", 1000)
    files = {**after("redirect more.dss"), "more.dss": "! nothing\n" * 200}
    with pytest.raises(FileError, match=r"more\.dss: more than"):
        read(write(tmp_path, files))


def test_a_chain_of_files_too_deep(tmp_path: Path) -> None:
    chain = {f"f{k}.dss": f"redirect f{k + 1}.dss\n" for k in range(80)}
    with pytest.raises(FileError, match="more than 64 deep"):
        read(write(tmp_path, {**after("redirect f0.dss"), **chain}))


def test_time_and_memory_are_bounded(tmp_path: Path) -> None:
    master = write(tmp_path, {"m.dss": BASE})
    with pytest.raises(LimitError, match=r"m\.dss: no result after 0\.01 s"):
        read(master, timeout_s=0.01)
    with pytest.raises(LimitError):
        read(master, memory_bytes=60 * 2**20)


def test_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.dss").write_text("new line.l9 bus1=b bus2=e\n")
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "in.dss").symlink_to(tmp_path / "secret.dss")
    with pytest.raises(PathError, match=r"in\.dss lies outside"):
        read(write(tmp_path / "case", after("redirect in.dss")))


def test_no_such_master(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no file m\.dss"):
        read(tmp_path / "m.dss")


HARMLESS = {
    "upper case": lambda text: text.upper(),
    "blanks": lambda text: text.replace(" ", "   ").replace("=", " = "),
    "continued": lambda text: text.replace(" linecode=", "\n~ linecode="),
    "comments": lambda text: "".join(f"{line} ! note\n// note\n" for line in text.splitlines()),
    "block comment": lambda text: text.replace("new line.l2", "/* not\nthis\n*/\nnew line.l2"),
    "commands that only show": lambda text: (
        text + "solve\nshow voltages\nexport powers\nplot circuit\ndos ls\n"
    ),
    "quotes": lambda text: text.replace("new load.x bus1=d", 'new "load.x" bus1="d"'),
    "windows lines": lambda text: text.replace("\n", "\r\n"),
    "non-ascii comment": lambda text: text.replace("new load", "! Umspannwerk M\u00fcnchen\nnew load"),
    "solved before": lambda text: text + "solve\n",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_changes_read_alike(tmp_path: Path, name: str) -> None:
    change: Callable[[str], str] = HARMLESS[name]
    plain = read(write(tmp_path, {"m.dss": BASE})).feeder
    other = read(write(tmp_path, {"m.dss": change(BASE)})).feeder
    assert plain.node_names.tolist() == other.node_names.tolist()
    assert set(plain.tables) == set(other.tables)
    for table in plain.tables:
        for col in table.columns():
            a, b = (getattr(f[table], col.name) for f in (plain, other))
            assert a.tolist() == b.tolist() or (a != a).all(), f"{table.__name__}.{col.name}"


def test_names_outside_ascii(tmp_path: Path) -> None:
    found = read(write(tmp_path, after("new line.stra\u00dfe bus1=b bus2=\u00e9 linecode=k length=1")))
    assert len(found.feeder.buses) == 4


def test_the_case_folder_stays_as_it_was(tmp_path: Path) -> None:
    master = write(tmp_path, {"m.dss": BASE + "solve\nex voltages here.csv\nsa circuit dir=/tmp/there\n"})
    found = read(master)
    assert [p.name for p in tmp_path.iterdir()] == ["m.dss"]
    assert any("ex voltages" in issue.name for issue in found.audit)


def mutated(text: str, seed: int) -> str:
    """A text with one to four accidents: lines lost, doubled, swapped; words lost, changed, misspelt."""
    rng = np.random.default_rng(seed)
    lines = text.splitlines()
    wrong = (
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "\u00e4",
        "",
        "[",
        "wye",
        "1 2 3",
        "%",
        "999999999",
        "'",
        "a.b.c",
    )
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(lines)))
        words = lines[at].split(" ")
        word = int(rng.integers(len(words)))
        match int(rng.integers(7)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                other = int(rng.integers(len(lines)))
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                del words[word]
                lines[at] = " ".join(words)
            case 4 | 5:
                key, equals, _ = words[word].partition("=")
                words[word] = key + equals + wrong[int(rng.integers(len(wrong)))]
                lines[at] = " ".join(words)
            case 6 if lines[at]:
                place = int(rng.integers(len(lines[at])))
                lines[at] = lines[at][:place] + chr(int(rng.integers(33, 127))) + lines[at][place + 1 :]
    return "\n".join(lines) + "\n"


def survives(folder: Path, master: Path, seed: int) -> None:
    """A mutated circuit reads, or is refused by an error of ours, in good time."""
    text, start = master.read_text(encoding="latin-1"), monotonic()
    broken = folder / f"m{seed}.dss"
    broken.write_text(mutated(text, seed), encoding="utf-8")
    with contextlib.suppress(ReadError, FeederError):
        read(broken, timeout_s=LONGEST_S)
    assert monotonic() - start < LONGEST_S


@pytest.mark.parametrize("seed", range(12))
def test_mutations(feeder_folder: Callable[[str], Path], seed: int) -> None:
    folder = feeder_folder("13Bus")
    survives(folder, folder / "IEEE13Nodeckt.dss", seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(8))
@pytest.mark.parametrize("circuit", ["13Bus/IEEE13Nodeckt.dss", "34Bus/ieee34Mod1.dss", "37Bus/ieee37.dss"])
def test_many_mutations(feeder_folder: Callable[[str], Path], circuit: str, block: int) -> None:
    folder = feeder_folder(circuit.split("/")[0])
    for seed in range(100 + 10 * block, 110 + 10 * block):
        survives(folder, folder / circuit.split("/")[1], seed)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ({"missing": "No module named 'dss'"}, MissingEngineError, "make setup"),
        ({"unloadable": "cannot allocate memory"}, LimitError, "does not load"),
        ({"error": "183 of m.dss"}, EngineError, r"m\.dss: 183"),
        (None, LimitError, "engine died"),
    ],
)
def test_what_the_other_process_may_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, str] | None,
    error: type[Exception],
    message: str,
) -> None:
    child = tmp_path / "child.py"
    text = (
        "raise SystemExit(3)" if answer is None else f"open(sys.argv[2], 'w').write({json.dumps(answer)!r})"
    )
    child.write_text(f"import sys\n{text}\n")
    monkeypatch.setattr("feeders.readers.opendss.run.CHILD", child)
    with pytest.raises(error, match=message):
        read(write(tmp_path, {"m.dss": BASE}))


def test_fault_levels_that_do_not_fit_are_a_warning(tmp_path: Path) -> None:
    """mvasc3 alone leaves mvasc1 at the engine's 2100 MVA: a negative zero-sequence resistance."""
    master = write(tmp_path, instead("bus1=a\n", "bus1=a mvasc3=200\n"))
    assert any("negative series resistance" in str(issue) for issue in read(master).audit)
