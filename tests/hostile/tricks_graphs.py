"""Tricks with ONNX and TFLite graphs: sizes computed on the way, subgraphs, sparse tensors, counts of zero,
values that grow step by step, tables of offsets that point elsewhere."""

from functools import partial

import numpy as np

from tests.hostile import goods
from tests.hostile.bad_graphs import IMAGE, _set, onnx, tflite
from tests.hostile.case import Case


def before(*nodes: tuple, **constants: object):
    """Puts nodes (kind, inputs, output, options) before the good graph; the last one's output is what the
    convolution reads.
    """

    def change(model) -> None:
        from onnx import helper, numpy_helper

        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
        )
        for place, (kind, inputs, output, options) in enumerate(nodes):
            model.graph.node.insert(place, helper.make_node(kind, inputs, [output], **options))
        model.graph.node[len(nodes)].input[0] = nodes[-1][2]

    return change


def later(change, opset: int = 20):
    """The change in a graph of a later opset."""

    def changed(model) -> None:
        model.opset_import[0].version = opset
        change(model)

    return changed


def whole(kind: str, inputs: list[str], **options: object) -> tuple:
    return (kind, inputs, "odd", options)


def dtype(model, number: int) -> None:
    model.graph.initializer[0].data_type = number


def _shape(*sizes: int):
    return np.array(sizes, np.int64)


def _subgraph(kind: str, external: bool = False):
    def change(model) -> None:
        from onnx import TensorProto, helper

        inner = helper.make_graph(
            [helper.make_node("Identity", ["image"], ["o"])],
            "g",
            [],
            [helper.make_empty_tensor_value_info("o")],
        )
        if external:
            tensor = TensorProto(dims=[4], data_type=1, name="c", data_location=TensorProto.EXTERNAL)
            tensor.external_data.add(key="location", value="/etc/passwd")
            inner.initializer.append(tensor)
        names = {
            "If": ("then_branch", "else_branch"),
            "Loop": ("body",),
            "Scan": ("body",),
            "Identity": ("hidden",),
        }[kind]
        model.graph.node.insert(0, helper.make_node(kind, ["image"], ["odd"], **dict.fromkeys(names, inner)))

    return change


def _doubling(times: int):
    nodes = [("Concat", [f"d{i}" if i else "image"] * 2, f"d{i + 1}", {"axis": 2}) for i in range(times)]
    return before(*nodes)


def _constants(count: int):
    """Each constant is within bounds, all together are not."""
    nodes = [("ConstantOfShape", ["size"], f"c{i}", {}) for i in range(count)]
    return before(*nodes, ("Identity", ["image"], "odd", {}), size=_shape(5_000_000))


def _recursive(model) -> None:
    from onnx import helper

    model.functions.append(
        helper.make_function(
            "own",
            "f",
            ["a"],
            ["b"],
            [helper.make_node("f", ["a"], ["b"], domain="own")],
            [helper.make_opsetid("own", 1)],
        )
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.insert(0, helper.make_node("f", ["image"], ["odd"], domain="own"))


def _sparse_constant(model) -> None:
    from onnx import helper, numpy_helper

    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "s"),
        numpy_helper.from_array(np.zeros(1, np.int64), "i"),
        [10**6, 10**6],
    )
    model.graph.node.insert(0, helper.make_node("Constant", [], ["odd"], sparse_value=sparse))


def _sparse(indices: list[int], size: int):
    def change(model) -> None:
        from onnx import helper, numpy_helper

        model.graph.sparse_initializer.append(
            helper.make_sparse_tensor(
                numpy_helper.from_array(np.ones(len(indices), np.float32), "s"),
                numpy_helper.from_array(np.array(indices), "i"),
                [size],
            )
        )

    return change


def _attribute(node: int, name: str, value: object):
    def change(model) -> None:
        from onnx import helper

        place = model.graph.node[node]
        for attribute in [a for a in place.attribute if a.name == name]:
            place.attribute.remove(attribute)
        place.attribute.append(helper.make_attribute(name, value))

    return change


