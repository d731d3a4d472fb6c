"""Where the items come from: a folder as fast as it goes, a conveyor at its rate, a camera."""

import random
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.station.packages import UNREADABLE
from deploy.station.refused import Refused

WAITING = 4  # items; more would come to the gate before their verdict
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
MOST_BYTES = 50_000_000  # of one picture
RATE = 30.0
QUALITY = 85  # of a JPEG


@dataclass
class Item:
    """One picture as the bytes of a file; `late` where it waited so long that it is not looked at."""

    name: str
    content: bytes
    taken: float
    late: bool = False


class Source:
    """Takes items in a thread of its own. With a rate nothing holds the belt: what there is no time for is
    handed out as late. Without one it waits until there is room. `error` says what ended it early. `smaller`
    brings a picture below so many bytes, to be sent, where it can: a camera's frames are not compressed.
    """

    def __init__(
        self,
        items: Iterator[tuple[str, bytes]],
        rate: float | None,
        smaller: Callable[[bytes, int], bytes] = lambda content, most: content,
    ):
        self.items, self.rate, self.smaller, self.error = items, rate, smaller, ""
        self.waiting: deque[Item] = deque()
        self.over, self.stopped, self.news = False, False, threading.Condition()
        self.thread = threading.Thread(target=self._take, daemon=True)

    def start(self) -> None:
        """Starts to take."""
        self.thread.start()

    def next(self, seconds: float) -> Item | None:
        """Returns the next item, None where none came in that time or the source is at its end (`over`)."""
        with self.news:
            self.news.wait_for(lambda: self.waiting or self.over, seconds)
            item = self.waiting.popleft() if self.waiting else None
            self.news.notify_all()
            return item

    @property
    def ended(self) -> bool:
        """Tells whether nothing will come any more."""
        with self.news:
            return self.over and not self.waiting

    def stop(self) -> None:
        """Takes no more; what waits is still handed out."""
        with self.news:
            self.stopped = True
            self.news.notify_all()

    def _take(self) -> None:
        due = time.monotonic()
        try:
            for name, content in self.items:
                # a name of a file need not be text, and it goes into the log
                name = name.encode("utf-8", "replace").decode()
                if not self._put(Item(name, content, time.monotonic())):
                    break
                if self.rate:
                    due += 1 / self.rate
                    with self.news:
                        self.news.wait_for(lambda: self.stopped, max(0.0, due - time.monotonic()))
        except Exception as error:  # a camera's library raises its own, and an end is not what it was
            self.error = str(error) or type(error).__name__
        finally:
            with self.news:
                self.over = True
                self.news.notify_all()

    def _put(self, item: Item) -> bool:
        with self.news:
            if self.rate is None:
                self.news.wait_for(lambda: len(self.waiting) < WAITING or self.stopped)
            elif len(timely := [waiting for waiting in self.waiting if not waiting.late]) >= WAITING:
                timely[0].late, timely[0].content = True, b""
            if not self.stopped:
                self.waiting.append(item)
                self.news.notify_all()
            return not self.stopped


def source(text: str) -> Source:
    """Opens `folder:PATH`, `conveyor:PATH@RATE` or `camera:NUMBER[@RATE]`. Raises Refused."""
    kind, _, rest = text.partition(":")
    where, at, rate = rest.rpartition("@") if kind != "folder" and "@" in rest else (rest, "", "")
    try:
        per_second = float(rate) if at else RATE
    except ValueError:
        per_second = 0.0
    if not where or not 0 < per_second <= 10_000:
        raise Refused(f"{text!r} is no source: give folder:PATH, conveyor:PATH@RATE or camera:NUMBER.")
    if kind == "folder":
        return Source(pictures(Path(where)), None)
    if kind == "conveyor":
        return Source(pictures(Path(where), mixed=True), per_second)
    if kind == "camera":
        return Source(filmed(where), per_second, as_jpeg)
    raise Refused(f"There is no source {kind!r}: give folder:PATH, conveyor:PATH@RATE or camera:NUMBER.")


def pictures(path: Path, mixed: bool = False) -> Iterator[tuple[str, bytes]]:
    """Returns names and bytes of the pictures in a folder or zip, in the order of their names, or `mixed` as
    on a belt, each time alike. What is no picture inside is handed out all the same. Raises Refused where
    there are none.
    """
    if path.is_dir():
        names = _ordered((p.relative_to(path).as_posix() for p in path.rglob("*")), mixed)
        found = ((name, _read(path / name)) for name in names)
    elif zipfile.is_zipfile(path):
        try:
            archive = zipfile.ZipFile(path)
        except UNREADABLE as error:
            raise Refused(f"{path} can't be unpacked ({str(error)[:80]}): copy the zip again.") from None
        names = _ordered(archive.namelist(), mixed)
        found = ((name, _entry(archive, name)) for name in names)
    else:
        raise Refused(f"{path} is neither a folder of pictures nor a zip of them.")
    if not names:
        raise Refused(f"{path} holds no pictures ({', '.join(ENDINGS)}).")
    return found


def filmed(number: str) -> Iterator[tuple[str, bytes]]:
    """Returns a camera's pictures, or a video file's. Raises Refused where it can't be opened; the iterator
    raises OSError where a camera gives no more.
    """
    try:
        import cv2
    except ImportError:
        raise Refused(
            "Cameras need OpenCV, which is not installed: pip install opencv-python-headless."
        ) from None
    capture = cv2.VideoCapture(int(number) if number.isdigit() else number)
    if not capture.isOpened():
        raise Refused(f"{number} can't be opened as a camera or a video: is it connected, and may this user?")
    return _frames(cv2, capture, number)


def _frames(cv2: Any, capture: Any, number: str) -> Iterator[tuple[str, bytes]]:
    count = 0
    while True:
        there, frame = capture.read()
        if not there:
            if number.isdigit():
                raise OSError(f"camera {number} gives no more pictures: is it still connected?")
            return
        count += 1
        # uncompressed: the worker reads it as any file
        yield f"{number}/{count}.bmp", cv2.imencode(".bmp", frame)[1].tobytes()


def as_jpeg(content: bytes, most: int) -> bytes:
    """Returns a frame as a JPEG of so many bytes at most, of half the sides until it is; it is only sent: the
    model gets the frame itself.
    """
    if len(content) <= most:
        return content
    import cv2
    import numpy as np

    frame: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    while True:
        made: bytes = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        if len(made) <= most or min(frame.shape[:2]) < 2:
            return made
        frame = cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _ordered(names: Iterable[str], mixed: bool) -> list[str]:
    ours = (name for name in names if name.lower().endswith(ENDINGS))
    found = sorted(name for name in ours if "/._" not in f"/{name}")  # macOS adds these
    if mixed:
        random.Random(0).shuffle(found)
    return found


def _read(path: Path) -> bytes:
    """Returns a file's bytes, none where it can't be read: the item is there all the same."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as file:
            return file.read(MOST_BYTES)
    except UNREADABLE:
        return b""
