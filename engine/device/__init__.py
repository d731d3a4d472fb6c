"""Code that ships inside a package and runs on the device: NumPy only, old-Python syntax, no import from this
project.
"""