def _external_in_attribute(model) -> None:
    from onnx import TensorProto, helper

    tensor = TensorProto(dims=[1], data_type=1, name="c", data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../etc/passwd")
    tensor.external_data.add(key="length", value="4")
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["b1"], ["odd"], value=tensor))


def _text_input(model) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 8


def _many_dimensions(model) -> None:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1,) * 20, np.float32), "deep"))


def _input_twice(model) -> None:
    model.graph.input.append(model.graph.input[0])


def _lying_value(model) -> None:
    from onnx import TensorProto, helper

    before(whole("Tile", ["image", "n"]), n=_shape(1, 1, 3_000, 3_000))(model)
    model.graph.value_info.append(helper.make_tensor_value_info("odd", TensorProto.FLOAT, ["n", 1, 28, 28]))


TIMES = np.array([1, 1, 10**5, 10**5])
ONNX = {
    "an Expand whose size is computed": (
        before(
            ("Shape", ["image"], "s", {}),
            ("Mul", ["s", "n"], "m", {}),
            whole("Expand", ["image", "m"]),
            n=TIMES,
        ),
        "Expand",
    ),
    "a Tile whose size is computed": (
        before(
            ("Shape", ["image"], "s", {}),
            ("Mul", ["s", "n"], "m", {}),
            whole("Tile", ["image", "m"]),
            n=TIMES,
        ),
        "Tile",
    ),
    "a Pad whose size is computed": (
        before(
            ("Shape", ["image"], "s", {}),
            ("Concat", ["s", "s"], "m", {"axis": 0}),
            ("Mul", ["m", "n"], "by", {}),
            whole("Pad", ["image", "by"]),
            n=np.tile(TIMES, 2),
        ),
        "Pad",
    ),
    "a Resize whose size is computed": (
        before(
            ("Shape", ["image"], "s", {}),
            ("Mul", ["s", "n"], "m", {}),
            whole("Resize", ["image", "", "", "m"]),
            n=TIMES,
        ),
        "Resize",
    ),
    "a Resize by scales": (before(whole("Resize", ["image", "", "n"]), n=TIMES.astype(np.float32)), "Resize"),
    "an Upsample of old": (before(whole("Upsample", ["image", "n"]), n=TIMES.astype(np.float32)), ""),
    "a constant whose size is computed": (
        before(
            ("Shape", ["image"], "s", {}),
            ("Mul", ["s", "n"], "m", {}),
            whole("ConstantOfShape", ["m"]),
            n=TIMES,
        ),
        "ConstantOfShape",
    ),
    "a Range whose end is computed": (
        before(
            ("Shape", ["image"], "s", {}),
            ("ReduceProd", ["s"], "count", {"keepdims": 0}),
            ("Mul", ["count", "n"], "m", {}),
            ("Range", ["zero", "m", "one"], "steps", {}),
            ("Cast", ["steps"], "odd", {"to": 1}),
            zero=np.int64(0),
            one=np.int64(1),
            n=np.int64(10**7),
        ),
        "Range",
    ),
    "a Range whose end is read out of the image": (
        before(
            ("ReduceMax", ["image"], "most", {"keepdims": 0}),
            ("Range", ["zero", "most", "one"], "odd", {}),
            zero=np.float32(0),
            one=np.float32(1),
        ),
        "Range",
    ),
    "a size that is read out of the image": (
        before(
            ("Cast", ["image"], "whole", {"to": 7}),
            ("Reshape", ["whole", "k"], "s", {}),
            whole("Expand", ["image", "s"]),
            k=_shape(-1),
        ),
        "Expand",
    ),
    "a constant whose size is read out of the image": (
        before(
            ("Cast", ["image"], "whole", {"to": 7}),
            ("Reshape", ["whole", "k"], "s", {}),
            whole("ConstantOfShape", ["s"]),
            k=_shape(-1),
        ),
        "ConstantOfShape",
    ),
    "a OneHot without measure": (
        before(
            ("Cast", ["image"], "c", {"to": 7}),
            whole("OneHot", ["c", "n", "v"], axis=-1),
            n=_shape(10**9),
            v=np.array([0, 1], np.float32),
        ),
        "OneHot",
    ),
    "an AffineGrid without measure": (
        later(
            before(
                ("ReduceSum", ["image"], "one", {}),
                ("Reshape", ["one", "one_each"], "row", {}),
                ("Tile", ["row", "m"], "t", {}),
                ("Add", ["n", "n"], "size", {}),
                whole("AffineGrid", ["t", "size"]),
                one_each=_shape(1, 1, 1),
                m=_shape(1, 2, 3),
                n=_shape(1, 1, 10**5, 10**5),
            )
        ),
        "numbers with AffineGrid",
    ),
    "a GridSample without measure": (
        later(
            before(
                ("Tile", ["image", "m"], "many", {}),
                ("ConstantOfShape", ["n"], "grid", {}),
                whole("GridSample", ["many", "grid"]),
                m=_shape(1, 1_000, 1, 1),
                n=_shape(1, 2_000, 2_000, 2),
            )
        ),
        "numbers with GridSample",
    ),
    "an Attention over a hundred thousand places": (
        later(
            before(
                ("Tile", ["image", "n"], "many", {}),
                whole("Attention", ["many", "many", "many"]),
                n=_shape(1, 1, 10**4, 1),
            ),
            23,
        ),
        "numbers with Attention",
    ),
    "an image doubled thirty times": (_doubling(30), "Concat"),
    "a thousand constants": (_constants(1_000), "ConstantOfShape"),
    "an outer product": (
        before(
            ("Reshape", ["image", "row"], "a", {}),
            ("Reshape", ["image", "column"], "b", {}),
            ("Tile", ["a", "n"], "t", {}),
            ("Tile", ["b", "m"], "u", {}),
            whole("MatMul", ["u", "t"]),
            row=_shape(1, -1),
            column=_shape(-1, 1),
            n=_shape(1, 100),
            m=_shape(100, 1),
        ),
        "MatMul",
    ),
    "an Einsum without measure": (
        before(
            ("Reshape", ["image", "row"], "a", {}),
            whole("Einsum", ["a", "a", "a"], equation="i,j,k->ijk"),
            row=_shape(-1),
        ),
        "Einsum",
    ),
    "a transposed convolution without measure": (
        before(
            whole("ConvTranspose", ["image", "w"], strides=[10_000, 10_000]),
            w=np.zeros((1, 1, 2, 2), np.float32),
        ),
        "ConvTranspose",
    ),
    "a transposed convolution of a stated size": (
        before(
            whole("ConvTranspose", ["image", "w"], output_shape=[100_000, 100_000]),
            w=np.zeros((1, 1, 2, 2), np.float32),
        ),
        "",
    ),
    "a Tile that lies about its size": (_lying_value, "Tile"),
    "a Pad by attribute": (_attribute(0, "pads", [20_000] * 4), ""),
    "an external tensor in an attribute": (_external_in_attribute, "outside"),
    **{f"a {kind} with a tensor outside": (_subgraph(kind, True), kind) for kind in ("If", "Loop", "Scan")},
    "a subgraph where none belongs": (_subgraph("Identity"), "Identity"),
    "a function that calls itself": (_recursive, "functions"),
    "a sparse constant": (_sparse_constant, "sparse"),
    "a sparse tensor": (_sparse([0], 4), "sparse"),
    "sparse values beyond their tensor": (_sparse([10**6], 4), "sparse"),
    "negative sparse places": (_sparse([-5], 4), "sparse"),
    **{
        f"a {name} of zero": (_attribute(0, name, value), "less than one")
        for name, value in (
            ("group", 0),
            ("strides", [0, 0]),
            ("dilations", [0, 1]),
            ("kernel_shape", [0, 5]),
        )
    },
    "a group of less than nothing": (_attribute(0, "group", -1), "less than one"),
    "strides of less than nothing": (_attribute(0, "strides", [-1, 1]), "less than one"),
    "blocks of nothing": (before(whole("DepthToSpace", ["image"], blocksize=0)), "less than one"),
    "an image of text": (_text_input, ""),
    "twenty dimensions": (_many_dimensions, "shape"),
    "an input twice": (_input_twice, "valid"),
    "an image of negative size": (_set(f"{IMAGE}.2.dim_value", -5), "absurd"),
    "weights of a kind of tomorrow": (lambda m: dtype(m, 200), ""),
    "sizes whose product overflows": (_set("graph.initializer.0.dims.0", 2**62), "shape"),
    "a later opset than there is": (_set("opset_import.0.version", 9_999), ""),
    "an operator that is spelt strangely": (before(whole("../../etc/passwd\x1b[2J", ["image"])), ""),
    "a domain like ONNX's": (before(("Relu", ["image"], "odd", {"domain": "ai.onnx.contrib"})), "contrib"),
    "a training operator": (
        before(("Gradient", ["image"], "odd", {"domain": "ai.onnx.preview.training"})),
        "Gradient",
    ),
    "an optional": (before(whole("Optional", ["image"])), "Optional"),
    "a sequence": (before(whole("SequenceConstruct", ["image"])), "SequenceConstruct"),
    "a map of text": (
        before(("DictVectorizer", ["image"], "odd", {"domain": "ai.onnx.ml"})),
        "DictVectorizer",
    ),
    "a print to a file": (before(("Print", ["image"], "odd", {"domain": "com.microsoft"})), "Print"),
    "Python in the graph": (before(("PyOp", ["image"], "odd", {"domain": "pyopadd"})), "PyOp"),
}


