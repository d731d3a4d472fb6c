#!/usr/bin/env python3
"""Measures the variants of one run of Edgewise on this device, and sends what it finds back.

    python3 edgewise_agent.py --server http://HOST:8501 --token TOKEN

For Python 3.6 and later, with the standard library alone. Each variant's package is unpacked in a folder,
gets the environment that it names, shows that it answers as it did where it was made, and is timed in
several short rounds, one variant after the other, so that a device that grows warm is warm for all of them.
What was sent is kept when the device vanishes.
"""

import argparse
import hashlib
import http.client
import ipaddress
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from functools import partial
from typing import Any, Dict, List, Optional
from urllib.parse import quote, urlsplit

ROUNDS = 3
FIRST_RUNS, MOST_RUNS = 20, 200  # pictures that are timed in a round …
ROUND_MS = 5000.0  # … and how long that may take from the second on
TRIES = 6  # of a call where the network fails
PATIENCE_S = 900  # a package is built and run on the server before it comes
WORK_S = 3600  # of one script, and of making an environment


class Stopped(Exception):
    """It can't go on; the message says why."""


class Failed(Exception):
    """One variant can't be measured; the message says why."""


class Server:
    """The Edgewise that gave the token."""

    def __init__(self, url: str, token: str):
        self.address, self.token = url.rstrip("/") + "/api/v1/board", token

    def ask(self, path: str = "", sent: Optional[Dict[str, Any]] = None) -> bytes:
        """Returns the answer to a call. Raises Failed with the server's sentence for a refusal, Stopped where
        it stays silent.
        """
        body = None if sent is None else json.dumps(sent).encode()
        why = ""
        for number in range(TRIES):
            try:
                asked = urllib.request.Request(
                    self.address + path, body, {"Content-Type": "application/json"}
                )
                asked.add_unredirected_header("Authorization", "Bearer " + self.token)
                with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    raise Stopped(refusal(error)) from None
                if error.code < 500:
                    raise Failed(refusal(error)) from None
                why = "it answered with %d" % error.code
            except (OSError, http.client.HTTPException) as error:
                why = str(error)
            time.sleep(2**number)
        raise Stopped("%s can't be reached (%s): what was sent until now is kept" % (self.address, why))


