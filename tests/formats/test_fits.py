"""What a folder of pictures does not tell, such as a crop in training, is tried on labelled pictures."""

import io
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from engine import datasets, face
from engine.datasets.trial import trial_pictures
from engine.device.image import decode
from engine.formats.detect import detect
from engine.formats.opening import Opening
from tests.datasets.test_archive import make_zip

SIDE = 32
LOOKED_AT = (slice(2, 8), slice(9, 12))  # rows and columns of the input that a class shows in


def made(way: tuple[str, bool], seed: int = 0, count: int = 240, size=(60, 120)) -> dict[str, bytes]:
    """Returns pictures of coarse noise by name, JPEGs that lie on their side; of class "light" are those that
    are light where the network looks, if they are fitted in this way.
    """
    rng, files = np.random.default_rng(seed), {}
    exif = Image.Exif()
    exif[0x0112] = 6
    while len(files) < count:
        coarse = rng.integers(0, 2, (size[0] // 4, size[1] // 4, 1)).astype(np.uint8) * 200 + 25
        pixels = coarse.repeat(4, axis=0).repeat(4, axis=1).repeat(3, axis=2)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=95, exif=exif)
        seen = decode(content.getvalue(), (SIDE, SIDE, 3), *way)[LOOKED_AT].mean()
        if abs(seen - 127) > 25:
            files[f"{'light' if seen > 127 else 'dark'}/{len(files):04}.jpg"] = content.getvalue()
    return files


def network() -> Opening:
    def predict(x: np.ndarray) -> np.ndarray:
        seen = x[:, :, *LOOKED_AT].mean(axis=(1, 2, 3))
        return np.stack([0.5 - seen, seen - 0.5], axis=1).astype(np.float32)

    return Opening(None, SIDE, SIDE, 3, 2, predict)


@pytest.mark.parametrize("way", [("stretch", True), ("crop", True), ("pad", True), ("crop", False)])
def test_the_way_that_pictures_are_fitted_is_found_and_told(way, tmp_path):
    source = make_zip(tmp_path / "mine.zip", made(way))
    with trial_pictures(str(source), tmp_path) as pictures:
        found = detect([network()], pictures, str(source))
    assert (found.preprocessing.fit, found.preprocessing.upright) == way and found.accuracy == 1.0
    told = next(sentence for sentence in found.evidence if "brought to 32x32" in sentence)
    assert ("upright by the EXIF note (100.0%" in told) == way[1]
    assert {"crop": "centre cut out", "pad": "black beside"}.get(way[0], "") in told.split(";")[0]


def test_pictures_of_the_network_s_own_size_are_not_fitted(tmp_path):
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    content = io.BytesIO()
    plain.save(content, "PNG")
    files = {f"{kind}/{i}.png": content.getvalue() for kind in ("a", "b") for i in range(20)}
    with trial_pictures(str(make_zip(tmp_path / "mine.zip", files)), tmp_path) as pictures:
        assert pictures.ways((32, 32, 3)) == [("stretch", True)]
        assert pictures.ways((16, 16, 3)) == [("stretch", True), ("crop_875", True)]
        assert len(pictures.ways((16, 32, 3))) == 4


def as_onnx(path) -> str:
    """Writes the network of this file as ONNX."""
    mask = np.zeros((2, 3, SIDE, SIDE), np.float32)
    mask[1][:, *LOOKED_AT] = 10 / (3 * 6 * 3)
    mask[0] = -mask[1]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w", "b"], ["seen"]),
            helper.make_node("Flatten", ["seen"], ["scores"]),
        ],
        "patch",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(mask, "w"),
            numpy_helper.from_array(np.array([5.0, -5.0], np.float32), "b"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return str(path)


@pytest.mark.slow
def test_a_run_measures_and_packages_with_the_fit_that_was_found(tmp_path):
    source = make_zip(tmp_path / "mine.zip", made(("crop", False)))
    run = face.optimize(
        as_onnx(tmp_path / "patch.onnx"),
        device="raspberry_pi_4",
        dataset=source,
        techniques=["fp16"],
        workspace=tmp_path / "home",
    )
    assert run.variant("baseline").accuracy == 1.0
    how = run.experiment.model.preprocessing
    assert (how.fit, how.upright) == ("crop", False)
    import zipfile

    with zipfile.ZipFile(face.package(run, "baseline", tmp_path / "package.zip")) as package:
        name = next(name for name in package.namelist() if name.endswith("metadata.json"))
        stored = json.loads(package.read(name))["preprocessing"]
    assert (stored["fit"], stored["upright"]) == ("crop", False)


def test_each_way_is_prepared_beside_the_others(tmp_path):
    source = make_zip(tmp_path / "mine.zip", made(("crop", True), count=40))
    folders = {
        datasets.prepare(source, tmp_path / "home", None, (SIDE, SIDE, 3), *way)
        for way in [("stretch", True), ("crop", True), ("crop", False)]
    }
    assert len(folders) == 3
