"""The ranges of activations as TensorRT's calibration cache, by which it rounds a float graph anew."""

import struct

SIDE = 127  # codes of TensorRT's 8 bits on either side of zero


def calibration_cache(ranges: dict[str, float], version: str) -> bytes:
    """Returns TensorRT's calibration cache: a line a tensor, its scale as the bits of a float32. version: of
    TensorRT, "8.2.1".
    """
    major, minor, patch = map(int, version.split("."))
    number = major * 1000 + minor * 100 + patch if major < 10 else major * 10000 + minor * 100 + patch
    lines = [f"TRT-{number}-EntropyCalibration2"]
    lines += [f"{name}: {struct.pack('>f', largest / SIDE).hex()}" for name, largest in ranges.items()]
    return ("\n".join(lines) + "\n").encode()
