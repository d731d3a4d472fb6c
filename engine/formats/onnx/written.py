"""A torch network as an ONNX graph, and whether it can become one: found out when a file is opened, because
every technique ends there.
"""

import io
import warnings

import onnx
import torch
from torch import nn

OPSET = 18
MOST_PARAMETERS = 20_000_000  # of a network that is tried: the graph holds its weights once more


def as_onnx(network: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    """Returns the graph, its batch free, input `input`, output `logits`; raises what PyTorch's exporters do.

    The TorchScript-based exporter goes first: it takes 0.1 s where the torch.export-based one takes 2 to 15 s
    and both give the same operators for image classifiers; the latter is the fallback.
    """
    try:
        return _by_script(network, example)
    except Exception:  # any operator that this exporter lacks; the other one then says what is wrong
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["input"],
                output_names=["logits"],
                verbose=False,
            )
        assert program is not None  # only where a file is given
        return program.model_proto


def _by_script(network: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]  # taken, if not declared
            dynamo=False,
            opset_version=OPSET,
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            input_names=["input"],
            output_names=["logits"],
            verbose=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def why_not_written(network: nn.Module, example: torch.Tensor) -> str:
    """Returns why a network can't be written as ONNX, or "", as it does of one too large to be tried here.

    Only the exporter that takes a moment is asked.
    """
    if sum(parameter.numel() for parameter in network.parameters()) > MOST_PARAMETERS:
        return ""
    try:
        _by_script(network, example)
        return ""
    except Exception:  # the exporter's many ways to fail each mean the same here
        return "PyTorch can't write it as an ONNX graph"
