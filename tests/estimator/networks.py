"""Profiles made by hand of layers whose costs are known."""

from estimator.types import Layer, Profile


def convolution(name, channels, size, kernel=1, kind="conv", precision="float32"):
    """A convolution that keeps its shape, in ONNX's layout."""
    inner = 1 if kind == "depthwise" else channels
    elements = channels * size * size
    parameters = channels * inner * kernel * kernel
    width = {"float32": 4, "float16": 2, "int8": 1, "int4": 0.5}[precision]
    return Layer(
        name=name,
        op="Conv",
        kind=kind,
        kernel=(kernel, kernel),
        stride=(1, 1),
        groups=channels // inner,
        input_shape=(1, channels, size, size),
        output_shape=(1, channels, size, size),
        macs=elements * inner * kernel * kernel,
        parameters=parameters,
        weight_bytes=int(parameters * width),
        input_elements=elements,
        output_elements=elements,
        precision=precision,
        activation_precision=precision,
    )


def profile_of(layers, precision="float32", file_format="onnx"):
    """A profile of layers, sums added up."""
    return Profile(
        format=file_format,
        precision=precision,
        layers=tuple(layers),
        parameters=sum(la.parameters for la in layers),
        macs=sum(la.macs for la in layers),
        weight_bytes=sum(la.weight_bytes for la in layers),
        input_elements=sum(la.input_elements for la in layers),
        output_elements=sum(la.output_elements for la in layers),
        peak_activation_bytes=max(2 * 4 * la.output_elements for la in layers),
        size_bytes=1,
    )
