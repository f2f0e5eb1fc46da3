"""Wattline's tracker: what a training script imports to measure its energy and CO2 while it trains.

>>> with wattline.track(model_name="resnet50", dataset_name="cifar10") as run:
...     run.step(epoch=1, step=10, loss=0.4, accuracy=0.8)
"""

from __future__ import annotations

from wattline.budget import BudgetExceededError
from wattline.decorator import current_run, tracked
from wattline.run import Run
from wattline.summary import RunSummary
from wattline.wiring import VERSION, track
from wattline_common.forecast import Forecast

__version__ = VERSION

__all__ = ["BudgetExceededError", "Forecast", "Run", "RunSummary", "__version__", "current_run", "track", "tracked"]
