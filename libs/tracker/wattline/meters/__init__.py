"""Meters: each turns one kind of device into readings. A watt comes from nowhere else."""
