"""Classifies images with the model in this folder: python infer.py IMAGE [IMAGE ...] [--json] [--threads N]

Needs what requirements.txt names and nothing else. metadata.json says how images become the model's input.
"""

import argparse
import json
import os
import sys

import numpy as np
from PIL import Image, ImageOps
from preprocessing import preprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def read_metadata():
    """Returns what metadata.json says about this package."""
    with open(os.path.join(HERE, "metadata.json"), encoding="utf-8") as file:
        return json.load(file)


def read_image(path, spec):
    """Returns an image file as uint8 [height, width, channels], turned upright and resized as the model wants
    it.
    """
    image = ImageOps.exif_transpose(Image.open(path)).convert("L" if spec["color"] == "grey" else "RGB")
    if image.size != (spec["width"], spec["height"]):
        image = image.resize((spec["width"], spec["height"]), Image.BILINEAR)
    array = np.asarray(image, dtype=np.uint8)
    return array[:, :, None] if array.ndim == 2 else array


def model_path(metadata):
    """Returns the file that the runtime opens; an entropy-coded one is decoded beside it the first time."""
    stored = os.path.join(HERE, metadata["artifact"]["file"])
    if not stored.endswith(".ewz"):
        return stored
    from decoder import decode

    path = os.path.join(HERE, metadata["artifact"]["runs_as"])
    if not os.path.exists(path):
        with open(stored, "rb") as file:
            model = decode(file.read())
        with open(path + ".part", "wb") as file:
            file.write(model)
        os.replace(path + ".part", path)
    return path


class OnnxModel:
    """The model in ONNX Runtime."""

    def __init__(self, path, metadata, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if metadata["artifact"]["precision"] == "int4":
            # no INT4 kernels for convolutions: widen the weights once, at load
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.runtime = "onnxruntime"
        self.version = onnxruntime.__version__

    def __call__(self, x):
        if isinstance(self.input.shape[0], int) and self.input.shape[0] > 1:
            x = np.repeat(x, self.input.shape[0], axis=0)
        return self.session.run(None, {self.input.name: x})[0].reshape(len(x), -1)[:1]


class TfliteModel:
    """The model in LiteRT; 8-bit inputs and outputs are scaled as the file says."""

    def __init__(self, path, metadata, threads):
        try:
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter

            self.version = getattr(ai_edge_litert, "__version__", "")
        except ImportError:
            import tflite_runtime
            from tflite_runtime.interpreter import Interpreter

            self.version = getattr(tflite_runtime, "__version__", "")
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]
        self.runtime = "litert"

    def __call__(self, x):
        self.interpreter.set_tensor(self.input["index"], to_integer(x, self.input))
        self.interpreter.invoke()
        y = self.interpreter.get_tensor(self.output["index"])
        scale, zero = self.output["quantization"]
        return (y.astype(np.float32) - zero) * scale if scale else y.astype(np.float32)


def to_integer(x, details):
    """Returns the input in the type that a TFLite file wants."""
    scale, zero = details["quantization"]
    if details["dtype"] == np.float32 or not scale:
        return x.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    return np.clip(np.rint(x / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def load(metadata, threads):
    """Returns a callable that turns one preprocessed image [1, ...] into scores [1, classes]."""
    path = model_path(metadata)
    return (TfliteModel if path.endswith(".tflite") else OnnxModel)(path, metadata, threads)


def probabilities(scores, kind):
    """Returns scores as probabilities [classes]; logits go through a softmax."""
    if kind == "probabilities":
        return scores
    e = np.exp(scores - scores.max())
    return e / e.sum()


def main():
    """Classifies the images that are named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--json", action="store_true", help="print one JSON object an image")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    metadata = read_metadata()
    model = load(metadata, arguments.threads)
    for path in arguments.images:
        try:
            image = read_image(path, metadata["preprocessing"])
        except (OSError, ValueError) as error:
            sys.exit("%s can't be read as an image: %s" % (path, error))
        scores = model(preprocess(image[None], metadata["preprocessing"]))[0]
        shares = probabilities(scores, metadata["outputs"])
        best = int(np.argmax(scores))
        if arguments.json:
            print(
                json.dumps(
                    {
                        "image": path,
                        "class": metadata["classes"][best],
                        "index": best,
                        "probability": float(shares[best]),
                    }
                )
            )
        else:
            print("%s: %s (%.1f %%)" % (path, metadata["classes"][best], 100 * shares[best]))


if __name__ == "__main__":
    main()
