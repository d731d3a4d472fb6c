"""A graph's batch set free: what its sizes say of the batch is said without it.

The graph is looked at with a batch of a prime number of images, which no other size in it has as a factor, so
that every size that holds the batch can be told. Exporters write it into reshapes (attention's, a channel
shuffle's, a flattening's), into what a class token is expanded to, and into the ends of slices.
"""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

PRIMES = (61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137)
LAST = 2**62  # a slice's end beyond any axis
SMALL = 64  # numbers in a stored tensor of sizes


def prime_for(model: onnx.ModelProto, size: tuple[int, ...]) -> int:
    """Returns a batch that no stored size, and none of the input's, can be taken for."""
    sizes = {int(v) for v in size}
    for tensor in model.graph.initializer:
        sizes.update(tensor.dims)
        if tensor.data_type == onnx.TensorProto.INT64 and math.prod(tensor.dims) <= SMALL:
            sizes.update(abs(int(v)) for v in numpy_helper.to_array(tensor).reshape(-1))
    return next((p for p in PRIMES if all(not s or s % p for s in sizes)), PRIMES[-1])


def set_batch(model: onnx.ModelProto, size: tuple[int, ...], batch: int | str) -> None:
    """States the input's whole shape and takes back what the file says of all others."""
    graph = model.graph
    kind = graph.input[0].type.tensor_type.elem_type
    graph.input[0].CopyFrom(helper.make_tensor_value_info(graph.input[0].name, kind, [batch, *size]))
    for value in graph.output:
        value.CopyFrom(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
    del graph.value_info[:]


def free(model: onnx.ModelProto, size: tuple[int, ...], fixed: int | None, prime: int) -> None:
    """Takes the batch out of every stored size, in place: of `fixed` images, or of `prime` where it was
    free and the graph's sizes were worked out with that many. What can't be freed stays as it is.
    """
    image = model.graph.input[0].name
    old, shapes = fixed or prime, shapes_at(model, image, (prime, *size))
    inside: dict[int, int] = {}
    for node in list(model.graph.node):
        if _change(model, node, shapes, old, prime, inside):
            shapes = shapes_at(model, image, (prime, *size))
    set_batch(model, size, "batch")


def shapes_at(model: onnx.ModelProto, image: str, shape: tuple[int, ...]) -> dict[str, list[int]]:
    """Returns the shapes of all values, where they follow from the image's shape, without looking at
    weights.
    """
    bare = onnx.ModelProto(ir_version=max(model.ir_version, 8))
    bare.opset_import.extend(model.opset_import)
    graph = bare.graph
    graph.name = "sizes"
    graph.node.extend(model.graph.node)
    kind = next(v for v in model.graph.input if v.name == image).type.tensor_type.elem_type
    graph.input.append(helper.make_tensor_value_info(image, kind, shape))
    for value in model.graph.output:
        graph.output.append(helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, None))
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    counts = any(node.op_type == "Range" for node in graph.node)  # whose numbers would be written out
    inferred = onnx.shape_inference.infer_shapes(bare, data_prop=not counts).graph
    found = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        noted = value.type.tensor_type
        if noted.HasField("shape") and all(d.HasField("dim_value") for d in noted.shape.dim):
            found[value.name] = [d.dim_value for d in noted.shape.dim]
    return found


def _change(
    model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict, old: int, prime: int, inside: dict[int, int]
) -> bool:
    """Changes one node that says how many images there are; tells whether it did.

    `inside` notes of each axis that holds images and more how many parts of one image lie beside each other.
    """
    if node.op_type == "Reshape":
        return _reshape(model, node, shapes, old, prime, inside)
    if node.op_type == "Expand":
        return _expand(model, node, shapes, old, prime)
    if node.op_type == "Concat":
        return _concat(model, node, shapes, old, prime)
    if node.op_type == "ConstantOfShape" and old == prime:
        return _filled(model, node, prime)
    if node.op_type == "Slice" and old > 1:
        return _slice(model, node, shapes, old, prime)
    return False


