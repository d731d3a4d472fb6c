"""One way to decode a picture: the engine's data sets and a package's scripts see the same pixels."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import datasets
from engine.device.image import FITS, NoPicture, decode, fit

DEVICE_CODE = Path(__file__).resolve().parents[2] / "engine" / "device"
SIZE = (32, 32)
random = np.random.default_rng(0)
COLOURS = random.integers(0, 256, (*SIZE, 3), np.uint8).repeat(1, axis=0)
GREY = random.integers(0, 256, SIZE, np.uint8)
DEEP = random.integers(0, 65_536, SIZE).astype(np.uint16)


def written(image: Image.Image, format: str = "PNG", **how) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **how)
    return content.getvalue()


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return written(Image.fromarray(COLOURS[:20]), "JPEG", exif=exif)


PICTURES = {
    "1 bit.png": written(Image.fromarray(GREY).convert("1")),
    "8 bits.png": written(Image.fromarray(GREY)),
    "16 bits.png": written(Image.fromarray(DEEP)),
    "grey and alpha.png": written(Image.fromarray(GREY).convert("LA")),
    "palette.png": written(Image.fromarray(COLOURS).quantize(16)),
    "rgb.png": written(Image.fromarray(COLOURS)),
    "rgba.png": written(Image.fromarray(COLOURS).convert("RGBA")),
    "cmyk.jpg": written(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
    "lying.jpg": rotated(),
    "deep.tif": written(Image.fromarray(DEEP), "TIFF"),
    "packed.tif": written(Image.fromarray(COLOURS), "TIFF", compression="packbits"),
}
READ = """
import json, sys, numpy as np
from pathlib import Path
from types import SimpleNamespace
from classifier import Classifier
package, names = SimpleNamespace(spec=json.loads(sys.argv[1])), sys.argv[2:]
np.save("read.npy", np.stack([Classifier.read(package, Path(name).read_bytes()) for name in names]))
"""


def read_by_a_package(folder: Path, color: str, **way) -> np.ndarray:
    """Returns the pictures [n, height, width, channels] as a package's code reads them."""
    for script in ("classifier.py", "model.py", "image.py", "preprocessing.py"):
        shutil.copy(DEVICE_CODE / script, folder)
    for name, content in PICTURES.items():
        (folder / name).write_bytes(content)
    (folder / "read.py").write_text(READ)
    spec = json.dumps({"height": SIZE[0], "width": SIZE[1], "color": color, **way})
    command = [sys.executable, "read.py", spec, *PICTURES]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={"PATH": "/usr/bin"})
    return np.load(folder / "read.npy")


@pytest.mark.parametrize(
    "color, channels, way",
    [
        ("grey", 1, {}),
        ("rgb", 3, {}),
        ("rgb", 3, {"fit": "crop", "upright": False}),
        ("rgb", 3, {"fit": "crop_875", "upright": True}),
        ("grey", 1, {"fit": "pad", "upright": False}),
    ],
)
def test_data_sets_and_packages_read_the_same_pixels(tmp_path, color, channels, way):
    source = tmp_path / "mine.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, content in PICTURES.items():
            for kind in ("one", "two"):
                archive.writestr(f"{kind}/{name}", content)
    datasets.prepare(str(source), tmp_path / "home", image_shape=(*SIZE, channels), **way)
    parts = datasets.load(
        str(source),
        tmp_path / "home",
        ("train", "validation", "calibration", "test"),
        image_shape=(*SIZE, channels),
        **way,
    )
    images = [image.tobytes() for part in parts.values() for image in np.asarray(part.images)]
    (tmp_path / "package").mkdir()
    read = read_by_a_package(tmp_path / "package", color, **way)
    unseen = [name for name, image in zip(PICTURES, read, strict=True) if image.tobytes() not in images]
    assert unseen == []


@pytest.mark.parametrize("name", ["16 bits.png", "deep.tif"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, name):
    read = read_by_a_package(tmp_path, "grey")[list(PICTURES).index(name)]
    np.testing.assert_array_equal(read[..., 0], (DEEP >> 8).astype(np.uint8))


@pytest.mark.parametrize(
    "shape, to", [((8, 8, 1), (16, 12, 3)), ((8, 8, 3), (4, 4, 1)), ((8, 8, 3), (8, 8, 3))]
)
def test_arrays_are_fitted(shape, to):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    fitted = fit(image, to)
    assert fitted.shape == to and fitted.dtype == np.uint8
    if shape == to:
        np.testing.assert_array_equal(fitted, image)


WIDE = random.integers(0, 256, (60, 120, 3), np.uint8)


def resized(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """Returns a part of the wide picture (left, top, right, bottom) at a size (width, height)."""
    return np.asarray(Image.fromarray(WIDE).resize(size, Image.BILINEAR, box=box))


@pytest.mark.parametrize(
    "how, expected",
    [
        ("stretch", resized((0, 0, 120, 60), (32, 32))),
        ("crop", resized((30, 0, 90, 60), (32, 32))),
        ("crop_875", resized((33.75, 3.75, 86.25, 56.25), (32, 32))),
        ("pad", np.pad(resized((0, 0, 120, 60), (32, 16)), ((8, 8), (0, 0), (0, 0)))),
    ],
)
def test_each_fit_is_what_its_name_says(how, expected):
    np.testing.assert_array_equal(decode(written(Image.fromarray(WIDE)), (32, 32, 3), how), expected)


def test_a_crop_to_another_shape_than_a_square():
    cropped = decode(written(Image.fromarray(WIDE)), (20, 30, 3), "crop")
    np.testing.assert_array_equal(cropped, resized((15, 0, 105, 60), (30, 20)))


def test_the_exif_note_is_followed_only_where_the_picture_shall_be_upright():
    lying = rotated()
    assert decode(lying, (32, 20, 3)).shape == (32, 20, 3)
    stored = decode(lying, (20, 32, 3), upright=False)
    np.testing.assert_array_equal(np.rot90(decode(lying, (32, 20, 3)), 1), stored)


@pytest.mark.parametrize("size", [(1, 4_000), (4_000, 1), (1, 1), (3, 2)])
@pytest.mark.parametrize("how", ["crop", "crop_875", "pad"])
def test_a_picture_of_odd_proportions_is_fitted_or_refused_in_a_sentence(size, how):
    content = written(Image.new("RGB", size, (200, 10, 10)))
    try:
        assert decode(content, (32, 32, 3), how).shape == (32, 32, 3)
    except NoPicture as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize("how", FITS)
@pytest.mark.parametrize("size", [SIZE, COLOURS.shape[:2]])
def test_a_frame_of_a_camera_is_fitted_as_a_file_is(how, size):
    shape = (*size, 3)
    expected = decode(written(Image.fromarray(COLOURS), "PNG"), shape, how)
    np.testing.assert_array_equal(fit(COLOURS, shape, how), expected)