def refusal(error: urllib.error.HTTPError) -> str:
    """Returns what the server says of a refusal."""
    try:
        return str(json.loads(error.read().decode("utf-8", "replace"))["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return "the server answered with %d" % error.code


def trusted(url: str) -> str:
    """Returns the server's address. Raises Stopped for plain HTTP to a machine outside this network: packages
    hold programs, and anyone on the way could change them.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Stopped("--server takes an address such as http://192.168.1.20:8501")
    try:
        known = socket.getaddrinfo(parts.hostname, None)
    except OSError as error:
        raise Stopped("%s is not known here: %s" % (parts.hostname, error)) from None
    outside = [one[4][0] for one in known if ipaddress.ip_address(str(one[4][0]).split("%")[0]).is_global]
    if parts.scheme == "http" and outside:
        raise Stopped("%s is outside this network, so it must be asked by https" % parts.hostname)
    return url


def call(words: List[str], folder: str) -> "subprocess.CompletedProcess[str]":
    """Runs a program in a folder and returns how it ended, with all that it said."""
    try:
        return subprocess.run(
            words,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=WORK_S,
        )
    except subprocess.TimeoutExpired:
        raise Failed("%s took more than %d s" % (os.path.basename(words[1]), WORK_S)) from None
    except OSError as error:
        raise Failed("%s can't be started: %s" % (words[0], error)) from None


def result(words: List[str], folder: str, name: str) -> Any:
    """Runs a script and returns the JSON that it wrote; raises Failed with the last line that it said where
    it wrote none.
    """
    path = os.path.join(folder, name)
    if os.path.exists(path):
        os.remove(path)
    done = call(words, folder)
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        said = done.stdout.strip().splitlines() or ["it ended with code %d" % done.returncode]
        raise Failed(said[-1][:1000]) from None


class Variant:
    """One variant's package on this device, and what is known of it: what is sent."""

    def __init__(self, asked: Dict[str, Any], folder: str):
        self.name, self.folder = str(asked["id"]), folder
        self.threads = str(min(asked["threads"] or 1024, os.cpu_count() or 1))
        self.python = ""
        self.found = {"answers": None, "rounds": [], "reason": ""}  # type: Dict[str, Any]

    def unpack(self, data: bytes) -> None:
        """Writes the package, each file held against its sum."""
        os.makedirs(self.folder, exist_ok=True)
        path = os.path.join(self.folder, "package.zip")
        with open(path, "wb") as file:
            file.write(data)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(self.folder)
            sums = archive.read("SHA256SUMS").decode().splitlines()
            for digest, name in (line.split("  ", 1) for line in sums):
                if hashlib.sha256(archive.read(name)).hexdigest() != digest:
                    raise Failed("%s came damaged" % name)
        os.remove(path)

    def make_environment(self, folder: str, sees_system: bool) -> None:
        """Makes the environment that the package names, once for all that name the same."""
        with open(os.path.join(self.folder, "requirements.txt"), "rb") as file:
            name = "env-" + hashlib.sha256(file.read()).hexdigest()[:8]
        place = os.path.join(folder, name)
        self.python = os.path.join(place, "bin", "python")
        ready = os.path.join(place, ".ready")
        if os.path.exists(ready):
            return
        print("  making its environment …", flush=True)
        venv = [sys.executable, "-m", "venv", "--clear", place] + ["--system-site-packages"] * sees_system
        pip = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        steps = [venv, pip + ["--upgrade", "pip"]] if sys.version_info < (3, 9) else [venv]
        for words in steps + [pip + ["-r", os.path.join(self.folder, "requirements.txt")]]:
            done = call(words, folder)
            if done.returncode:
                raise Failed("its environment can't be made: " + done.stdout.strip()[-800:])
        open(ready, "w").close()

    def machine(self) -> Dict[str, Any]:
        """Returns what machine this is, as the package's own script reads it."""
        words = [self.python, "-c", "import json, machine; print(json.dumps(machine.facts()))"]
        done = call(words, self.folder)
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            raise Failed(done.stdout.strip()[-800:]) from None

    def compare(self) -> str:
        """Holds its answers against those where it was made; returns what was found."""
        words = [self.python, "verify.py", "--threads", self.threads, "--json", "verified.json"]
        told = result(words, self.folder, "verified.json")
        names = ("pictures", "same_answers", "agrees", "to_blame", "worst_difference")
        answers = {name: told[name] for name in names}
        if answers["worst_difference"] != answers["worst_difference"]:  # not a number
            answers["worst_difference"] = 1.0
        self.found["answers"] = answers
        return str(told["sentence"])

    def time_round(self) -> str:
        """Times it once more; returns the median."""
        rounds = self.found["rounds"]
        last = rounds[-1]["latency_ms"]["p50"] if rounds else 0.0
        runs = max(FIRST_RUNS, min(MOST_RUNS, int(ROUND_MS / last))) if last else FIRST_RUNS
        words = [self.python, "benchmark.py", "--threads", self.threads, "--runs", str(runs)]
        told = result(words, self.folder, "benchmark-result.json")
        names = ("runtime", "runtime_version", "threads", "precision", "machine")
        one = {name: told[name] for name in names}
        one["energy"] = told.get("energy")
        one.update({name: told["models"][0][name] for name in ("latency_ms", "memory_mb")})
        rounds.append(one)
        return "%.3f ms" % one["latency_ms"]["p50"]


def main() -> None:
    """Measures what the token's run has, and ends with one sentence where that can't be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--server", required=True, help="its address, such as http://192.168.1.20:8501")
    parser.add_argument("--token", required=True, help="that its deploy page gave")
    parser.add_argument("--folder", default="edgewise-board", help="where packages and environments go")
    parser.add_argument("--python", help="an interpreter that has the runtime, instead of an environment")
    given = parser.parse_args()
    python = given.python and (os.path.abspath(given.python) if os.sep in given.python else given.python)
    try:
        measure(Server(trusted(given.server), given.token), os.path.abspath(given.folder), python)
    except (Stopped, Failed, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped; what was sent until now is kept.")


def measure(server: Server, folder: str, python: Optional[str]) -> None:
    """Fetches and verifies each variant, then times all in turns; each finding is sent at once."""
    job = json.loads(server.ask().decode())
    print("Variants for %s: %d" % (job["device"], len(job["variants"])), flush=True)
    fit = []  # type: List[Variant]
    for number, asked in enumerate(job["variants"]):
        variant = Variant(asked, os.path.join(folder, "%02d" % number))
        print("%s: fetching its package …" % variant.name, flush=True)
        steps = [
            partial(prepare, server, variant, folder, python, job["sees_system"]),
            *([] if fit else [partial(introduce, server, variant)]),
            variant.compare,
        ]
        if all(attempt(server, variant, step) for step in steps):
            fit.append(variant)

    for number in range(ROUNDS):
        for variant in list(fit):
            if not attempt(server, variant, variant.time_round):
                fit.remove(variant)
        print("round %d of %d is done" % (number + 1, ROUNDS), flush=True)
    print(json.loads(server.ask("/end", {}).decode())["text"])
    print("%s holds the packages; delete it when you no longer need them." % folder)


def prepare(server: Server, variant: Variant, folder: str, python: Optional[str], sees_system: bool) -> str:
    """Fetches and unpacks a variant, and makes its environment."""
    variant.unpack(server.ask("/packages/" + quote(variant.name, safe="")))
    if python:
        variant.python = python
    else:
        variant.make_environment(folder, sees_system)
    return "unpacked"


def introduce(server: Server, variant: Variant) -> str:
    """Says what machine this is; returns what the server says of it."""
    return str(json.loads(server.ask("/machine", variant.machine()).decode())["text"])


def attempt(server: Server, variant: Variant, do: Any) -> bool:
    """Does one thing with a variant, says what came of it, and sends what is known of it; tells whether it
    went well.
    """
    try:
        said = do()
    except Failed as error:
        said = variant.found["reason"] = str(error)
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        said = variant.found["reason"] = "its package does not do as it should: %r" % error
    print("  %s: %s" % (variant.name, said), flush=True)
    try:
        server.ask("/results/" + quote(variant.name, safe=""), variant.found)
    except Failed as error:
        print("  %s: not taken, because %s" % (variant.name, error), flush=True)
        return False
    return not variant.found["reason"]


if __name__ == "__main__":
    main()
