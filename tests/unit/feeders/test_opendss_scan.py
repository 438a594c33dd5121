"""What a master reaches, without the engine: references, letters of either case, silenced commands."""

from pathlib import Path

import pytest

from feeders.readers.errors import FileError, PathError
from feeders.readers.opendss.scan import collect


def scanned(folder: Path, files: dict[str, str]) -> dict[str, str]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    copy = collect(folder / "m.dss", folder)
    return {str(name): content.decode() for name, content in copy.files.items()}


def test_only_what_is_reached_is_copied(tmp_path: Path) -> None:
    found = scanned(tmp_path, {"m.dss": "Redirect lines.dss", "lines.dss": "new line.a", "other.dss": "x"})
    assert set(found) == {"m.dss", "lines.dss"}


@pytest.mark.parametrize(
    "command",
    [
        "redirect Sub/Lines.DSS",
        "REDIRECT sub/lines.dss",
        r"redirect sub\lines.dss",
        'redirect "sub/lines.dss"',
        "redirect (sub/lines.dss) ! with a note",
        "redir sub/lines.dss",
        "compile [sub/lines.dss]",
    ],
)
def test_spellings_of_a_reference(tmp_path: Path, command: str) -> None:
    found = scanned(tmp_path, {"m.dss": command, "sub/Lines.dss": "new line.a"})
    assert set(found) == {"m.dss", "sub/Lines.dss"}
    assert '"sub/Lines.dss"' in found["m.dss"]


def test_a_reference_is_seen_from_its_own_file(tmp_path: Path) -> None:
    files = {"m.dss": "redirect a/one.dss", "a/one.dss": "redirect two.dss", "a/two.dss": "redirect ../b.dss"}
    found = scanned(tmp_path, {**files, "b.dss": "new line.a"})
    assert set(found) == {"m.dss", "a/one.dss", "a/two.dss", "b.dss"}
    assert '"../b.dss"' in found["a/two.dss"]


@pytest.mark.parametrize(
    "text",
    [
        "new loadshape.s npts=2 csvfile=Data.csv",
        "new loadshape.s npts=2 mult=(file=data.csv)",
        "new loadshape.s npts=2 mult=[FILE = 'data.csv']",
        "buscoords data.csv",
    ],
)
def test_data_files_come_along(tmp_path: Path, text: str) -> None:
    assert "data.csv" in scanned(tmp_path, {"m.dss": text, "data.csv": "1\n2\n"})


@pytest.mark.parametrize(
    "text", ["! redirect gone.dss", "// redirect gone.dss", "/* x\nredirect gone.dss\n*/"]
)
def test_comments_reach_nothing(tmp_path: Path, text: str) -> None:
    assert set(scanned(tmp_path, {"m.dss": text + "\nnew line.a"})) == {"m.dss"}


@pytest.mark.parametrize(
    "command", ["show voltages", "Export powers x.csv", "plot circuit", "save", "dos rm x", "cd .."]
)
def test_commands_that_change_nothing_become_comments(tmp_path: Path, command: str) -> None:
    found = scanned(tmp_path, {"m.dss": f"new line.a\n{command}\n"})
    assert found["m.dss"].splitlines() == ["new line.a", f"! {command}", ""]


@pytest.mark.parametrize(
    "command", ["select line.a", "set mode=snap", "solve", "sample", "close line.a 1", "~ r1=2"]
)
def test_other_commands_stay(tmp_path: Path, command: str) -> None:
    assert scanned(tmp_path, {"m.dss": command})["m.dss"].strip() == command


def test_pictures_are_not_needed(tmp_path: Path) -> None:
    assert scanned(tmp_path, {"m.dss": "buscoords gone.csv"})["m.dss"].startswith("! ")


def test_datapath_is_left_out(tmp_path: Path) -> None:
    assert "datapath" not in scanned(tmp_path, {"m.dss": "set datapath=/tmp mode=snap"})["m.dss"]


@pytest.mark.parametrize(
    "text",
    [
        "redirect ../x.dss",
        "redirect /x.dss",
        r"redirect \\server\x.dss",
        "redirect d:/x.dss",
        "new loadshape.s csvfile=../../x.csv",
        "buscoords ../x.csv",
        "new generator.g shaftmodel=x.dll",
        "redirect sub/../../x.dss",
    ],
)
def test_nothing_leaves_the_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.dss").write_text("new line.a")
    with pytest.raises(PathError, match=r"m\.dss line 1"):
        scanned(tmp_path / "case", {"m.dss": text})


def test_one_file_may_be_read_twice(tmp_path: Path) -> None:
    assert len(scanned(tmp_path, {"m.dss": "redirect a.dss\nredirect a.dss", "a.dss": "new line.a"})) == 2


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.dss").mkdir()
    with pytest.raises(FileError, match=r"no file a\.dss"):
        scanned(tmp_path, {"m.dss": "redirect a.dss"})
