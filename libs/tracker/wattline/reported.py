"""What a script says of a step, made fit for an event: what is no such value is told once and recorded as missing."""

from __future__ import annotations

from collections.abc import Mapping

from wattline.guard import Problems
from wattline.identity import AVRO_INT, AVRO_LONG, as_count, as_float, as_text, first_entries
from wattline.steps import Step

__all__ = ["StepReader"]


class StepReader:
    """Makes steps of what a script reports, whatever it is."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def read(
        self,
        metrics: Mapping[str, object],
        *,
        epoch: object,
        step: object,
        loss: object,
        accuracy: object,
        samples: object,
        tokens: object,
        learning_rate: object,
        gradient_norm: object,
    ) -> Step:
        """Return the step."""
        numbers = {key: self._number(key, value) for key, value in first_entries(metrics).items()}
        return Step(
            epoch=self._count("epoch", epoch, AVRO_INT),
            step=self._count("step", step),
            loss=self._number("loss", loss),
            accuracy=self._share(accuracy),
            samples=self._count("samples", samples),
            tokens=self._count("tokens", tokens),
            learning_rate=self._quantity("learning_rate", learning_rate),
            gradient_norm=self._quantity("gradient_norm", gradient_norm),
            metrics={as_text(key): number for key, number in numbers.items() if number is not None},
        )

    def _number(self, name: str, value: object) -> float | None:
        number = as_float(value)
        if number is None and value is not None:
            self._problems.report(f"step {name}", f"{name} is no finite number; it is recorded as missing")
        return number

    def _count(self, name: str, value: object, below: int = AVRO_LONG) -> int | None:
        count = as_count(value, below)
        if count is None and value is not None:
            self._problems.report(f"step {name}", f"{name} is no whole number of 0 or more; it is recorded as missing")
        return count

    def _quantity(self, name: str, value: object) -> float | None:
        number = self._number(name, value)
        if number is None or number >= 0.0:
            return number
        self._problems.report(f"step {name}", f"{name}={number:g} is below 0; it is recorded as missing")
        return None

    def _share(self, accuracy: object) -> float | None:
        number = self._number("accuracy", accuracy)
        if number is None or 0.0 <= number <= 1.0:
            return number
        self._problems.report("accuracy", f"accuracy={number:g} is no share of 1; it is recorded as missing")
        return None
