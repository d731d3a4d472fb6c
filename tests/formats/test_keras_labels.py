"""A ZIP of a Keras model and its labels, as Teachable Machine gives it, and what such a ZIP must not hold."""

import io
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from engine import formats
from engine.errors import BadInput
from engine.formats.class_order import by_labels
from engine.formats.keras.labelled import labels
from tests.hostile import bad_keras, goods

IMAGES = np.random.default_rng(0).random((3, 12, 12, 3), np.float32)


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    """(model, its .h5 as bytes) of three classes."""
    inputs = keras.Input((12, 12, 3))
    scores = layers.Dense(3, activation="softmax")(
        layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    )
    model = keras.Model(inputs, scores)
    path = tmp_path_factory.mktemp("labelled") / "keras_model.h5"
    model.save(path)
    return model, path.read_bytes()


def packed(path, **entries: bytes | str):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", ".").replace("SLASH", "/"), data)
    return path


def opened(path):
    assert formats.recognise(path) == "keras_zip"
    formats.check(path, "keras_zip")
    return formats.openings(path, "keras_zip", None, None)[0]


def test_labels_are_the_classes_in_the_order_of_the_outputs(model_bytes, tmp_path):
    model, data = model_bytes
    path = packed(tmp_path / "m.zip", keras_model__h5=data, labels__txt="0 Dog\n1 Cat\n2 e\u0301lan\n")
    opening = opened(path)
    assert opening.facts["classes"] == ["Dog", "Cat", "e\u0301lan"]
    assert np.allclose(opening.predict(IMAGES), model(IMAGES), atol=1e-5)
    ordered = by_labels(opening, ["Élan", "cat", "dog"])
    assert ordered.facts["classes"] == ["dog", "cat", "Élan"]
    assert np.allclose(ordered.predict(IMAGES), np.asarray(model(IMAGES))[:, [2, 1, 0]], atol=1e-5)
    assert "Dog, Cat, e\u0301lan" in ordered.facts["evidence"][-1]


def test_labels_of_other_classes_are_said_and_left_out(model_bytes, tmp_path):
    path = packed(tmp_path / "m.zip", keras_model__h5=model_bytes[1], labels__txt="Class 1\nClass 2\nClass 3")
    other = by_labels(opened(path), ["a", "b", "c"])
    assert "classes" not in other.facts and "Class 1" in other.facts["warnings"][-1]


@pytest.mark.parametrize("text", ["", "0 a\n1 b\n", "x\nx\nx\n", "0 a\n" * 3])
def test_labels_that_do_not_name_the_classes_are_not_used(model_bytes, tmp_path, text):
    path = packed(tmp_path / "m.zip", outSLASHkeras_model__h5=model_bytes[1], outSLASHlabels__txt=text)
    assert "classes" not in opened(path).facts or len(set(opened(path).facts["classes"])) == 3


def test_a_hostile_model_in_the_zip_is_refused_as_outside(tmp_path):
    odd = goods.h5(bad_keras.config(bad_keras.LAMBDA))
    with pytest.raises(BadInput, match="Lambda"):
        opened(packed(tmp_path / "m.zip", keras_model__h5=odd, labels__txt="a"))


@pytest.mark.parametrize(
    ("data", "text", "says"),
    [
        (b"MZ no model", b"a", "no Keras model"),
        (None, b"\xff\xfe\x00\xd8", "no text"),
        (None, b"a" * 300_000, ""),
    ],
)
def test_odd_entries_are_refused(model_bytes, tmp_path, data, text, says):
    with pytest.raises(BadInput, match=says):
        opened(packed(tmp_path / "m.zip", keras_model__h5=data or model_bytes[1], labels__txt=text))


def test_other_zips_are_not_taken_for_it(model_bytes, tmp_path):
    data = model_bytes[1]
    two = packed(tmp_path / "two.zip", a__h5=data, b__h5=data)
    code = packed(tmp_path / "code.zip", a__h5=data, train__py="import os")
    assert {formats.recognise(two), formats.recognise(code)} == {"zip"}
    names = io.BytesIO()
    with zipfile.ZipFile(names, "w") as archive:
        archive.writestr("keras_model.h5", data)
        archive.writestr("__MACOSX/._keras_model.h5", b"x")
    (tmp_path / "mac.zip").write_bytes(names.getvalue())
    assert formats.recognise(tmp_path / "mac.zip") == "keras_zip" and labels(tmp_path / "mac.zip") == []
