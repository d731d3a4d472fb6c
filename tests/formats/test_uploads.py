"""Real uploads, as people published them: each is classified rightly, and known data sets reach their known
accuracy.
"""

import os
from pathlib import Path

import pytest

from engine import datasets
from engine.errors import BadInput
from engine.formats.inspect import inspect_model

UPLOADS = Path(os.environ.get("EDGEWISE_UPLOADS", "/nonexistent"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not UPLOADS.is_dir(), reason="set EDGEWISE_UPLOADS to the folder of real uploads"),
]
DATA = bool(os.environ.get("EDGEWISE_DATA"))

# end of the file's name: format, framework, reach, image shape, classes
EXPECTED = {
    "Minimal_ML__mnist.h5": ("keras_h5", "keras", "all", (28, 28, 1), 10),
    "mnist_model.h5": ("keras_h5", "keras", "all", (28, 28, 1), 10),
    "pretrainedResnet.h5": ("keras_h5", "keras", "all", (32, 32, 3), 10),
    "vww_96.h5": ("keras_h5", "keras", "all", (96, 96, 3), 2),
    "gender_mini_XCEPTION.21-0.95.hdf5": ("keras_h5", "keras", "all", (64, 64, 1), 2),
    "mnist_model.keras": ("keras_v3", "keras", "all", (28, 28, 1), 10),
    "onnx_exporter__mnist.onnx": ("onnx", "pytorch", "all", (28, 28, 1), 10),
    "lenet.onnx": ("onnx", "pytorch", "all", (28, 28, 1), 10),
    "onnxjs-demo__mnist.onnx": ("onnx", "pytorch", "all", (28, 28, 1), 10),
    "Pruning-Pytorch__lenet.pth": ("torch_module", "pytorch", "all", (28, 28, 1), 10),
    "openvino__lenet.pth": ("state_dict", "pytorch", "all", (28, 28, 1), 10),
    "resnet20-12fca82f.th": ("state_dict", "pytorch", "all", (32, 32, 3), 10),
    "mnist_cnn.pt": ("state_dict", "pytorch", "all", (28, 28, 1), 10),
    "Detection-TFLite__mnist.tflite": ("tflite", "keras", "all", (28, 28, 1), 10),
    "mobilenet_v1_0.25_128_quant.tflite": ("tflite", "keras", "inspect", (128, 128, 3), 1001),
    "mobilenet_v2_1.0_224_quant.tflite": ("tflite", "keras", "inspect", (224, 224, 3), 1001),
    "to-TPU__mnist.tflite": ("tflite", "keras", "inspect", (28, 28, 1), 10),
    "mnist_edgetpu.tflite": ("tflite", "keras", "inspect", (28, 28, 1), 10),
    "pretrainedResnet_quant.tflite": ("tflite", "keras", "inspect", (32, 32, 3), 10),
    "vww_96_float.tflite": ("tflite", "keras", "all", (96, 96, 3), 2),
    "mobilenet_v2_quantized_1x3x224x224.tflite": ("tflite", "keras", "inspect", (224, 224, 3), 1000),
    "person_detect.tflite": ("tflite", "keras", "inspect", (96, 96, 1), 2),
}
# data set, and the accuracy that the publisher or the index of the uploads states, less half a point. It is
# measured on all test images: the standard error on 2,000 is as large as that half point
KNOWN = {
    "Minimal_ML__mnist.h5": ("mnist", 0.985),
    "mnist_model.keras": ("mnist", 0.985),
    "pretrainedResnet.h5": ("cifar10", 0.845),
    "onnx_exporter__mnist.onnx": ("mnist", 0.98),
    "lenet.onnx": ("mnist", 0.975),
    "onnxjs-demo__mnist.onnx": ("mnist", 0.982),
    "Pruning-Pytorch__lenet.pth": ("mnist", 0.98),
    "openvino__lenet.pth": ("mnist", 0.975),
    "mnist_cnn.pt": ("mnist", 0.98),
    "Detection-TFLite__mnist.tflite": ("mnist", 0.98),
    "resnet20-12fca82f.th": ("cifar10", 0.91),
}


def find(end: str) -> Path:
    return next(path for path in UPLOADS.rglob("*") if path.name.endswith(end))


@pytest.mark.parametrize("end", EXPECTED)
def test_classified_rightly(end, tmp_path):
    model = inspect_model(find(end), home=tmp_path)
    height, width, channels = EXPECTED[end][3]
    assert (model.format, model.framework, model.reach, len(model.classes)) == (
        *EXPECTED[end][:3],
        EXPECTED[end][4],
    )
    assert model.input_shape[2] == channels
    assert (
        model.input_shape == (height, width, channels) or model.architecture
    )  # bare weights don't tell the size


def test_the_deliberately_broken_one_is_refused():
    with pytest.raises(BadInput, match="fake-op-double"):
        inspect_model(find("model_invoking_error.tflite"))


def test_no_upload_is_left_out():
    files = [path for path in UPLOADS.rglob("*") if path.is_file() and path.name != "index.csv"]
    assert len(files) == len(EXPECTED) + 1


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    if not DATA:
        pytest.skip("set EDGEWISE_DATA to the folder of the real sets")
    folder = tmp_path_factory.mktemp("sets")
    for name in ("mnist", "cifar10"):
        datasets.prepare(name, folder)
    return folder


@pytest.mark.parametrize("end", KNOWN)
def test_known_accuracy_through_detected_preprocessing(end, home):
    import numpy as np

    from engine.device.image import fit
    from engine.device.preprocessing import preprocess

    dataset, least = KNOWN[end]
    model = inspect_model(find(end), dataset=dataset, home=home)
    assert model.evidence and not [w for w in model.warnings if "tried gives" in w or "permuted" in w]
    part = datasets.load(dataset, home, parts=("test",))["test"]
    predict = opened(model)
    answers = [
        predict(
            preprocess(
                np.stack([fit(image, model.input_shape) for image in part.images[i : i + 500]]),
                model.preprocessing.model_dump(),
            )
        ).argmax(axis=1)
        for i in range(0, len(part.labels), 500)
    ]
    assert (np.concatenate(answers) == part.labels).mean() >= least, model.evidence


def opened(model):
    """Returns what predicts with a model's own framework: preprocessed images to scores."""
    import numpy as np

    if model.framework == "pytorch":
        import torch

        from engine.formats import open_network

        network = open_network(model)

        def predict(x):
            with torch.inference_mode():
                return network(torch.from_numpy(x)).numpy()

        return predict
    from engine.formats import open_network

    keras_model = open_network(model)
    return lambda x: np.asarray(keras_model.predict(x, verbose=0))
