"""Figures and a report from a mechsweep summary file; see `python -m mechsweep_analysis --help`."""

__version__ = "0.1.0"
