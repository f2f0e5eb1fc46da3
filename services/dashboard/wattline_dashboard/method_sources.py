"""How each kind of device is read, within which band, and on whose authority: the table of the page Method; pure.

The figures are the tracker's; a test holds this page to them.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["NOT_COUNTED", "READINGS", "readings_table"]

READINGS = (
    (
        "NVIDIA GPU",
        "measured (COUNTER)",
        "difference of the card's energy counter, in mJ",
        "± 5 %",
        "NVML: nvmlDeviceGetTotalEnergyConsumption, Volta and newer",
    ),
    (
        "NVIDIA GPU without a counter",
        "measured (SAMPLED_POWER)",
        "integral of the power that is read once a second",
        "± 35 %",
        "Yang et al., arXiv 2312.02741 (2023): the sensor of recent cards sees a quarter of the time",
    ),
    (
        "CPU package",
        "measured (COUNTER)",
        "the run's share of the RAPL counter: active energy by CPU time, idle energy by its share of the CPUs",
        "± 5 %, ± 15 % where the counter is an estimate; and idle energy as nobody's, or all",
        "Hackenberg et al., IPDPSW 2015; Khan et al., TOMPECS 2018; Schöne et al., arXiv 2108.00808 (2021)",
    ),
    (
        "DRAM",
        "measured (COUNTER)",
        "the run's share of the RAPL counter",
        "± 30 %; and idle energy likewise",
        "Intel's power_gov; Desrochers et al., MEMSYS 2016",
    ),
    (
        "CPU without a counter",
        "modelled (MODELLED)",
        "CPU seconds of the run \N{MULTIPLICATION SIGN} full power of a logical CPU of its family",
        "what the field's other models give for the same use: up to a factor of 3.6",
        "Cloud Carbon Footprint's coefficients, from SPECpower; band: CodeCarbon 3, Green Metrics Tool and SDIA",
    ),
    (
        "Memory without a counter",
        "modelled (MODELLED)",
        "memory kept for the run \N{MULTIPLICATION SIGN} 0.392 W per GB",
        "0.375 to 0.793 W per GB",
        "Cloud Carbon Footprint; band: 3 W per 8 GB, and CodeCarbon 3",
    ),
    (
        "Anything that cannot be read",
        "unknown (UNKNOWN)",
        "0, with a flag that says why: never a silent zero",
        "up to the highest power that was seen, or may be drawn",
        "the meter itself",
    ),
    (
        "Simulated devices",
        "simulated (SIMULATED)",
        "what the simulator makes up",
        "as made up",
        "none: it is in no sum of real energy",
    ),
)
"""Device, method, what is charged to the run, band, source."""

NOT_COUNTED = (
    "making the hardware, and what becomes of it",
    "storage, network and other machines that serve the run",
    "cooling and power supply, but by the PUE",
    "the run's use while nothing measured it",
)
"""What no figure of Wattline has in it."""


def readings_table() -> pd.DataFrame:
    """Return the table of readings."""
    return pd.DataFrame(READINGS, columns=["Device", "Method", "Charged to the run", "Band", "Source"])
