"""Files that are recognised and not taken: what each is, why it is refused, and the code that exports what is
taken.
"""

from dataclasses import dataclass

from engine.errors import BadInput

STATE_DICT = "torch.save(model.state_dict(), 'model.pt')"
ONNX = "torch.onnx.export(model.eval(), torch.rand(1, 3, 32, 32), 'model.onnx', external_data=False)"
KERAS = "model.save('model.keras')"


@dataclass(frozen=True)
class Kind:
    """A kind of file: its title as in "This is …", why it is refused, and the code to run instead ("" for
    none).
    """

    title: str
    why: str
    snippet: str = ""


KINDS = {
    "pt2": Kind(
        "a torch.export program (.pt2)",
        "loading one can run code that is hidden in it; export the network to ONNX",
        "torch.onnx.export(torch.export.load('model.pt2').module(), (example,), 'model.onnx',"
        " external_data=False)",
    ),
    "gguf": Kind(
        "a GGUF file",
        "it holds a language model, and Edgewise fits image classifiers; export one to ONNX",
        ONNX,
    ),
    "ggml": Kind(
        "a GGML file",
        "it holds a language or speech model, and Edgewise fits image classifiers; export one to ONNX",
        ONNX,
    ),
    "coreml": Kind(
        "a Core ML model",
        "it runs on Apple's devices only; export it from the framework it was trained in",
        ONNX,
    ),
    "joblib": Kind(
        "a joblib or scikit-learn pickle",
        "loading one can run any code, and it holds no neural network "
        "that an edge runtime takes; export an image classifier",
        ONNX,
    ),
    "pickle": Kind(
        "a Python pickle", "loading one can run any code; save the weights themselves", STATE_DICT
    ),
    "tensorrt": Kind(
        "a TensorRT engine",
        "it is compiled for one GPU and can't be changed; upload what it was made from",
        ONNX,
    ),
    "torch_tar": Kind(
        "a file of PyTorch before 0.1.11",
        "that layout is no longer read; load it in an old PyTorch and save it anew",
        STATE_DICT,
    ),
    "torch_archive": Kind(
        "a TorchServe archive (.mar)",
        "it holds code beside the weights; upload the weights in it",
        STATE_DICT,
    ),
    "openvino": Kind(
        "an OpenVINO model", "it is already compiled for OpenVINO; upload what it was made from", ONNX
    ),
    "caffe": Kind("a Caffe model", "nothing here reads it; convert it to ONNX", ONNX),
    "paddle": Kind(
        "a PaddlePaddle model",
        "nothing here reads it; convert it to ONNX",
        "paddle2onnx --model_dir folder --model_filename model.pdmodel --params_filename model.pdiparams "
        "--save_file model.onnx",
    ),
    "ncnn": Kind("an ncnn model", "it is already compiled for ncnn; upload what it was made from", ONNX),
    "mnn": Kind("an MNN model", "it is already compiled for MNN; upload what it was made from", ONNX),
    "ort": Kind(
        "a model in ONNX Runtime's own format (.ort)",
        "it is already optimized and can't be changed; upload the .onnx file that it was made from",
        ONNX,
    ),
    "frozen_graph": Kind(
        "a frozen graph of TensorFlow 1",
        "nothing here trains or changes it; convert it to TFLite",
        "tf.compat.v1.lite.TFLiteConverter.from_frozen_graph('model.pb', ['input'], ['output']).convert()",
    ),
    "saved_model_pb": Kind(
        "the graph of a SavedModel without its weights",
        "the weights lie beside it in the folder; upload the whole folder as a ZIP",
        "shutil.make_archive('model', 'zip', 'folder')",
    ),
    "tf_checkpoint": Kind(
        "a part of a TensorFlow checkpoint", "it holds weights without a network; save the whole model", KERAS
    ),
    "keras_weights": Kind(
        "Keras weights without a network",
        "nothing tells which network they belong to; save the whole model",
        KERAS,
    ),
    "keras_json": Kind(
        "a Keras configuration without weights", "the weights are missing; save the whole model", KERAS
    ),
    "hdf5": Kind(
        "an HDF5 file that holds no Keras model", "no network is described in it; save the whole model", KERAS
    ),
    "flax": Kind(
        "a Flax or MessagePack checkpoint",
        "it holds weights without a network; export the model",
        "tf.saved_model.save(jax2tf_module, 'folder'); shutil.make_archive('model', 'zip', 'folder')",
    ),
    "npz": Kind(
        "a NumPy archive", "arrays alone don't tell which network they belong to; save the model", STATE_DICT
    ),
    "npy": Kind("a NumPy array", "an array alone is no model; save the model", STATE_DICT),
    "matlab": Kind(
        "a MATLAB file",
        "nothing here reads it; export the network to ONNX",
        "exportONNXNetwork(net, 'model.onnx')",
    ),
    "images_zip": Kind(
        "a ZIP of images", "it looks like a data set; add it as the data set, not as the model"
    ),
    "zip": Kind(
        "a ZIP archive without a model that is known",
        "nothing in it was recognised; upload the model file itself, or a SavedModel folder as a ZIP",
        "shutil.make_archive('model', 'zip', 'folder')",
    ),
    "office": Kind(
        "an office document or an app package", "it is no model; export the model to a file", ONNX
    ),
    "gzip": Kind("a gzip-compressed file", "unpack it and upload the model file inside", "gunzip model.gz"),
    "tar": Kind("a tar archive", "unpack it and upload the model file inside", "tar -xf model.tar"),
    "archive": Kind("a compressed archive", "unpack it and upload the model file inside"),
    "image": Kind(
        "an image", "it is no model; export the model to a file, and try images out after a run", ONNX
    ),
    "pdf": Kind("a PDF document", "it is no model; export the model to a file", ONNX),
    "program": Kind(
        "an executable program", "it is no model, and nothing here runs it; export the model to a file", ONNX
    ),
    "html": Kind(
        "a web page", "the download probably gave its page in place of the model; download the raw file"
    ),
    "lfs": Kind(
        "a pointer of Git LFS",
        "the model itself was not fetched; fetch it and upload it again",
        "git lfs pull",
    ),
    "python": Kind(
        "Python source code", "a model is taken as a file of weights; run the code and save the model", ONNX
    ),
    "json": Kind("a JSON file", "it is no model; export the model to a file", ONNX),
    "text": Kind("a text file", "it is no model; export the model to a file", ONNX),
    "empty": Kind("an empty file", "the copy or download was cut off; copy it again"),
    "unknown": Kind(
        "a file of an unknown kind",
        "it is none of PyTorch, safetensors, ONNX, Keras, SavedModel and TFLite; "
        "export the model as one of them",
        ONNX,
    ),
}


def refusal(kind: str) -> BadInput:
    """Returns the error that refuses a kind of file, with the code to run instead."""
    found = KINDS.get(kind, KINDS["unknown"])
    return BadInput(
        f"This is {found.title}: {found.why}"
        + (f"; the code for that: `{found.snippet}`." if found.snippet else ".")
    )
