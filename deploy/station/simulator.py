"""A PLC to try the station with: `python -m deploy.station.simulator --port 5020`. It keeps the map of
docs/station.md, lets an item pass as a real one should, and stops the line when the heart stands still.
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from deploy.station import plc

WATCHDOG_S = 2.0
SIZE = 16  # coils, and registers


class Simulator:
    """Coils and registers as a PLC has them before the station has said anything: reject, and no run."""

    def __init__(self, quiet: bool = False):
        self.coils = [False] * SIZE
        self.registers = [0] * SIZE
        self.coils[plc.REJECT] = True
        self.beaten, self.quiet = time.monotonic(), quiet
        self.passed: dict[int, bool] = {}

    async def written(self, code: int, _: int, at: int, __: int, ___: list[int], values: Any) -> None:
        """Takes what the station writes, as pymodbus calls it with each request: the function's code, the
        first address, the values (None where something is read).
        """
        if values is None:
            return
        if code in (5, 15):
            self.coils[at : at + len(values)] = map(bool, values)
            return
        before = self.registers[:]
        self.registers[at : at + len(values)] = values
        if self.registers[plc.HEARTBEAT] != before[plc.HEARTBEAT]:
            self.beaten = time.monotonic()
        if self.registers[plc.NUMBER_HIGH : plc.NUMBER + 1] != before[plc.NUMBER_HIGH : plc.NUMBER + 1]:
            self._item()

    def look(self) -> None:
        """The watchdog: without a beat nothing passes and nothing runs."""
        if time.monotonic() - self.beaten > WATCHDOG_S and (
            self.coils[plc.RUN] or not self.coils[plc.REJECT]
        ):
            self.coils[plc.PASS], self.coils[plc.REJECT], self.coils[plc.RUN] = False, True, False
            self._tell({"watchdog": "the station is silent: the line stops"})

    def _item(self) -> None:
        number = (self.registers[plc.NUMBER_HIGH] << 16) + self.registers[plc.NUMBER]
        passes = self.coils[plc.PASS] and not self.coils[plc.REJECT]
        self.passed[number] = passes
        self._tell({"item": number, "passes": passes, "verdict": self.registers[plc.VERDICT]})

    def _tell(self, what: dict[str, Any]) -> None:
        if not self.quiet:
            print(json.dumps(what), flush=True)


async def serve(simulator: Simulator, host: str, port: int) -> None:
    """Serves until it is cancelled."""
    from pymodbus.server import ModbusTcpServer
    from pymodbus.simulator import DataType, SimData, SimDevice

    bits = [SimData(0, values=[False] * SIZE, datatype=DataType.BITS)]
    words = [SimData(0, values=[0] * SIZE, datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(bits, bits, words, words), action=simulator.written)
    server = ModbusTcpServer(device, address=(host, port))
    await server.serve_forever(background=True)
    try:
        while True:
            await asyncio.sleep(0.05)
            simulator.look()
    finally:
        await server.shutdown()


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5020)
    asked = parser.parse_args()
    try:
        asyncio.run(serve(Simulator(), asked.host, asked.port))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
