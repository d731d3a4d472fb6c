"""Raspberry Pis, and other boards with a Debian of 64 bits: the scripts alone, and how they run best."""

from deploy.targets.job import Extra, Job


def extra(job: Job) -> Extra:
    """Returns the text for such a board; there are no files of its own."""
    cores = job.device.cores
    if cores is None:
        return Extra({}, "")
    text = (
        f"## Threads\n\nThe scripts take all cores ({cores} here). For the steadiest times leave one to the"
        f" system: `taskset -c 0-{cores - 2} .venv/bin/python serve.py --threads {cores - 1}`. Without a"
        " cooler the clock falls after minutes: `benchmark.py --minutes 10` shows by how much."
    )
    return Extra({}, text)
