"""Pictures and names made to harm, inside an otherwise harmless ZIP: the picture is skipped with a reason or
read as what it shows, the rest is used, and neither memory nor time grows."""

import io
import struct
import time
import zlib

import psutil
import pytest
from PIL import Image

from engine import datasets
from engine.errors import BadInput
from tests.datasets.test_archive import make_zip, picture, plain_files

BOMB = zlib.compress(bytes(300_000_000), 9)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, extra: bytes = b"", pixels: bytes | None = None) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes(3 * width)) * height) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HH", width, height)
        + b"\x80\0\0"
        + bytes(6)
        + b"\x2c"
        + struct.pack("<HHHH", 0, 0, width, height)
        + b"\0\x02\x02\x44\x01\0\x3b"
    )


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    )


def tiff(
    width: int, height: int, pixels: bytes = bytes(400), offset: int | None = None, compression=1
) -> bytes:
    tags = [
        *((256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, offset or 122)),
        *((277, 1), (278, height), (279, len(pixels))),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + pixels


def moving(format: str) -> bytes:
    frames, out = [Image.new("RGB", (60, 60), (i, 0, 0)) for i in range(200)], io.BytesIO()
    frames[0].save(out, format, save_all=True, append_images=frames[1:])
    return out.getvalue()


def with_note(note: bytes) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 20)).save(out, "JPEG", exif=b"Exif\0\0" + note)
    return out.getvalue()


SKIPPED = {
    "a bomb in a colour profile": png(10, 10, chunk(b"iCCP", b"a\0\0" + BOMB)),
    "a bomb in a text": png(10, 10, chunk(b"zTXt", b"a\0\0" + BOMB)),
    "a bomb in an international text": png(10, 10, chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB)),
    "a hundred thousand pixels wide": png(100_000, 100_000, pixels=zlib.compress(bytes(10))),
    "no pixels": png(0, 0, pixels=b""),
    "a giant GIF": gif(65_535, 65_535),
    "a giant bitmap": bmp(30_000, 30_000),
    "a bitmap of negative size": bmp(-(2**31), -(2**31)),
    "a giant PPM": b"P6 60000 60000 255\n" + bytes(100),
    "a PPM that lies": b"P6 5000 5000 255\n" + bytes(100),
    "a PPM of absurd values": b"P6 10 10 99999999999\n" + bytes(300),
    "an SVG with a script": b'<svg xmlns="http://www.w3.org/2000/svg"><script>x</script></svg>',
    "an SVG that reads a file": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>',
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(/etc/passwd) run\n",
    "half a TIFF": tiff(20, 20)[:60],
    "a TIFF of a billion pixels": tiff(40_000, 40_000),
    "a TIFF whose pixels lie outside": tiff(20, 20, offset=1_000_000),
    "a TIFF whose directory is endless": b"II*\0\x08\0\0\0\xff\xff" + bytes(200),
    "an icon": picture(format="ICO"),
    "half a JPEG": picture(format="JPEG")[:300],
    "half a WebP": picture(format="WEBP")[:30],
    "a ZIP": b"PK\x03\x04" + bytes(60),
    "a program": b"MZ" + bytes(900),
    "a pickle": b"\x80\x04cos\nsystem\n.",
    "nothing": b"",
    "a web page": b"<html><script>alert(1)</script></html>",
}
READ = {
    "a TIFF": tiff(20, 20),
    "a bomb in a TIFF": tiff(2_000, 2_000, pixels=BOMB[:100_000], compression=8),
    "a TIFF of 200 pictures": moving("TIFF"),
    "a bomb behind its pixels": png(10, 10, pixels=BOMB),
    "a single pixel": png(1, 1),
    "a page behind its end": picture() + b"<script>alert(1)</script>",
    "a ZIP behind its end": picture() + b"PK\x03\x04" + bytes(99),
    "a GIF of 200 pictures": moving("GIF"),
    "a WebP of 200 pictures": moving("WEBP"),
    "a PNG of 200 pictures": moving("PNG"),
    "a note that points elsewhere": with_note(b"II*\0\xff\xff\xff\x7f" + bytes(50)),
}


def prepared(tmp_path, files: dict):
    began = time.monotonic()
    path = make_zip(tmp_path / "mine.zip", plain_files() | files)
    before = psutil.Process().memory_info().rss
    datasets.prepare(path, tmp_path / "home")
    assert time.monotonic() - began < 20 and psutil.Process().memory_info().rss - before < 300_000_000
    return datasets.describe(path, tmp_path / "home")


@pytest.mark.parametrize("what", SKIPPED)
def test_a_harmful_picture_is_skipped_and_the_rest_is_used(what, tmp_path):
    meta = prepared(tmp_path, {"red/odd.png": SKIPPED[what]})
    assert [entry["name"] for entry in meta["skipped"]] == ["red/odd.png"] and meta["skipped"][0]["why"]
    assert sum(map(sum, meta["class_counts"].values())) == 60


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", READ)
def test_an_odd_picture_is_read_as_what_it_shows(what, tmp_path):
    meta = prepared(tmp_path, {"red/odd.png": READ[what]})
    assert meta["skipped_count"] == 0 and sum(map(sum, meta["class_counts"].values())) == 61


@pytest.mark.parametrize(
    "name",
    [
        "//server/share/red/x.png",
        "\\\\server\\share\\x.png",
        "c:red/x.png",
        "C:\\red\\x.png",
        "red/../../x.png",
        "/red/x.png",
        "red/\nx.png",
        "red/\x07x.png",
        "red/x\u2028.png",
        "red/\u200f\u202ex.png",
        "file:///etc/passwd.png",
        " /x.png",
        "red//x.png",
    ],
)
def test_a_name_that_leads_elsewhere_or_hides_is_refused(name, tmp_path):
    with pytest.raises(BadInput, match="leads elsewhere or is unusable") as told:
        prepared(tmp_path, {name: picture()})
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "=cmd|' -C calc'!A0",
        "+1",
        "-1",
        "@SUM(1)",
        "<img src=x onerror=alert(1)>",
        "'; DROP TABLE",
        "{{7*7}}",
        "${7*7}",
        "CON",
        "nul.txt",
    ],
)
def test_class_names_that_are_code_elsewhere_stay_text(name, tmp_path):
    files = {f"{name}/{i}.png": picture() for i in range(10)}
    assert name in prepared(tmp_path, files)["classes"]


def test_names_that_differ_in_case_alone_are_two(tmp_path):
    meta = prepared(tmp_path, {"red/A.png": picture(), "red/a.png": picture()})
    assert sum(map(sum, meta["class_counts"].values())) == 62


def test_a_header_that_names_another_file_is_skipped(tmp_path):
    """The directory says red/odd.png, the entry itself ../../x/x.png: what the two disagree on is not
    read.
    """
    path = make_zip(tmp_path / "mine.zip", plain_files() | {"red/odd.png": picture()})
    content = path.read_bytes()
    place = content.index(b"red/odd.png")
    path.write_bytes(content[:place] + b"../../x.png" + content[place + 11 :])
    datasets.prepare(path, tmp_path / "home")
    assert [entry["name"] for entry in datasets.describe(path, tmp_path / "home")["skipped"]] == [
        "red/odd.png"
    ]
