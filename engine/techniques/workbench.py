"""A technique's place of work: a bench, and `variant(id)`, which turns what a technique does into a finished,
recorded variant.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from engine import memory
from engine.errors import EdgewiseError, shortened
from engine.techniques.bench import Bench
from engine.techniques.job import NotApplicable
from engine.techniques.making import Making


class Workbench(Bench):
    """One technique's place of work. See `Bench`."""

    @contextmanager
    def variant(self, variant_id: str) -> Iterator[Making]:
        """Opens one variant. What goes wrong inside becomes its "failed, because …" and the next one goes
        on.
        """
        making = Making(self, variant_id)
        self.send({"kind": "variant_started", "variant": variant_id})
        try:
            yield making
            making.write("done")
        except NotApplicable as error:
            making.write("skipped", str(error))
        except EdgewiseError as error:
            making.write("failed", str(error))
        except MemoryError:
            raise  # the whole child is short of memory; the wall says so
        except Exception as error:
            import traceback

            traceback.print_exc()
            making.write("failed", f"{type(error).__name__}: {shortened(error, 300)}")
        finally:
            memory.release()
