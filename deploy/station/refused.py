"""What the station can't use, and the names that it gives."""

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Refused(Exception):
    """Something that was given can't be used; the message is one sentence that says what and what to do."""


def address(text: str, port: int) -> tuple[str, int]:
    """Returns host and port of HOST[:PORT]. Raises Refused."""
    host, _, given = text.rpartition(":") if ":" in text else (text, "", str(port))
    if not host or not given.isdigit() or not 0 < int(given) < 65536:
        raise Refused(f"{text!r} is no address: give HOST:PORT, like 192.168.0.10:{port}.")
    return host.strip("[]"), int(given)
