"""What a TFLite file does other than its name says, read from the file: float operators in an INT8 graph,
INT4 weights without a kernel."""

from engine.backends.tflite.file import FLOAT, INT4, INT8, TFLite

BORDER = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")


def remarks(file: TFLite) -> list[str]:
    """Returns sentences for the user; none where the file is all that it seems."""
    return [text for text in (_float_operators(file), _widened_int4(file)) if text]


def _float_operators(file: TFLite) -> str:
    outputs = [(file.op(o), file.tensor(int(o.outputs[0])).type) for o in file.graph.operators]
    if not any(kind == INT8 for op, kind in outputs if op not in BORDER):
        return ""  # no INT8 graph
    floats = sorted({op for op, kind in outputs if kind == FLOAT and op not in BORDER})
    return f"These operators stay in float inside the INT8 graph: {', '.join(floats)}." if floats else ""


def _widened_int4(file: TFLite) -> str:
    widened = {
        int(o.outputs[0])
        for o in file.graph.operators
        if file.op(o) == "DEQUANTIZE" and file.tensor(int(o.inputs[0])).type == INT4
    }
    readers = [file.op(o) for o in file.graph.operators if len(o.inputs) > 1 and int(o.inputs[1]) in widened]
    if not readers:
        return ""
    which = "depthwise" if set(readers) == {"DEPTHWISE_CONV_2D"} else "depthwise and grouped"
    return (
        f"LiteRT has no INT4 kernel for {which} convolutions: the weights of {len(readers)} of them are INT4"
        " in the file and widened to float at load."
    )