def _reshape(
    model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict, old: int, prime: int, inside: dict[int, int]
) -> bool:
    given, target = shapes.get(node.input[0]), _stored(model, node.input[1])
    if given is None or target is None or all(size % prime for size in given):
        return False
    wide = [given[i] if size == 0 and i < len(given) else int(size) for i, size in enumerate(target)]
    place = wide.index(prime) if wide.count(prime) == 1 else _place(given, wide, old, prime, inside)
    if place is None or int(target[place]) in (0, -1):
        return False
    whole = [size * old // prime if size % prime == 0 else size for size in wide]
    left = math.prod(size for size in whole if size != -1)
    whole = [math.prod(given) // prime * old // max(left, 1) if size == -1 else size for size in whole]
    axis = next(i for i, size in enumerate(given) if size % prime == 0)
    follow = inside.get(given[axis], given[axis] // prime) * math.prod(given[axis + 1 :])
    inside[whole[place] // old * prime] = max(follow // max(math.prod(whole[place + 1 :]), 1), 1)
    whole[place] = -1
    _store(model, node, 1, whole)
    return True


def _place(given: list[int], target: list[int], old: int, prime: int, inside: dict[int, int]) -> int | None:
    """Returns which size of the target holds the batch, from how many numbers follow it in memory.

    The batch is the first factor of its size: `inside` numbers follow it, or fewer where others of its own
    size stand before it.
    """
    axis = next(i for i, size in enumerate(given) if size % prime == 0)
    least = math.prod(given[axis + 1 :])
    most = least * (given[axis] // prime)
    known = math.prod(size for size in target if size > 0)
    total = math.prod(given) // prime * old
    target = [total // known if size == -1 else size for size in target]
    if math.prod(target) % old or math.prod(target) != total:
        return target.index(-1) if -1 in target else None
    fits = []
    for place, size in enumerate(target):
        after = math.prod(target[place + 1 :])
        if size % old == 0 and after <= most and after * (size // old) >= least:
            alone, last = size == old, place == len(target) - 1 and len(target) > 1
            beside = inside.get(given[axis], 1) * least // max(after, 1)  # parts of one image in this size
            apart = size // old % max(beside, 1) != 0
            fits.append((apart, not alone, last, after * (size // old) != most, place))
    return min(fits)[-1] if fits else None


def _expand(model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict, old: int, prime: int) -> bool:
    target, given = _stored(model, node.input[1]), shapes.get(node.input[0])
    if target is None or given is None:
        return False
    whole = [int(size) for size in target]
    for back in range(1, len(whole) + 1):
        had = given[-back] if back <= len(given) else 1
        if had % prime == 0 and whole[-back] != 1:
            whole[-back] = 1  # an axis of the batch stays what it is
        elif had == 1 and whole[-back] == old == prime:
            _store(model, node, 1, whole)
            return _by_batch(model, node, len(whole) - back, whole)
    if whole == [int(size) for size in target]:
        return False
    _store(model, node, 1, whole)
    return True


def _concat(model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict, old: int, prime: int) -> bool:
    """Repeats what all images share, a class token, as often as there are images."""
    all_shapes = [shapes[name] for name in node.input if name in shapes]
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    if len(all_shapes) != len(node.input):
        return False
    ranks = {len(shape) for shape in all_shapes}
    if len(ranks) != 1:
        return False
    for place in range(ranks.pop()):
        sizes = [shape[place] for shape in all_shapes]
        if prime not in sizes or place == axis % len(all_shapes[0]):
            continue
        for number, size in enumerate(sizes):
            if size == old != prime:
                shape = all_shapes[number]
                name = f"{node.output[0]}_repeated_{number}"
                if old > 1:
                    return False
                made = helper.make_node("Expand", [node.input[number], f"{name}_sizes"], [name], name=name)
                nodes = model.graph.node
                nodes.insert(list(nodes).index(node), made)
                node.input[number] = name
                made = next(n for n in nodes if n.output[0] == name)
                whole = list(shape)
                _store(model, made, 1, whole)
                return _by_batch(model, made, place, whole)
    return False


def _filled(model: onnx.ModelProto, node: onnx.NodeProto, prime: int) -> bool:
    """Fills as many images as there are, as a mask of places does."""
    target = _stored(model, node.input[0])
    if target is None or list(target).count(prime) != 1:
        return False
    return _by_batch(model, node, list(target).index(prime), [int(size) for size in target], 0)


def _by_batch(
    model: onnx.ModelProto, node: onnx.NodeProto, place: int, whole: list[int], given: int = 1
) -> bool:
    """Makes an operator take one of the sizes that its input `given` names from the graph's image."""
    graph, name = model.graph, node.output[0]
    parts = []
    for suffix, sizes in (("before", whole[:place]), ("after", whole[place + 1 :])):
        if sizes:
            graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), f"{name}_{suffix}"))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), f"{name}_first"))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), f"{name}_second"))
    parts = (
        [f"{name}_before"] * bool(whole[:place])
        + [f"{name}_batch"]
        + [f"{name}_after"] * bool(whole[place + 1 :])
    )
    made = [
        helper.make_node("Shape", [graph.input[0].name], [f"{name}_shape"], name=f"{name}_shape"),
        helper.make_node(
            "Slice",
            [f"{name}_shape", f"{name}_first", f"{name}_second"],
            [f"{name}_batch"],
            name=f"{name}_batch",
        ),
        helper.make_node("Concat", parts, [f"{name}_whole"], axis=0, name=f"{name}_whole"),
    ]
    node.input[given] = f"{name}_whole"
    where = [n.output[0] for n in graph.node].index(name)
    for one in reversed(made):
        graph.node.insert(where, one)
    return True


def _slice(model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict, old: int, prime: int) -> bool:
    ends, given = _stored(model, node.input[2]), shapes.get(node.input[0])
    if ends is None or given is None or not any(int(end) == old for end in ends):
        return False
    axes = _stored(model, node.input[3]) if len(node.input) > 3 else np.arange(len(ends))
    if axes is None:
        return False
    whole = [
        LAST if int(end) == old and given[int(axis)] % prime == 0 else int(end)
        for end, axis in zip(ends, axes, strict=True)
    ]
    if whole == [int(end) for end in ends]:
        return False
    _store(model, node, 2, whole)
    return True


def _stored(model: onnx.ModelProto, name: str) -> np.ndarray | None:
    tensor = next((t for t in model.graph.initializer if t.name == name), None)
    return None if tensor is None else numpy_helper.to_array(tensor).reshape(-1)


def _store(model: onnx.ModelProto, node: onnx.NodeProto, place: int, sizes: list[int]) -> None:
    name = f"{node.output[0]}_sizes_{place}"
    model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
    node.input[place] = name
