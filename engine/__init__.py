"""Edgewise: fits trained image classifiers to edge devices."""

__version__ = "0.2.0"
