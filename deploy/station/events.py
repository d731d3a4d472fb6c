"""Events to a broker over MQTT, from the outbox, in order: each is marked as sent when the broker has said
that it took it (QoS 1), and is sent again where that was not heard. Commands come back the same way.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from deploy.station.log import Log, now
from deploy.station.refused import Refused

say = logging.getLogger("edgewise.station")

WINDOW = 100  # events that are on their way at once
LOOK_S = 0.2
KEEP_ALIVE_S = 10
MOST_COMMAND = 2000  # bytes


class Events:
    """The station at one broker. `on_update` is called with what a command says."""

    def __init__(self, log: Log, host: str, port: int, on_update: Callable[[dict[str, Any]], None]):
        self.log, self.host, self.port, self.on_update = log, host, port, on_update
        self.topic = f"edgewise/{log.station}"
        self.connected, self.refused = False, ""
        self.taken: set[int] = set()  # message numbers that the broker acknowledged
        self.on_way: dict[int, int] = {}  # message number -> sequence number
        self.ended, self.thread = threading.Event(), threading.Thread(target=self._send, daemon=True)
        self.client = client(f"edgewise-{log.station}", os.environ)
        self.client.on_connect, self.client.on_disconnect = self._connect, self._disconnect
        self.client.on_message = self._message
        self.client.on_publish = lambda _, __, number, ___, ____: self.taken.add(number)
        self.client.will_set(f"{self.topic}/state", json.dumps({"state": "lost"}), qos=1, retain=True)
        self.client.reconnect_delay_set(1, 5)

    def start(self) -> None:
        """Connects and sends from now on, whether the broker is there or not."""
        self.client.connect_async(self.host, self.port, KEEP_ALIVE_S)
        self.client.loop_start()
        self.thread.start()

    def stop(self, seconds: float) -> None:
        """Gives what waits so many seconds to leave, then says good-bye; the rest goes next time."""
        self.log.flush()
        for _ in range(int(seconds / LOOK_S)):
            if not self.log.waiting():
                break
            self.ended.wait(LOOK_S)
        self.ended.set()
        self.thread.join()
        with suppress(RuntimeError):  # the broker may be away
            self._say("stopped").wait_for_publish(1)
        self.client.disconnect()
        self.client.loop_stop()
        self._mark()

    def _send(self) -> None:
        last = 0
        while not self.ended.wait(LOOK_S):
            self._mark()
            if not self.connected:
                continue
            for seq, kind, payload in self.log.unsent(last, WINDOW - len(self.on_way)):
                # the client itself sends again what it was given, after a lost connection too
                self.on_way[self.client.publish(f"{self.topic}/{kind}", payload, qos=1).mid] = seq
                last = seq

    def _mark(self) -> None:
        heard = self.taken.copy()
        if taken := [number for number in self.on_way if number in heard]:
            self.log.sent([self.on_way.pop(number) for number in taken])
        # also those of states: numbers come again
        self.taken -= heard

    def _say(self, state: str) -> Any:
        what = json.dumps({"state": state, "at": now()})
        return self.client.publish(f"{self.topic}/state", what, qos=1, retain=True)

    def _connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        self.connected = not reason.is_failure
        refused = "" if self.connected else str(reason)
        if refused and refused != self.refused:  # it tries again and again
            say.warning("the broker refuses this station: %s", refused)
        self.refused = refused
        if self.connected:
            self.client.subscribe(f"{self.topic}/command/update", qos=1)
            self._say("running")

    def _disconnect(self, *_: Any) -> None:
        self.connected = False

    def _message(self, _: Any, __: Any, message: Any) -> None:
        try:
            asked = json.loads(message.payload[:MOST_COMMAND])
        except (ValueError, RecursionError):
            asked = None
        self.on_update(asked if isinstance(asked, dict) else {})


def port(environment: Mapping[str, str]) -> int:
    """Returns the usual port of a broker, with TLS or without."""
    return 8883 if environment.get("EDGEWISE_MQTT_CA") else 1883


def client(name: str, environment: Mapping[str, str], **more: Any) -> Any:
    """Returns an MQTT client whose session the broker keeps; user, password and certificates come from the
    environment and never from the command line, which others on the machine can read. Raises Refused.
    """
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise Refused("A broker needs paho-mqtt: pip install -r requirements/station.txt.") from None
    made = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, **more)
    if user := environment.get("EDGEWISE_MQTT_USER"):
        made.username_pw_set(user, environment.get("EDGEWISE_MQTT_PASSWORD"))
    authority = environment.get("EDGEWISE_MQTT_CA")
    certificate, key = environment.get("EDGEWISE_MQTT_CERT"), environment.get("EDGEWISE_MQTT_KEY")
    if authority or certificate:
        try:
            made.tls_set(authority, certificate, key)
        except (OSError, ValueError) as error:
            raise Refused(
                f"The certificates that EDGEWISE_MQTT_CA, _CERT and _KEY name can't be used ({error})."
            ) from None
    return made
