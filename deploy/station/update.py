"""A new package takes over only after its own trial, stays on probation, and goes when it does worse. What is
going on is kept, so that a restart in the middle goes on with it.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.station import packages
from deploy.station.classify import Classifier
from deploy.station.decide import FAILED, LATE, LOW
from deploy.station.log import Log
from deploy.station.refused import NAME, Refused

PROBATION = 200  # items
FEWEST = 50  # items before anything is concluded …
WORSE = 0.10  # … and by how much the share of unsure ones may rise
DEAD = 3  # items in a row without an answer, at which nothing is waited for
CLOSE_S = 2
MOST_REFUSED = 20  # packages that are remembered as rolled back
BAD = (LOW, LATE, FAILED)  # a picture that is none is not the package's fault
Report = Callable[[str, dict[str, Any]], None]


class Updates:
    """The package at work, and the one that is to follow or to come back.

    opens: makes a Classifier of a folder. report: takes what happened ("update", {…}). updates: the folder
    that a command may name a file of; None where none may come.
    """

    def __init__(
        self,
        log: Log,
        folder: Path,
        opens: Callable[[Path], Classifier],
        report: Report,
        updates: Path | None = None,
    ):
        self.log, self.folder, self.opens, self.report = log, folder, opens, report
        self.updates = updates
        self.lock, self.thread = threading.Lock(), threading.Thread()
        self.next: Classifier | None = None
        self.back_because = ""  # why `next` comes back; "" for a new one
        self.state: dict[str, Any] = log.get("packages") or {}

    @property
    def rolled_back(self) -> bool:
        """Tells whether the last update was rolled back."""
        return bool(self.state.get("rolled_back"))

    def first(self, package: Path) -> Classifier:
        """Returns the classifier to start with: that of the package given, or, where the same was given
        before, of the one that has followed it since. Raises Refused.
        """
        given = packages.install(package, self.folder)
        if self.state.get("given") != given.name:
            packages.try_out(given)
            self.state = {"given": given.name, "current": given.name, "previous": None, "since": None}
            self._keep(refused=[], rolled_back=False)
        try:
            return self.opens(self.folder / self.state["current"])
        except Refused as error:
            previous = self.state.get("previous") or given.name
            if previous == self.state["current"]:
                raise
            classifier = self.opens(self.folder / previous)
            self._went_back(classifier, str(error))
            return classifier

    def ask(self, asked: dict[str, Any]) -> None:
        """Tries a package that a command names, in the background: {"file": of the folder of updates,
        "sha256": of that file}. Says what came of it.
        """
        with self.lock:
            if self.thread.is_alive() or self.next is not None or self.state["since"] is not None:
                why = "Another package is being tried or on probation: ask again when it is accepted."
                self.report("update", {"result": "refused", "why": why})
                return
            self._keep(asked=asked)
            self.thread = threading.Thread(target=self._try, args=(asked,), daemon=True)
            self.thread.start()

    def resume(self) -> None:
        """Asks again for what the last process did not live to try."""
        if asked := self.state.get("asked"):
            self.ask(asked)

    def change(self, current: Classifier) -> Classifier:
        """Between two items: returns the classifier for the next one."""
        with self.lock:  # until it is on probation: a command that comes meanwhile must find it there
            follows, self.next = self.next, None
            if follows is not None and self.back_because:
                self._went_back(follows, self.back_because)
            elif follows is not None:
                self._took_over(current, follows)
        if follows is None:
            if self.state["since"] is not None and not self.thread.is_alive():
                self._judge(current)
            return current
        threading.Thread(target=current.close, daemon=True).start()
        return follows

    def close(self) -> None:
        """Ends; what is being tried is tried again after the next start."""
        if self.thread.is_alive():
            self.thread.join(CLOSE_S)
        if self.next is not None:
            self.next.close()

    def _try(self, asked: dict[str, Any]) -> None:
        name = str(asked.get("file", ""))[:100]
        try:
            installed = packages.install(self._named(asked), self.folder)
            if installed.name == self.state["current"]:
                raise Refused("This package is at work already.")
            if installed.name in self.state["refused"]:
                raise Refused("This package was rolled back; give it with --package to insist.")
            said = packages.try_out(installed)
            classifier = self.opens(installed)
        except (Refused, OSError) as error:
            self._keep(asked=None)
            self.report("update", {"result": "refused", "file": name, "why": str(error)})
            return
        self.report("update", {"result": "tried", "file": name, "package": installed.name, "why": said})
        self._hand_over(classifier, "")

    def _named(self, asked: dict[str, Any]) -> Path:
        name, digest = asked.get("file"), asked.get("sha256")
        if self.updates is None:
            raise Refused("This station takes no updates: it was started without --updates.")
        if not isinstance(name, str) or not NAME.fullmatch(name) or not isinstance(digest, str):
            raise Refused(
                'An update is {"file": "NAME.zip", "sha256": "…"}, a file of the folder of updates.'
            )
        path = self.updates / name
        if path.is_symlink() or not path.is_file():
            raise Refused(f"There is no file {name} in the folder of updates.")
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest.lower():
                raise Refused(f"{name} is not the file that was asked for: its SHA-256 is another.")
        return path

    def _judge(self, current: Classifier) -> None:
        """Ends the probation, or goes back in the background: the current one works on until the other is
        ready.
        """
        reasons = self.log.reasons(current.id, self.state["since"], PROBATION)
        now, before = share(reasons), self.state["before"]
        # where nothing answers the PLC stops the belt, and no further items would come to tell
        is_dead = reasons[:DEAD] == [FAILED] * DEAD
        if is_dead or (len(reasons) >= FEWEST and now > before + WORSE):
            why = f"{now:.0%} of {len(reasons)} items were unsure or failed, before {before:.0%}"
            self.thread = threading.Thread(target=self._back, args=(self.state["previous"], why), daemon=True)
            self.thread.start()
        elif len(reasons) >= PROBATION:
            self._keep(since=None)
            self.report("update", {"result": "accepted", "package": current.id, "bad": round(now, 4)})
            self._tidy()

    def _back(self, previous: str, why: str) -> None:
        try:
            self._hand_over(self.opens(self.folder / previous), why)
        except Refused as error:
            self._keep(since=None)
            self.report("update", {"result": "stays", "package": self.state["current"], "why": str(error)})

    def _hand_over(self, classifier: Classifier, because: str) -> None:
        with self.lock:
            self.next, self.back_because = classifier, because

    def _took_over(self, current: Classifier, follows: Classifier) -> None:
        before = share(self.log.reasons(current.id, 0, PROBATION))
        since = self.log.last()
        self._keep(current=follows.id, previous=current.id, since=since, before=before)
        self._keep(asked=None, rolled_back=False)
        self.report("update", {"result": "taken over", "package": follows.id, "bad_before": round(before, 4)})

    def _went_back(self, follows: Classifier, why: str) -> None:
        failed = self.state["current"]
        refused = [*self.state["refused"], failed][-MOST_REFUSED:]
        self._keep(current=follows.id, previous=None, since=None, refused=refused, rolled_back=True)
        self.report("update", {"result": "rolled back", "package": follows.id, "from": failed, "why": why})

    def _tidy(self) -> None:
        """Removes the packages that nothing goes back to; not while one is being tried."""
        with self.lock:
            kept = {self.state[key] for key in ("given", "current", "previous")}
            for folder in self.folder.iterdir():
                if folder.name not in kept and not self.thread.is_alive():
                    shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, **changes: Any) -> None:
        self.state = self.state | changes
        self.log.set("packages", self.state)


def share(reasons: list[str]) -> float:
    """Returns the share of items that the package had no sure answer to."""
    return sum(reason in BAD for reason in reasons) / max(1, len(reasons))
