"""Entropy-codes a model file without loss; engine/device/decoder.py holds the format and the way back."""

import struct
import zlib

import numpy as np

from engine.device.decoder import BITS, BYTES, FLOATS, HALVES, MAGIC, SPARSE, decode
from engine.errors import EdgewiseError

KINDS = {"float32": FLOATS, "int8": BYTES, "int4": HALVES}
SMALLEST_TENSOR_BYTES = 96
MOST_SYMBOLS = 256
LANE_SYMBOLS, MOST_LANES = 2_048, 128
MOST_SPARSE_LANES = (
    4_096  # a sparse tensor stays large, so its lanes' states count for little and speed for more
)
AT_ONCE = (
    1_000_000  # values that are sorted at once: a layer of 100 million would take 35 bytes for each of them
)


def encode(model: bytes, tensors: list[tuple[bytes, str]]) -> bytes:
    """Returns the coded file. tensors: the stored bytes of large tensors, each with `float32`, `int8` or
    `int4`.

    Floats of more than 256 different values are coded by their highest bytes, so that zeros cost little; a
    tensor that would not get smaller stays as it is. Raises EdgewiseError if decoding does not give the very
    same bytes back.
    """
    found = sorted(_placed(model, tensors))
    entries, streams, rest, written = [], [], [], 0
    for position, payload, kind in found:
        coded = _code(payload, KINDS[kind])
        if coded is None:
            continue
        entry, stream = coded
        entries.append(struct.pack("<Q", position) + entry)
        streams.append(stream)
        rest.append(model[written:position])
        written = position + len(payload)
    head = struct.pack("<I", len(entries)) + b"".join(entries) + b"".join(rest) + model[written:]
    packed = zlib.compress(head, 9)
    data = MAGIC + struct.pack("<I", len(packed)) + packed + b"".join(streams)
    if decode(data) != model:
        raise EdgewiseError("the entropy-coded file does not decode to the model it was made from")
    return data


def _placed(model: bytes, tensors: list[tuple[bytes, str]]) -> list[tuple[int, bytes, str]]:
    taken: list[tuple[int, int]] = []
    placed = []
    for payload, kind in sorted(tensors, key=lambda t: -len(t[0])):
        if len(payload) < SMALLEST_TENSOR_BYTES:
            continue
        position = model.find(payload)
        while position >= 0 and (
            over := [end for begin, end in taken if position < end and begin < position + len(payload)]
        ):
            position = model.find(
                payload, max(over)
            )  # byte by byte, two layers of zeros alone would take hours
        if position >= 0:
            taken.append((position, position + len(payload)))
            placed.append((position, payload, kind))
    return placed


def _code(payload: bytes, kind: int) -> tuple[bytes, bytes] | None:
    raw = np.frombuffer(payload, "<u4" if kind == FLOATS else np.uint8)
    if kind == HALVES:
        raw = np.stack([raw & 0xF, raw >> 4], axis=1).ravel()
    values = _few_values(raw)
    if values is None:
        return _code_sparse(payload)
    symbols = np.empty(len(raw), np.uint8)
    for start in range(0, len(raw), AT_ONCE):
        symbols[start : start + AT_ONCE] = np.searchsorted(values, raw[start : start + AT_ONCE])
    counts = np.bincount(symbols, minlength=len(values))
    table = values.astype("<u4").tobytes() if kind == FLOATS else values.astype(np.uint8).tobytes()
    entry, stream = _streamed(symbols, counts, kind, table, MOST_LANES)
    return (entry, stream) if len(entry) + len(stream) < len(payload) else None


def _few_values(raw: np.ndarray) -> np.ndarray | None:
    """Returns the values that occur, sorted, or None where they are more than a table holds."""
    values = raw[:0]
    for start in range(0, len(raw), AT_ONCE):
        values = np.union1d(values, raw[start : start + AT_ONCE])
        if len(values) > MOST_SYMBOLS:
            return None
    return values


def _code_sparse(payload: bytes) -> tuple[bytes, bytes] | None:
    pieces = np.frombuffer(payload, np.uint8).reshape(-1, 4)
    high, zero = pieces[:, 3], np.frombuffer(payload, "<u4") == 0
    if (high[~zero] == 0).any():
        return None  # a float so close to zero that its highest byte is that of a zero
    counts = np.bincount(high, minlength=256)
    values = np.flatnonzero(counts).astype(np.uint8)
    symbol_of = np.zeros(256, np.uint8)
    symbol_of[values] = np.arange(len(values))
    entry, stream = _streamed(symbol_of[high], counts[values], SPARSE, values.tobytes(), MOST_SPARSE_LANES)
    stream += pieces[~zero, :3].tobytes()
    return (entry, stream) if len(entry) + len(stream) < len(payload) else None


def _streamed(
    symbols: np.ndarray, counts: np.ndarray, kind: int, table: bytes, most_lanes: int
) -> tuple[bytes, bytes]:
    frequencies = quantized_frequencies(counts)
    states, words = rans_encode(symbols, frequencies, most_lanes)
    entry = (
        struct.pack("<IBH", len(symbols), kind, len(counts))
        + frequencies.astype("<u2").tobytes()
        + table
        + struct.pack("<HI", len(states), len(words))
    )
    return entry, states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def quantized_frequencies(counts: np.ndarray) -> np.ndarray:
    """Scales counts to integers of at least 1 that sum to 2**14. A lone symbol gets all of it."""
    total = 1 << BITS
    scaled = np.maximum(1, np.floor(counts / counts.sum() * total)).astype(np.int64)
    while (difference := total - scaled.sum()) != 0:
        # whoever gains or loses least per unit of frequency gives or takes
        cost = counts * np.log2(
            (scaled + np.sign(difference)) / scaled,
            where=scaled + np.sign(difference) > 0,
            out=np.full(len(counts), -np.inf),
        )
        scaled[np.argmax(cost)] += np.sign(difference)
    return scaled


def rans_encode(
    symbols: np.ndarray, frequencies: np.ndarray, most_lanes: int = MOST_LANES
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lanes' final states (uint32) and the 16-bit words in the order the decoder reads them."""
    count = len(symbols)
    lanes = int(np.clip(count // LANE_SYMBOLS, 1, most_lanes))
    rounds = -(-count // lanes)
    padded = np.full(
        rounds * lanes, int(np.argmax(frequencies)), np.uint8
    )  # a byte a symbol: some layers have 100 million
    padded[:count] = symbols
    table = padded.reshape(rounds, lanes)
    frequency = frequencies.astype(np.uint64)
    start = np.concatenate([[0], np.cumsum(frequency)[:-1]]).astype(np.uint64)
    state = np.full(lanes, 65536, np.uint64)
    words: list[np.ndarray] = []
    for i in range(rounds - 1, -1, -1):
        f, s = frequency[table[i]], start[table[i]]
        full = state >= f << np.uint64(32 - BITS)
        if full.any():
            words.append((state[full] & np.uint64(0xFFFF)).astype(np.uint16)[::-1])
            state[full] >>= np.uint64(16)
        state = (state // f << np.uint64(BITS)) + state % f + s
    stream = np.concatenate(words)[::-1] if words else np.empty(0, np.uint16)
    return state, stream
