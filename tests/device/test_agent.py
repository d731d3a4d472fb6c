"""The agent on a device: whom it asks, and what it takes for a package."""

import io
import zipfile

import pytest

from engine.device import agent


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:8501", ""),
        ("http://192.168.1.20:8501/", ""),
        ("http://[fe80::1]:8501", ""),
        ("https://8.8.8.8", ""),
        ("http://8.8.8.8:8501", "must be asked by https"),
        ("http://[2606:4700::1111]", "must be asked by https"),
        ("192.168.1.20:8501", "an address such as"),
        ("ftp://127.0.0.1", "an address such as"),
    ],
)
def test_programs_come_by_plain_http_from_this_network_alone(address, says):
    if not says:
        assert agent.trusted(address) == address
        return
    with pytest.raises(agent.Stopped, match=says):
        agent.trusted(address)


def test_a_damaged_package_is_not_run(tmp_path):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("verify.py", "print(1)")
        archive.writestr("SHA256SUMS", "0" * 64 + "  verify.py")
    variant = agent.Variant({"id": "ptq_int8", "threads": None}, str(tmp_path / "00"))
    with pytest.raises(agent.Failed, match=r"verify\.py came damaged"):
        variant.unpack(held.getvalue())
