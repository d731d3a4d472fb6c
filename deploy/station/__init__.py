"""A quality-inspection line around a package: pictures in, a verdict to the PLC, events to a broker. It runs
on the device with a package's folder, `requirements/station.txt` and nothing else of Edgewise.
"""