def _with_constant(number: int, sizes: list[int], kind: int, **said: object):
    """A first operator that enlarges the image to what a stored size says; `said` is what the file claims of
    its output.
    """
    from ai_edge_litert import schema_py_generated as schema

    def change(model) -> None:
        graph = model.subgraphs[0]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.array(sizes, np.int32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        code, op, size, odd = schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT(), schema.TensorT()
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        model.operatorCodes.append(code)
        size.name, size.shape, size.type, size.buffer = (
            b"size",
            said.get("of", [len(sizes)]),
            kind,
            len(model.buffers) - 1,
        )
        odd.name, odd.shape, odd.type, odd.buffer = b"odd", said.get("shape", [1, 28, 28, 1]), 0, 0
        graph.tensors += [size, odd]
        op.opcodeIndex, op.inputs, op.outputs = (
            len(model.operatorCodes) - 1,
            [0, len(graph.tensors) - 2],
            [len(graph.tensors) - 1],
        )
        graph.operators.insert(0, op)
        graph.operators[1].inputs[0] = len(graph.tensors) - 1

    return change


def _shared_buffer(model) -> None:
    for number in range(3):
        model.subgraphs[0].tensors[number].buffer = 1


def _quantized(axis: int, scales: int):
    from ai_edge_litert import schema_py_generated as schema

    def change(model) -> None:
        record = schema.QuantizationParametersT()
        record.scale, record.zeroPoint, record.quantizedDimension = [0.1] * scales, [2**40] * scales, axis
        model.subgraphs[0].tensors[0].quantization = record
        model.subgraphs[0].tensors[0].type = 9
        model.subgraphs[0].inputs = [99]

    return change


TFLITE = {
    "a RESIZE without measure": (_with_constant(23, [60_000, 60_000], 2), "RESIZE_BILINEAR"),
    "a nearest RESIZE": (_with_constant(97, [60_000, 60_000], 2), "RESIZE_NEAREST"),
    "a PAD without measure": (_with_constant(34, [0, 0, 10**6, 10**6, 0, 0, 0, 0], 2, of=[4, 2]), "PAD"),
    "a PAD that takes away": (_with_constant(34, [0, 0, -30, 0, 0, 0, 0, 0], 2, of=[4, 2]), "PAD"),
    "a RESHAPE that enlarges": (
        _with_constant(22, [1, 1000, 1000, 1], 2, shape=[1, 1000, 1000, 1]),
        "RESHAPE",
    ),
    "a RESIZE by the image": (
        lambda m: (
            _with_constant(23, [28, 28], 2)(m),
            m.subgraphs[0].operators[0].__setattr__("inputs", [0, 0]),
        )[0],
        "RESIZE_BILINEAR",
    ),
    "a MIRROR_PAD without measure": (
        _with_constant(100, [0, 0, 10**6, 0, 0, 0, 0, 0], 2, of=[4, 2]),
        "MIRROR_PAD",
    ),
    "a tile": (_with_constant(69, [1, 10**4, 10**4, 1], 2), "TILE"),
    "a FILL": (_with_constant(94, [10**9], 2), "FILL"),
    "a RANGE": (_with_constant(96, [10**9], 2), "RANGE"),
    "one buffer for all": (_shared_buffer, "values"),
    "an image that is not there": (_quantized(9, 3), "refers"),
    "a tensor of text": (_set("subgraphs.0.tensors.1.type", 5), ""),
    "a tensor of a kind of tomorrow": (_set("subgraphs.0.tensors.1.type", 99), ""),
    "an operator code that is not there": (_set("subgraphs.0.operators.0.opcodeIndex", 40), "damaged"),
    "an output twice over": (_set("subgraphs.0.operators.0.outputs", [3] * 30_000), ""),
    "an operator that feeds itself": (_set("subgraphs.0.operators.0.inputs", [3, 1, 2]), ""),
}


def constant(*sizes: int) -> bytes:
    """A SavedModel with a constant that states one number for a tensor of these sizes."""
    dims = b"".join(goods.field(2, b"\x08" + _varint(size)) for size in sizes)
    tensor = b"\x08\x01" + goods.field(2, dims) + goods.field(5, b"\0\0\x80\x3f")
    node = (
        goods.field(1, b"c")
        + goods.field(2, b"Const")
        + goods.field(5, goods.field(1, b"value") + goods.field(2, goods.field(8, tensor)))
    )
    return goods.rezip(
        goods.saved_model(),
        {"m/saved_model.pb": b"\x08\x01" + goods.field(2, goods.field(2, goods.field(1, node)))},
    )


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


CASES = [
    *(
        Case(f"saved model with a constant of {sizes}", "saved_model", partial(constant, *sizes), "numbers")
        for sizes in ((10**5, 10**5), (2**40,), (2**62, 2**62))
    ),
    *(
        Case(
            f"saved model with {name}", "saved_model", partial(goods.saved_model, ("Placeholder", name)), name
        )
        for name in (
            "Fill",
            "Tile",
            "Range",
            "DecodeJpeg",
            "PyFuncStateless",
            "EagerPyFunc",
            "IteratorGetNext",
            "HashTableV2",
            "InitializeTableFromTextFileV2",
            "PrintV2",
            "Assert",
            "If",
            "StatelessWhile",
            "XlaLaunch",
            "RemoteCall",
            "Save",
            "RestoreSlice",
            "TensorArrayV3",
            "ReadVariableOp\x00",
        )
    ),
    *(
        Case(f"onnx with {name}", "onnx", partial(lambda c: onnx(c), change), says)
        for name, (change, says) in ONNX.items()
    ),
    *(
        Case(f"tflite with {name}", "tflite", partial(lambda c: tflite(c), change), says)
        for name, (change, says) in TFLITE.items()
    ),
    *(
        Case(f"tflite of {size} bytes", "tflite", partial(lambda n: goods.tflite()[:n], size))
        for size in (8, 9, 16, 40)
    ),
    *(
        Case(
            f"tflite whose root lies at {place}",
            "tflite",
            partial(lambda p: p.to_bytes(4, "little") + goods.tflite()[4:], place),
        )
        for place in (0, 4, 2**31 - 1, 2**32 - 1)
    ),
]
