"""The line: one item after the other to its verdict, its signal, and the log."""

import base64
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deploy.station import plc as signals
from deploy.station.classify import Classifier, Failed
from deploy.station.decide import FAILED, LATE, LOW, UNSURE, Rules, Verdict, threshold
from deploy.station.drift import Drift
from deploy.station.events import Events
from deploy.station.log import Log
from deploy.station.plc import Plc
from deploy.station.source import Item, Source
from deploy.station.update import DEAD, Updates

LOOK_S = 0.2
BACKLOG_S = 5.0  # the broker is away for so long
MOST_SAMPLE = 200_000  # bytes of a picture that is sent

say = logging.getLogger("edgewise.station")


@dataclass
class Habits:
    """How often what is said. sample_every: items. summary_s: seconds. drift: of `Drift`. learn: the
    ordinary pictures anew.
    """

    sample_every: int = 100
    summary_s: float = 60.0
    drift_reference: int = 200
    drift_limit: float = 0.75
    learn: bool = False


class Line:
    """Runs until the source is at its end or `stopping` is set. sorts: returns the rules for a package's
    classes.
    """

    def __init__(
        self,
        source: Source,
        sorts: Callable[[Sequence[str]], Rules],
        log: Log,
        plc: Plc | None,
        habits: Habits,
    ):
        self.source, self.sorts, self.log, self.plc, self.habits = source, sorts, log, plc, habits
        self.stopping = threading.Event()
        self.failures, self.unsure_due, self.times = 0, True, list[float]()
        self.away_since: float | None = None
        self.looks_at = ""
        self.said = {"number": log.last(), "at": time.monotonic()}

    def run(self, classifier: Classifier, updates: Updates, events: Events | None) -> None:
        """Takes the items. On the way out, however that comes, the PLC is left in its safe state."""
        self.classifier, self.updates, self.events = classifier, updates, events
        self._look_at(classifier)
        state = signals.FAULT
        try:
            self.source.start()
            updates.resume()
            while not self.stopping.is_set() and not self.source.ended:
                self._tick()
                if item := self.source.next(LOOK_S):
                    self.handle(item)
            state = signals.FAULT if self.source.error else signals.STOPPED
        finally:
            self.source.stop()
            if self.plc:
                self.plc.stop(state)
            self.classifier.close()
            updates.close()
        self._keep_light()
        self._summary()

    def handle(self, item: Item) -> None:
        """Brings one item to its verdict: logged, signalled, sent."""
        verdict, answer = self._judged(item)
        taken_ms = 1000 * (time.monotonic() - item.taken)
        number = self.log.decided(item.name, verdict, taken_ms, self.classifier.id)
        signal = self.plc.signal(number, verdict) if self.plc else signals.NONE
        self.log.signalled(number, signal)
        self.times.append(1000 * (time.monotonic() - item.taken))
        self.failures = self.failures + 1 if verdict.reason == FAILED else 0
        if "brightness" in answer:
            self._watch(answer)
        is_turn = number % self.habits.sample_every == 0
        # what the package was not sure of teaches most
        if is_turn or (self.unsure_due and verdict.reason == LOW):
            self._sample(number, item, verdict)
            self.unsure_due = is_turn

    def _judged(self, item: Item) -> tuple[Verdict, dict[str, Any]]:
        if item.late:
            return Verdict(UNSURE, LATE, "there was no time to look at it"), {}
        try:
            answer = self.classifier.ask(item.content)
        except Failed as error:
            return Verdict(UNSURE, FAILED, str(error)), {}
        return self.rules.verdict(answer, self.classifier.metadata.get("min_confidence")), answer

    def _watch(self, light: dict[str, Any]) -> None:
        was_learnt = self.drift.learnt
        if self.drift.add(light):
            self._alarm("drift", bool(self.drift.alarm), self.drift.off())
        if self.drift.learnt and not was_learnt:
            self._keep_light()

    def _tick(self) -> None:
        """What is done beside the items."""
        follows = self.updates.change(self.classifier)
        if follows is not self.classifier:
            self._look_at(follows)
        now = time.monotonic()
        if self.plc:
            # only until it is ready again: on a belt that stands no item would come to show it
            is_fault = self.failures >= DEAD and not self.classifier.is_ready
            self.plc.alive(signals.FAULT if is_fault else signals.RUNNING, self._alarms(is_fault, now))
        if now - self.said["at"] >= self.habits.summary_s:
            self._summary()

    def _alarms(self, is_fault: bool, now: float) -> int:
        if self.events is None or self.events.connected:
            self.away_since = None
        elif self.away_since is None:
            self.away_since = now
        is_away = self.away_since is not None and now - self.away_since > BACKLOG_S
        bits = (
            (signals.DRIFT, bool(self.drift.alarm)),
            (signals.NO_BROKER, is_away),
            (signals.ROLLED_BACK, self.updates.rolled_back),
            (signals.NO_CLASSIFIER, is_fault),
        )
        return sum(bit for bit, is_on in bits if is_on)

    def _look_at(self, classifier: Classifier) -> None:
        """Goes on with this classifier, and with what was learnt of pictures of its size."""
        self.classifier, self.rules = classifier, self.sorts(classifier.classes)
        least = threshold(self.rules.least, classifier.metadata.get("min_confidence"))
        say.info("package %s, sure from %.3f on", classifier.id, least)
        if classifier.input == self.looks_at:
            return
        if self.looks_at:
            self._keep_light()
        self.looks_at = classifier.input
        kept = None if self.habits.learn else self.log.get(f"light {classifier.input}")
        self.habits.learn = False
        self.drift = Drift(kept, self.habits.drift_reference, self.habits.drift_limit)

    def _keep_light(self) -> None:
        self.log.set(f"light {self.looks_at}", self.drift.state())

    def _alarm(self, name: str, is_on: bool, figures: dict[str, float]) -> None:
        rounded = {key: round(value, 3) for key, value in figures.items()}
        self.log.event("alarm", {"alarm": name, "on": is_on, "cause": self.drift.alarm, "off": rounded})
        say.warning("%s alarm %s: %s", name, "on" if is_on else "off", rounded)

    def _sample(self, number: int, item: Item, verdict: Verdict) -> None:
        content = self.source.smaller(item.content, MOST_SAMPLE)
        small = 0 < len(content) <= MOST_SAMPLE
        picture = base64.b64encode(content).decode() if small else None
        self.log.event("sample", {"n": number, "picture": item.name, **asdict(verdict), "content": picture})

    def _summary(self) -> None:
        """Says what came of the items since the last summary."""
        self.log.flush()
        counts = self.log.counts(int(self.said["number"]))
        what = {"items": sum(counts.values()), "package": self.classifier.id, "waiting": self.log.waiting()}
        for place, key in enumerate(("verdicts", "reasons", "signals")):
            names = {parts[place] for parts in counts} - {""}
            what[key] = {
                name: sum(n for parts, n in counts.items() if parts[place] == name) for name in sorted(names)
            }
        ordered = sorted(self.times) or [0.0]
        what["ms_p50"], what["ms_p95"] = (
            round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for share in (0.5, 0.95)
        )
        what["light"] = {name: round(value, 3) for name, value in self.drift.off().items()}
        what["seconds"] = round(time.monotonic() - self.said["at"], 1)
        self.log.event("summary", what)
        self.times.clear()
        self.said |= {"number": self.log.last(), "at": time.monotonic()}
