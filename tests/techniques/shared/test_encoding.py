"""The entropy coder: the very same bytes come back, close to the entropy, and a damaged file is noticed."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.device.decoder import decode
from engine.techniques.shared.encoding import encode, quantized_frequencies

WIDTHS = {"float32": 4, "int8": 1, "int4": 1}


def skewed(count: int, symbols: int, seed: int = 0) -> np.ndarray:
    """Returns symbols with geometric frequencies, as quantized weights have them."""
    shares = 0.6 ** np.arange(symbols)
    return np.random.default_rng(seed).choice(symbols, count, p=shares / shares.sum())


def entropy_bytes(symbols: np.ndarray) -> float:
    shares = np.bincount(symbols)[np.bincount(symbols) > 0] / len(symbols)
    return float(-(shares * np.log2(shares)).sum() * len(symbols) / 8)


def tensor(kind: str, symbols: np.ndarray) -> bytes:
    """Returns the stored bytes of a tensor with these symbols."""
    if kind == "float32":
        return np.random.default_rng(1).normal(size=256).astype("<f4")[symbols].tobytes()
    if kind == "int8":
        return symbols.astype(np.uint8).tobytes()
    padded = np.append(symbols, np.zeros(len(symbols) % 2, int)) % 16
    return (padded[0::2] | padded[1::2] << 4).astype(np.uint8).tobytes()


@given(
    kind=st.sampled_from(list(WIDTHS)),
    count=st.integers(0, 5000),
    symbols=st.integers(1, 256),
    seed=st.integers(0, 99),
    before=st.binary(max_size=200),
    after=st.binary(max_size=200),
)
def test_round_trip(kind, count, symbols, seed, before, after):
    payload = tensor(kind, skewed(count, symbols, seed))
    model = before + payload + after
    assert decode(encode(model, [(payload, kind)])) == model


@given(
    payloads=st.lists(
        st.tuples(st.sampled_from(list(WIDTHS)), st.integers(100, 900), st.integers(1, 16)), max_size=6
    ),
    twice=st.booleans(),
)
def test_round_trip_of_several_tensors_in_any_order(payloads, twice):
    made = [
        (tensor(kind, skewed(count, symbols, seed)), kind)
        for seed, (kind, count, symbols) in enumerate(payloads)
    ]
    stored = made + made if twice else made  # two layers may hold the same bytes
    model = b"head" + b"gap".join(p for p, _ in stored) + b"tail"
    assert decode(encode(model, stored[::-1])) == model


def sparse_floats(count: int, sparsity: float, seed: int = 0) -> np.ndarray:
    """Returns float32 weights [count] whose smallest are zero."""
    weights = np.random.default_rng(seed).normal(0, 0.05, count).astype("<f4")
    weights[np.argsort(np.abs(weights))[: int(sparsity * count)]] = 0
    return weights


@given(
    count=st.integers(0, 4000),
    sparsity=st.floats(0, 1),
    seed=st.integers(0, 99),
    before=st.binary(max_size=50),
)
def test_round_trip_of_sparse_floats(count, sparsity, seed, before):
    payload = sparse_floats(count, sparsity, seed).tobytes()
    model = before + payload + b"end"
    assert decode(encode(model, [(payload, "float32")])) == model


@pytest.mark.parametrize("odd", [-0.0, 1e-42, -1e-42, np.nan, np.inf])
def test_floats_that_only_look_like_zeros_come_back(odd):
    weights = sparse_floats(5_000, 0.5)
    weights[::7] = odd
    assert decode(encode(weights.tobytes(), [(weights.tobytes(), "float32")])) == weights.tobytes()


@pytest.mark.parametrize(("sparsity", "least"), [(0.5, 2.2), (0.75, 4.3), (0.9, 10.0)])
def test_zeros_among_floats_cost_about_a_bit(sparsity, least):
    """32 bits against the mask's entropy, and for the rest 24 bits and what the sign and the exponent
    hold.
    """
    payload = sparse_floats(400_000, sparsity).tobytes()
    assert len(payload) / len(encode(payload, [(payload, "float32")])) > least


@given(data=st.binary(max_size=3000))
def test_any_bytes_come_back(data):
    assert decode(encode(data, [(data, "int8"), (data[10:], "int4"), (b"absent" * 30, "float32")])) == data


@pytest.mark.parametrize(("kind", "symbols"), [("float32", 16), ("int8", 120), ("int4", 16)])
def test_size_is_close_to_the_entropy(kind, symbols):
    drawn = skewed(200_000, symbols)
    payload = tensor(kind, drawn)
    coded = len(encode(payload, [(payload, kind)]))
    assert (
        entropy_bytes(drawn) * 0.999 < coded < entropy_bytes(drawn) * 1.01 + 1200
    )  # tables and lanes take the rest
    deflated = io.BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("m", payload)
    assert coded < 0.95 * len(deflated.getvalue())


def test_a_table_is_gathered_from_all_pieces_of_a_tensor(monkeypatch):
    """The first piece holds one value, the last ones all 200; one value more than a table holds, and it is no
    table.
    """
    monkeypatch.setattr("engine.techniques.shared.encoding.AT_ONCE", 1_000)
    for symbols, small in ((200, True), (257, False)):
        values = np.random.default_rng(2).normal(size=symbols).astype("<f4")
        payload = values[
            np.sort(skewed(19_500, symbols) if symbols < 257 else np.arange(19_500) * 257 // 19_500)
        ].tobytes()
        coded = encode(payload, [(payload, "float32")])
        assert decode(coded) == payload and (len(coded) < len(payload) / 8) == small


def test_a_large_sparse_tensor_is_coded_in_little_memory():
    """Its first thousands of values are zeros and hide how many there are; sorting them all took 35 bytes
    each.
    """
    weights = sparse_floats(3_000_000, 0.9)
    weights[:10_000] = 0
    payload = weights.tobytes()
    tracemalloc.start()
    coded = encode(payload, [(payload, "float32")])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 15 * len(weights) and decode(coded) == payload


def test_layers_of_zeros_alone_find_their_places():
    """Looked for byte by byte, the second one would take hours."""
    zeros = bytes(2_000_000)
    model = b"head" + zeros + zeros + b"gap" + zeros + b"tail"
    coded = encode(model, [(zeros, "float32")] * 3)
    assert decode(coded) == model and len(coded) < 2_000


def test_what_would_not_get_smaller_stays_as_it_is():
    noise = np.random.default_rng(0).bytes(4000)
    assert len(encode(noise, [(noise, "int8")])) < len(noise) + 60


def test_a_lone_value_takes_next_to_nothing():
    zeros = bytes(400_000)
    assert len(encode(zeros, [(zeros, "float32")])) < 1000


@pytest.fixture(scope="module")
def coded() -> bytes:
    payload = tensor("int4", skewed(40_000, 16))
    return encode(b"model" * 20 + payload + b"end", [(payload, "int4")])


def test_a_cut_off_sparse_tensor_is_noticed():
    payload = sparse_floats(20_000, 0.5).tobytes()
    coded = encode(payload, [(payload, "float32")])
    for length in range(len(coded) // 2, len(coded), 1013):
        with pytest.raises(ValueError, match="damaged"):
            decode(coded[:length])


def test_every_cut_is_noticed(coded):
    for length in [*range(0, 60), *range(60, len(coded), 997), len(coded) - 1]:
        with pytest.raises(ValueError, match="damaged|does not begin"):
            decode(coded[:length])


def test_every_flipped_byte_is_noticed(coded):
    for position in [*range(0, 120), *range(120, len(coded), 499), len(coded) - 1]:
        harmed = bytearray(coded)
        harmed[position] ^= 0x41
        with pytest.raises(ValueError, match="damaged|does not begin"):
            decode(bytes(harmed))


def test_bytes_after_the_end_are_noticed(coded):
    with pytest.raises(ValueError, match="damaged"):
        decode(coded + b"x")


@given(counts=st.lists(st.integers(1, 10**6), min_size=1, max_size=256))
def test_frequencies_sum_to_their_total_and_forget_no_symbol(counts):
    found = quantized_frequencies(np.array(counts))
    assert found.sum() == 2**14 and found.min() >= 1
