"""ZIPs and folders of class folders: read whole, split rightly, skipping what is broken."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import datasets
from engine.errors import BadInput

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def picture(colour=(9, 9, 9), size=(20, 10), format="PNG", **options):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, format, **options)
    return file.getvalue()


def plain_files(per_class=20, prefix=""):
    return {
        f"{prefix}{name}/{i:03}.png": picture(colour)
        for name, colour in COLOURS.items()
        for i in range(per_class)
    }


def make_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.fixture(params=[make_zip, make_folder], ids=["zip", "folder"])
def make(request, tmp_path):
    """Make a data set of given files, as a ZIP or as a folder."""
    return lambda files: request.param(tmp_path / "mine.zip", files)


def prepared(source, home, **options):
    datasets.prepare(source, home, **options)
    shape = {key: options[key] for key in ("image_shape",) if key in options}
    return datasets.describe(source, home, **shape), datasets.load(source, home, datasets.PARTS, **shape)


def test_class_folders_become_parts(make, tmp_path):
    meta, parts = prepared(make(plain_files()), tmp_path / "home")
    assert meta["classes"] == ["blue", "green", "red"] and not meta["own_test_part"]
    assert {name: len(part.labels) for name, part in parts.items()} == {
        "train": 36,
        "validation": 6,
        "calibration": 6,
        "test": 12,
    }
    for name, part in parts.items():
        assert part.images.shape[1:] == (64, 64, 3) and np.ptp(meta["class_counts"][name]) == 0
        for image, label in zip(part.images, part.labels, strict=True):
            assert tuple(image[5, 5]) == COLOURS[meta["classes"][label]]


def test_the_shape_is_a_choice(make, tmp_path):
    source = make(plain_files())
    _, parts = prepared(source, tmp_path / "home", image_shape=(8, 12, 1))
    assert parts["train"].images.shape == (36, 8, 12, 1)
    with pytest.raises(BadInput, match="not prepared"):
        datasets.load(source, tmp_path / "home")
    with pytest.raises(BadInput, match="channels 1 or 3"):
        datasets.prepare(source, tmp_path / "home", image_shape=(8, 8, 2))


def test_train_and_test_folders_are_kept(make, tmp_path):
    files = plain_files(20, "pictures/train/") | plain_files(3, "pictures/test/")
    meta, parts = prepared(make(files), tmp_path / "home")
    assert {name: len(part.labels) for name, part in parts.items()} == {
        "train": 49,
        "validation": 6,
        "calibration": 5,
        "test": 9,
    }
    assert meta["classes"] == ["blue", "green", "red"] and meta["own_test_part"]


def test_train_and_validation_folders_without_test(make, tmp_path):
    meta, parts = prepared(make(plain_files(20, "Train/") | plain_files(3, "val/")), tmp_path / "home")
    assert len(parts["test"].labels) == 9 and meta["own_test_part"]


def test_train_validation_and_test_folders(make, tmp_path):
    files = plain_files(20, "train/") | plain_files(4, "valid/") | plain_files(3, "test/")
    _, parts = prepared(make(files), tmp_path / "home")
    assert {name: len(part.labels) for name, part in parts.items()} == {
        "train": 54,
        "validation": 12,
        "calibration": 6,
        "test": 9,
    }


def renamed(path, files, rename, flags=0):
    """Makes a ZIP whose stored names are what `rename` makes of them, letter for letter."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = rename(name)
            archive.writestr(info, content)
    return path


def test_backslashes_between_folders(tmp_path):
    source = renamed(tmp_path / "mine.zip", plain_files(prefix="pets/"), lambda name: name.replace("/", "\\"))
    assert b"pets\\blue\\000.png" in source.read_bytes()
    meta, parts = prepared(source, tmp_path / "home")
    assert meta["classes"] == list(COLOURS) and sum(len(part.labels) for part in parts.values()) == 60


def test_names_in_utf_8_that_do_not_say_so(tmp_path):
    source = make_zip(
        tmp_path / "mine.zip", plain_files() | {f"éléphant/{i}.png": picture() for i in range(9)}
    )
    said = source.read_bytes()
    silent = said.replace(b"\x14\x00\x00\x08", b"\x14\x00\x00\x00")  # the flag that the name is UTF-8
    assert said != silent
    source.write_bytes(silent)
    assert prepared(source, tmp_path / "home")[0]["classes"] == sorted([*COLOURS, "éléphant"])


def test_classes_called_train_and_test_are_classes(make, tmp_path):
    files = {f"{name}/{i}.png": picture() for name in ("train", "bus") for i in range(10)}
    assert prepared(make(files), tmp_path / "home")[0]["classes"] == ["bus", "train"]


