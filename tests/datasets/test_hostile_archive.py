"""Archives made to harm are refused with one sentence, fast, and leave nothing behind; each has a harmless
twin.
"""

import os
import stat
import struct
import zipfile

import pytest

from engine import datasets
from engine.errors import BadInput
from tests.datasets.test_archive import make_folder, make_zip, picture, plain_files


def add(path, name, content=b"x", **attributes):
    """Add one entry with odd attributes to a harmless archive."""
    info = zipfile.ZipInfo("placeholder.png")
    info.filename = name
    info.compress_type = zipfile.ZIP_DEFLATED
    for key, value in attributes.items():
        setattr(info, key, value)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, content)


def patch(path, old, new):
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


def set_flag(path, flag):
    """Set a general-purpose flag in the last entry of the table of contents."""
    content = bytearray(path.read_bytes())
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<H", content, at + 8, flag)
    path.write_bytes(content)


def set_size(path, offset, value):
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rfind(b"PK\x01\x02") + offset, value)
    path.write_bytes(content)


def doubled(path):
    with pytest.warns(UserWarning, match="Duplicate"):
        add(path, "red/000.png")


def huge_directory(path):
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rfind(b"PK\x05\x06") + 12, 0x7FFFFFFF)
    path.write_bytes(content)


BOMB = b"\0" * 150_000_000

HOSTILE = {
    "climbs": (lambda path: add(path, "../../red/evil.png"), "leads elsewhere"),
    "climbs inside": (lambda path: add(path, "red/../../evil.png"), "leads elsewhere"),
    "absolute": (lambda path: add(path, "/tmp/evil.png"), "leads elsewhere"),
    "drive": (lambda path: add(path, "C:/evil.png"), "leads elsewhere"),
    "backslash": (lambda path: add(path, "red\\..\\evil.png"), "leads elsewhere"),
    "control characters": (lambda path: add(path, "red/\x1b[2Jevil.png"), "unusable"),
    "right-to-left name": (lambda path: add(path, "red/\u202egnp.png"), "unusable"),
    "endless name": (lambda path: add(path, "red/" + "a" * 5_000 + ".png"), "unusable"),
    "link": (
        lambda path: add(path, "red/a.png", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16),
        "a link",
    ),
    "encrypted": (lambda path: set_flag(path, 1), "encrypted"),
    "twice": (doubled, "twice"),
    "rare method": (
        lambda path: add(path, "red/x.png", b"x" * 99, compress_type=zipfile.ZIP_LZMA),
        "rare method",
    ),
    "bomb": (lambda path: add(path, "red/bomb.png", BOMB), "far more than its size explains"),
    "promises terabytes": (lambda path: set_size(path, 24, 0xFFFFFFF0), "far more than its size explains"),
    "overlapping": (lambda path: set_size(path, 20, 500_000), "far more than its size explains"),
    "huge table of contents": (huge_directory, "far too many files"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-30]), "no readable ZIP"),
    "no archive": (lambda path: path.write_bytes(b"MZ" + b"\0" * 5_000), "no readable ZIP"),
    "empty file": (lambda path: path.write_bytes(b""), "no readable ZIP"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("harm", HOSTILE)
def test_a_hostile_archive_is_refused(harm, tmp_path):
    path, home = make_zip(tmp_path / "mine.zip", plain_files()), tmp_path / "home"
    spoil, message = HOSTILE[harm]
    spoil(path)
    with pytest.raises(BadInput, match=message) as told:
        datasets.prepare(path, home)
    assert "\n" not in str(told.value) and str(told.value).isprintable()
    assert not any(home.glob("datasets/*")) and {p.name for p in tmp_path.iterdir()} <= {"mine.zip", "home"}


def test_the_harmless_twin_is_accepted(tmp_path):
    path = make_zip(tmp_path / "mine.zip", plain_files())
    add(path, "red/ordinary.png", picture())
    datasets.prepare(path, tmp_path / "home")
    assert datasets.describe(path, tmp_path / "home")["skipped_count"] == 0


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.datasets.entries.MOST_FILES", 59)
    for source in (make_zip(tmp_path / "a.zip", plain_files()), make_folder(tmp_path / "b", plain_files())):
        with pytest.raises(BadInput, match="more than 59 files"):
            datasets.prepare(source, tmp_path / "home")


def test_a_damaged_entry_is_skipped(tmp_path):
    path = make_zip(tmp_path / "mine.zip", plain_files() | {"red/damaged.png": b"DAMAGED-HERE" * 3})
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("red/damaged.png").header_offset + 30 + len("red/damaged.png")
    path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF, content[at + 1] ^ 0xFF]) + content[at + 2 :])
    datasets.prepare(path, tmp_path / "home")
    skipped = datasets.describe(path, tmp_path / "home")["skipped"]
    assert [entry["name"] for entry in skipped] == [
        "red/damaged.png"
    ] and "damaged in the archive" in skipped[0]["why"]


def test_an_entry_beyond_the_size_cap_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.datasets.entries.MOST_FILE_BYTES", 2_000)
    files = plain_files() | {"red/large.png": picture() + os.urandom(3_000)}
    for source in (make_zip(tmp_path / "a.zip", files), make_folder(tmp_path / "b", files)):
        datasets.prepare(source, tmp_path / "home")
        assert [e["name"] for e in datasets.describe(source, tmp_path / "home")["skipped"]] == [
            "red/large.png"
        ]


@pytest.mark.parametrize("target", ["/etc", "/etc/passwd", "red/000.png"])
def test_links_in_a_folder_are_refused(target, tmp_path):
    source = make_folder(tmp_path / "mine", plain_files())
    (source / "red" / "linked.png").symlink_to(target if target.startswith("/") else source / target)
    with pytest.raises(BadInput, match="a link"):
        datasets.prepare(source, tmp_path / "home")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "name, says",
    [
        ("pipe", "'pipe' is neither a file nor a folder: give a ZIP or a folder"),
        ("/dev/zero", "'zero' is neither a file nor a folder: give a ZIP or a folder"),
        ("a" * 5_000, "There is no data set .*: choose from"),
        ("nul\0byte", "There is no data set .*: choose from"),
    ],
)
def test_what_is_no_file_is_refused_at_once(name, says, tmp_path):
    if name == "pipe":
        os.mkfifo(tmp_path / name)
    with pytest.raises(BadInput, match=says):
        datasets.prepare(tmp_path / name, tmp_path / "home")


@pytest.mark.timeout(30)
def test_a_pipe_among_the_pictures_does_not_block(tmp_path):
    source = make_folder(tmp_path / "mine", plain_files())
    os.mkfifo(source / "red" / "pipe.png")
    datasets.prepare(source, tmp_path / "home")
    assert datasets.describe(source, tmp_path / "home")["skipped_count"] == 1


def test_class_names_are_data(tmp_path):
    names = ["=cmd()", "<script>alert(1)</script>x", "{{7*7}}", "пёс", "con"]
    files = {f"{name.replace('/', '_')}/{i}.png": picture() for name in names for i in range(10)}
    path = make_zip(tmp_path / "mine.zip", files)
    datasets.prepare(path, tmp_path / "home")
    assert datasets.describe(path, tmp_path / "home")["classes"] == sorted(
        name.replace("/", "_") for name in names
    )
