"""One way to decode a picture: the engine's data sets and a package's infer.py see the same pixels."""

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
from engine.device.image import fit

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
import json, sys, numpy as np, infer
spec, names = json.loads(sys.argv[1]), sys.argv[2:]
np.save("read.npy", np.stack([infer.read_image(name, spec) for name in names]))
"""


def read_by_infer(folder: Path, color: str) -> np.ndarray:
    """Returns the pictures [n, height, width, channels] as a package's code reads them."""
    for script in ("infer.py", "model.py", "image.py", "preprocessing.py"):
        shutil.copy(DEVICE_CODE / script, folder)
    for name, content in PICTURES.items():
        (folder / name).write_bytes(content)
    (folder / "read.py").write_text(READ)
    spec = json.dumps({"height": SIZE[0], "width": SIZE[1], "color": color})
    command = [sys.executable, "read.py", spec, *PICTURES]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={"PATH": "/usr/bin"})
    return np.load(folder / "read.npy")


@pytest.mark.parametrize("color, channels", [("grey", 1), ("rgb", 3)])
def test_data_sets_and_packages_read_the_same_pixels(tmp_path, color, channels):
    source = tmp_path / "mine.zip"
    with zipfile.ZipFile(source, "w") as archive:
        for name, content in PICTURES.items():
            for kind in ("one", "two"):
                archive.writestr(f"{kind}/{name}", content)
    datasets.prepare(str(source), tmp_path / "home", image_shape=(*SIZE, channels))
    parts = datasets.load(
        str(source),
        tmp_path / "home",
        ("train", "validation", "calibration", "test"),
        image_shape=(*SIZE, channels),
    )
    images = [image.tobytes() for part in parts.values() for image in np.asarray(part.images)]
    (tmp_path / "package").mkdir()
    read = read_by_infer(tmp_path / "package", color)
    unseen = [name for name, image in zip(PICTURES, read, strict=True) if image.tobytes() not in images]
    assert unseen == []


@pytest.mark.parametrize("name", ["16 bits.png", "deep.tif"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, name):
    read = read_by_infer(tmp_path, "grey")[list(PICTURES).index(name)]
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
