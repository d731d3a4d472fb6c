"""Decodes an entropy-coded model file (.ewz) back into the very bytes of the model that a runtime opens.

The file is the model with its large tensors cut out, plus those tensors as streams of an interleaved range
asymmetric numeral system (Duda, arXiv 1311.2540; Giesen, "Interleaved entropy coders", arXiv 1402.3392):

    "EWZ1"  u32 length of the head  head (zlib)  streams
    head:   u32 tensors, then for each: u64 position in the model file, u32 symbols, u8 kind, u16 table size,
            u16 frequencies (their sum is 2**14), values (kind 0: float32 each; kind 1 and 2: uint8 each),
            u16 lanes, u32 words; then the bytes of the model file without those tensors
    stream: u32 state a lane, then u16 words; kind 3: then 3 bytes for each float32 that is not zero

Kind 0 tensors hold float32 values from the table, kind 1 bytes, kind 2 halves of bytes, low half first. Kind
3 tensors are sparse float32: the symbols are their highest bytes (sign and most of the exponent), 0 for a
zero; the three lower bytes, which no coder makes smaller, follow as they are.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

MAGIC = b"EWZ1"
BITS = 14
FLOATS, BYTES, HALVES, SPARSE = 0, 1, 2, 3


def decode(data: bytes) -> bytes:
    """Returns the model file's bytes. Raises ValueError when `data` is not such a file or is cut off."""
    if data[:4] != MAGIC:
        raise ValueError("not an entropy-coded Edgewise model: it does not begin with EWZ1")
    try:
        length = struct.unpack_from("<I", data, 4)[0]
        head = zlib.decompress(data[8 : 8 + length])
        return _rebuild(head, data, 8 + length)
    except (struct.error, zlib.error, IndexError, ValueError) as error:
        raise ValueError("the entropy-coded model is damaged or cut off: %s" % error) from None


def _rebuild(head: bytes, data: bytes, at: int) -> bytes:
    (count,) = struct.unpack_from("<I", head, 0)
    here, tensors = 4, []
    for _ in range(count):
        position, symbols, kind, size = struct.unpack_from("<QIBH", head, here)
        here += 15
        frequencies = np.frombuffer(head, "<u2", size, here)
        here += 2 * size
        width = 4 if kind == FLOATS else 1
        values = np.frombuffer(head, "<f4" if kind == FLOATS else "u1", size, here)
        here += width * size
        lanes, words = struct.unpack_from("<HI", head, here)
        here += 6
        coded = data[at : at + 4 * lanes + 2 * words]
        at += 4 * lanes + 2 * words
        decoded = values[_symbols(coded, lanes, words, frequencies, symbols)]
        if kind == SPARSE:
            low = data[at : at + 3 * int(np.count_nonzero(decoded))]
            at += 3 * int(np.count_nonzero(decoded))
            tensors.append((position, _sparse_floats(decoded, low)))
        else:
            tensors.append((position, _bytes_of(decoded, kind)))
    if at != len(data):
        raise ValueError("%d bytes are left over" % (len(data) - at))
    rest, pieces, used, written = head[here:], [], 0, 0
    for position, payload in tensors:
        gap = position - written
        pieces += [rest[used : used + gap], payload]
        used, written = used + gap, position + len(payload)
    return b"".join(pieces + [rest[used:]])


def _symbols(coded: bytes, lanes: int, words: int, frequencies: np.ndarray, count: int) -> np.ndarray:
    """Decodes `count` symbols; lane i holds symbols i, i + lanes, i + 2 lanes, …"""
    state = np.frombuffer(coded, "<u4", lanes).astype(np.uint64)
    stream = np.frombuffer(coded, "<u2", words, 4 * lanes).astype(np.uint64)
    frequency = frequencies.astype(np.uint64)
    start = np.concatenate([[0], np.cumsum(frequency)[:-1]]).astype(np.uint64)
    symbol_at = np.repeat(np.arange(len(frequency)), frequencies)
    rounds = -(-count // lanes)
    out, at = np.empty((rounds, lanes), np.uint8), 0  # a byte a symbol: some layers have 100 million
    mask, bits = np.uint64((1 << BITS) - 1), np.uint64(BITS)
    for i in range(rounds):
        slot = state & mask
        symbol = symbol_at[slot.astype(np.int64)]
        out[i] = symbol
        state = frequency[symbol] * (state >> bits) + slot - start[symbol]
        short = np.nonzero(state < 65536)[0]
        if len(short):
            state[short] = state[short] << np.uint64(16) | stream[at : at + len(short)]
            at += len(short)
    # the encoder began every lane at this state, so any other one at the end tells of a changed byte
    if at != words or (state != 65536).any():
        raise ValueError("the coded weights are not what was written")
    return out.reshape(-1)[:count]


def _sparse_floats(high: np.ndarray, low: bytes) -> bytes:
    """Puts float32 together from their highest bytes and, where those are not 0, the three lower ones."""
    out = np.zeros((len(high), 4), np.uint8)
    out[:, 3] = high
    out[high != 0, :3] = np.frombuffer(low, np.uint8).reshape(-1, 3)
    return out.tobytes()


def _bytes_of(values: np.ndarray, kind: int) -> bytes:
    if kind == HALVES:
        values = values.astype(np.uint8)
        values = (values[0::2] | values[1::2] << 4).astype(np.uint8)
    return values.tobytes()
