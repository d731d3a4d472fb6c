"""Classifies a stream of pictures: python realtime.py [--source SOURCE] [--frames N] [--headless]

SOURCE is `synthetic` (the golden pictures in turn), a folder of pictures, a camera's number or a video
file; the last two need OpenCV (pip install opencv-python-headless). One thread takes pictures at the asked
rate, the other classifies them; what there is no time for is dropped and counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import deque
from typing import Any, Iterator

import numpy as np
from classifier import HERE, MIN_CONFIDENCE, OTHER_RUNTIME, BadPackage, Classifier
from image import NoPicture, fit
from infer import pictures

WAITING = 4  # pictures; more would make the answers old


def main() -> None:
    """Runs until the stream or the frames are over, and says how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="synthetic")
    parser.add_argument("--fps", type=float, default=30.0, help="how many pictures a second are taken")
    parser.add_argument("--frames", type=int, default=0, help="stop after so many (0: never)")
    parser.add_argument("--min-confidence", type=float, help=MIN_CONFIDENCE)
    parser.add_argument("--headless", action="store_true", help="print a summary alone, not each answer")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--runtime", choices=["opencv"], help=OTHER_RUNTIME)
    arguments = parser.parse_args()
    try:
        classifier = Classifier(arguments.threads, runtime=arguments.runtime)
        stream = Stream(source(arguments.source, classifier), arguments.fps, arguments.frames)
        found = classified(stream, classifier, arguments)
    except (BadPackage, NoPicture, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped")
    print(json.dumps(found))
    if stream.error:
        sys.exit(stream.error)


class Stream:
    """Takes pictures in a thread of its own; a few wait, so that a short pause loses none, and the oldest
    goes when there is no room. `taken` and `dropped` count them, `error` says what ended it early.
    """

    def __init__(self, pictures: Iterator[np.ndarray], fps: float, frames: int):
        self.pictures, self.every_s, self.frames = pictures, 1 / fps if fps > 0 else 0.0, frames
        self.waiting: deque[np.ndarray] = deque(maxlen=WAITING)
        self.taken = self.dropped = 0
        self.over, self.error = False, ""
        self.news = threading.Condition()
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        """Takes pictures at their time until there are no more."""
        due = time.monotonic()
        try:
            for picture in self.pictures:
                with self.news:
                    self.dropped += len(self.waiting) == WAITING
                    self.waiting.append(picture)
                    self.taken += 1
                    self.news.notify()
                if self.frames and self.taken >= self.frames:
                    break
                due += self.every_s
                time.sleep(max(0.0, due - time.monotonic()))
        except (NoPicture, OSError) as error:
            self.error = str(error)
        finally:
            with self.news:
                self.over = True
                self.news.notify()

    def next(self) -> np.ndarray | None:
        """Waits for a picture that was not seen; None when the stream is over."""
        with self.news:
            while not self.waiting and not self.over:
                self.news.wait()
            return self.waiting.popleft() if self.waiting else None


def classified(stream: Stream, classifier: Classifier, arguments: Any) -> dict[str, Any]:
    """Answers the stream's pictures; returns how many, how fast, and how many were dropped."""
    counts: dict[str, int] = {}
    times, began = [], time.monotonic()
    while True:
        picture = stream.next()
        if picture is None:
            break
        start = time.perf_counter()
        answer = classifier.answer(picture, arguments.min_confidence)
        times.append((time.perf_counter() - start) * 1000)
        counts[answer["class"]] = counts.get(answer["class"], 0) + 1
        if not arguments.headless:
            print("%s (%.0f %%)" % (answer["class"], 100 * answer["probability"]), flush=True)
    seconds = time.monotonic() - began
    return {
        "frames": stream.taken,
        "classified": len(times),
        "dropped": stream.dropped,
        "fps": round(len(times) / seconds, 2) if seconds else 0.0,
        "latency_ms_p50": round(float(np.percentile(times, 50)), 3) if times else None,
        "latency_ms_p95": round(float(np.percentile(times, 95)), 3) if times else None,
        "answers": counts,
    }


def source(name: str, classifier: Classifier) -> Iterator[np.ndarray]:
    """Returns pictures as uint8 of the model's size. Raises BadPackage for a source that is not there."""
    if name == "synthetic":
        return synthetic(classifier)
    if os.path.isdir(name):
        return (classifier.read_file(path) for path in pictures([name]))
    try:
        import cv2
    except ImportError:
        raise BadPackage(
            "cameras and videos need OpenCV, which is not installed: pip install opencv-python-headless"
        ) from None
    capture = cv2.VideoCapture(int(name) if name.isdigit() else name)
    if not capture.isOpened():
        raise BadPackage("%s can't be opened as a camera or a video" % name)
    return filmed(capture, classifier, name)


def synthetic(classifier: Classifier) -> Iterator[np.ndarray]:
    """Yields the golden pictures in turn, without end."""
    names = classifier.metadata["golden"]["pictures"] or ["../sample.png"]
    read_ones = [classifier.read_file(os.path.join(HERE, "golden", name)) for name in names]
    while True:
        yield from read_ones


def filmed(capture: Any, classifier: Classifier, name: str) -> Iterator[np.ndarray]:
    """Yields a camera's or a video's pictures; raises OSError where a camera that gave some gives no more."""
    spec = classifier.spec
    shape = (spec["height"], spec["width"], 1 if spec["color"] == "grey" else 3)
    while True:
        there, picture = capture.read()
        if not there:
            if name.isdigit():
                raise OSError("camera %s gives no more pictures: is it still connected?" % name)
            return
        yield fit(np.ascontiguousarray(picture[..., ::-1]), shape, spec.get("fit", "stretch"))


if __name__ == "__main__":
    main()
