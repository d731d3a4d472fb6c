"""The reject signal: coils and registers of a PLC, written over Modbus TCP. docs/station.md has the map.

Fail-safe: an item passes only where `pass` was written for its number. What can't be written is never
written later, as the item has left the gate by then.
"""

import logging
import threading
import time
from typing import Any

from deploy.station.decide import DEFECT, OK, UNSURE, Verdict
from deploy.station.refused import Refused

PASS, REJECT, RUN = 0, 1, 2  # coils
HEARTBEAT, STATE, ALARMS = 0, 1, 2  # registers, written with each beat …
VERDICT, PROBABILITY, CLASS, NUMBER_HIGH, NUMBER = 3, 4, 5, 6, 7  # … and with each item
STOPPED, RUNNING, FAULT = 0, 1, 2  # states
DRIFT, NO_BROKER, ROLLED_BACK, NO_CLASSIFIER = 1, 2, 4, 8  # bits of the alarms
CODES = {OK: 1, DEFECT: 2, UNSURE: 3}
NO_CLASS = 0xFFFF
BEAT_S = 0.5
ALIVE_S = 3.0  # without a word from the line for so long, the heart stands still
TIMEOUT_S = 0.5
REACHED, LOST, NONE = "reached", "lost", "none"


class Plc:
    """Writes to one PLC; a thread beats its heart and connects anew. `signal` never waits for a PLC that is
    away.
    """

    def __init__(self, host: str, port: int, unit: int = 1, coil: int = 0, register: int = 0):
        try:
            from pymodbus.client import ModbusTcpClient
        except ImportError:
            raise Refused("A PLC needs pymodbus: pip install -r requirements/station.txt.") from None
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self.client: Any = ModbusTcpClient(host, port=port, timeout=TIMEOUT_S, retries=0)
        self.unit, self.coil, self.register = unit, coil, register
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.beats, self.state, self.alarms, self.heard = 0, STOPPED, 0, 0.0
        self.connected = False
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def start(self) -> None:
        """Beats from now on. The first beat is tried at once, so that a PLC that is there is reached."""
        self.alive()
        self._beat_once()
        self.thread.start()

    def alive(self, state: int = RUNNING, alarms: int = 0) -> None:
        """The line says that it is at work: without that the heart stands still."""
        self.state, self.alarms, self.heard = state, alarms, time.monotonic()

    def signal(self, number: int, verdict: Verdict) -> str:
        """Writes the verdict on one item; returns `reached` or `lost`. The number is written last: where it
        changes, all the rest is of that item.
        """
        passes = verdict.verdict == OK
        chance = round(1000 * min(1.0, max(0.0, verdict.probability or 0.0)))
        index = NO_CLASS if verdict.index is None else verdict.index
        values = [CODES[verdict.verdict], chance, index, number >> 16 & 0xFFFF, number & 0xFFFF]
        with self.lock:
            done = (
                self.connected
                and self._coils(PASS, [passes, not passes])
                and self._registers(VERDICT, values)
            )
        return REACHED if done else LOST

    def stop(self, state: int = STOPPED) -> None:
        """Leaves the PLC in the safe state: nothing passes, the line may not run."""
        self.ended.set()
        if self.thread.is_alive():
            self.thread.join(2 * TIMEOUT_S + BEAT_S)
        with self.lock:
            if self.connected and self._coils(PASS, [False, True, False]):
                self._registers(HEARTBEAT, [self.beats, state, self.alarms])
            self._hang_up()

    def _beat(self) -> None:
        while not self.ended.wait(BEAT_S):
            self._beat_once()

    def _beat_once(self) -> None:
        if not self.connected:
            # outside the lock: the line does not wait while a PLC that is away is looked for
            if not self.client.connect():
                return
            self.connected = True
        with self.lock:
            if time.monotonic() - self.heard > ALIVE_S or not self.connected:
                return
            self.beats = (self.beats + 1) & 0xFFFF
            if self._registers(HEARTBEAT, [self.beats, self.state, self.alarms]):
                self._coils(RUN, [self.state == RUNNING])

    def _coils(self, first: int, values: list[bool]) -> bool:
        return self._written(self.client.write_coils, self.coil + first, values)

    def _registers(self, first: int, values: list[int]) -> bool:
        return self._written(self.client.write_registers, self.register + first, values)

    def _written(self, write: Any, at: int, values: list[Any]) -> bool:
        from pymodbus.exceptions import ModbusException

        try:
            if not write(at, values, device_id=self.unit).isError():
                return True
        except (ModbusException, OSError):
            pass
        # half an answer may still come: only a new connection is in step again
        self._hang_up()
        return False

    def _hang_up(self) -> None:
        self.connected = False
        self.client.close()