def test_broken_pictures_are_skipped_and_listed(make, tmp_path):
    broken = {
        "red/cut.png": picture(size=(90, 90))[:60],
        "red/text.jpg": b"no picture at all",
        "red/empty.png": b"",
        "red/big.png": picture(size=(9_000, 6_000)),
        "red/sheet.tga": picture(format="TGA"),
        "red/disguised.png": picture(format="TGA"),
        "notes.txt": b"hello",
    }
    unmentioned = {"__MACOSX/red/._a.png": b"x", "red/.DS_Store": b"x", "blue/Thumbs.db": b"x"}
    meta, parts = prepared(make(plain_files() | broken | unmentioned), tmp_path / "home")
    assert {entry["name"] for entry in meta["skipped"]} == set(broken) and meta["skipped_count"] == len(
        broken
    )
    whys = {entry["name"]: entry["why"] for entry in meta["skipped"]}
    assert "million pixels" in whys["red/big.png"] and "damaged" in whys["red/cut.png"]
    assert "none of" in whys["red/disguised.png"] and whys["notes.txt"] == "is no picture"
    assert sum(len(part.labels) for part in parts.values()) == 60
    assert sum(map(sum, meta["class_counts"].values())) == 60


def test_pictures_are_turned_upright(make, tmp_path):
    lying = Image.new("RGB", (40, 20), "white")
    lying.paste("black", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    lying.save(file, "JPEG", exif=exif, quality=95)
    files = plain_files() | {f"upright/{i}.jpg": file.getvalue() for i in range(10)}
    meta, parts = prepared(make(files), tmp_path / "home", image_shape=(16, 16, 1))
    upright = parts["train"].images[parts["train"].labels == meta["classes"].index("upright")]
    assert upright[:, :6].max() < 30 and upright[:, 10:].min() > 220


TIFFS = {"raw": {}, "lzw": {"compression": "tiff_lzw"}, "packed": {"compression": "packbits"}}


def test_many_kinds_of_pictures(make, tmp_path):
    sixteen_bits = io.BytesIO()
    Image.fromarray(np.full((10, 10), 40_000, np.uint16)).save(sixteen_bits, "PNG")
    kinds = {
        f"kinds/{format}.{format}": picture((200, 200, 200), format=format)
        for format in ("png", "bmp", "gif", "webp")
    }
    kinds |= {
        "kinds/p.ppm": picture((200, 200, 200), format="PPM"),
        "kinds/J.JPG": picture((200, 200, 200), format="JPEG"),
    }
    kinds |= {
        f"kinds/{name}.tif": picture((200, 200, 200), format="TIFF", **how) for name, how in TIFFS.items()
    }
    kinds["kinds/deep.png"] = sixteen_bits.getvalue()
    meta, parts = prepared(make(plain_files() | kinds), tmp_path / "home")
    assert meta["skipped_count"] == 0
    values = np.concatenate([part.images[part.labels == 2] for part in parts.values()])
    assert values.shape[0] == 7 + len(TIFFS) and values.min() > 150 and values.max() < 210


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no class folder with pictures"),
        ({"readme.txt": b"x"}, "no class folder with pictures"),
        ({f"only/{i}.png": picture() for i in range(9)}, "one class folder with pictures"),
        (plain_files() | {f"few/{i}.png": picture() for i in range(4)}, "'few' .* has 4 pictures"),
        (plain_files() | {f"few/{i}.png": b"broken" for i in range(20)}, "'few' .* has 0 usable pictures"),
        (
            plain_files() | {f"loose{i}.png": picture() for i in range(6)},
            "'loose0.png' is in no class folder, nor are 5 others",
        ),
        ({f"{c}/{i}.png": b"x" for c in range(1_001) for i in range(1)}, "at most 1,000"),
    ],
)
def test_what_is_no_data_set_is_refused(files, message, make, tmp_path):
    source = make(files)
    source.exists() or source.mkdir()
    with pytest.raises(BadInput, match=message):
        datasets.prepare(source, tmp_path / "home")
    assert not any((tmp_path / "home").glob("datasets/*"))


def test_a_changed_source_is_read_anew(make, tmp_path):
    source = make(plain_files())
    first = datasets.prepare(source, tmp_path / "home")
    assert datasets.prepare(source, tmp_path / "home") == first
    make(plain_files(25))
    assert datasets.prepare(source, tmp_path / "home") != first


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read from /proc, which is Linux's"
)
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    source = make_zip(tmp_path / "many.zip", plain_files(700))
    code = (
        "import re, sys; from pathlib import Path; from engine import datasets\n"
        "datasets.prepare(sys.argv[1], sys.argv[2], image_shape=(128, 128, 3))\n"
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "home")]
    peak_kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    written = sum(path.stat().st_size for path in (tmp_path / "home").rglob("*.npy"))
    assert written > 100e6 and peak_kilobytes < 80_000


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    code = (
        "import resource, signal, sys; from engine import datasets; from engine.errors import EdgewiseError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: datasets.prepare('digits', sys.argv[1])\n"
        "except EdgewiseError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("The data set can't be written") and not any(tmp_path.glob("datasets/*"))


TILES = Path(os.environ.get("EDGEWISE_DATA", "")) / "magnetic_tile_ok_defect.zip"


@pytest.mark.skipif(not TILES.is_file(), reason="the magnetic-tile ZIP is needed: it is not in EDGEWISE_DATA")
def test_magnetic_tiles(tmp_path):
    meta, _parts = prepared(TILES, tmp_path)
    assert meta["classes"] == ["defect", "ok"] and meta["skipped_count"] == 0
    assert np.sum(list(meta["class_counts"].values()), axis=0).tolist() == [392, 300]
