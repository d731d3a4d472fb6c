"""Making on other machines: what is sent (`orders`), the worker's side (`files`, `worker`), and that of the
run's host (`host`). Dask carries text and bytes. Nothing here is imported unless EDGEWISE_SCHEDULER is set or
a worker is started.
"""
