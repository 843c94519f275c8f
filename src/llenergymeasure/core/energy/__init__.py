"""Energy over a measurement window: GPUs through NVML, CPUs through RAPL, and a reason where neither can be read."""

from llenergymeasure.core.energy.meters import Count, Meter, NoMeter, Reading
from llenergymeasure.core.energy.window import EnergyReport, Meters, Window, open_meters

__all__ = ["Count", "EnergyReport", "Meter", "Meters", "NoMeter", "Reading", "Window", "open_meters"]
