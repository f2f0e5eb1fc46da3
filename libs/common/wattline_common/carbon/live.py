"""Grid intensities of the present hour from a provider, asked in the background; and the providers."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from wattline_common.carbon import GridIntensity
from wattline_common.carbon.series import HOLDS_FOR, intensity, parse_moment
from wattline_common.errors import UnavailableError
from wattline_common.events import GridIntensityKind

__all__ = ["ELECTRICITY_MAPS_URL", "ElectricityMaps", "LiveIntensity", "Provider"]

ELECTRICITY_MAPS_URL = "https://api.electricitymaps.com/v3"
_TIMEOUT_S = 3.0
_RETRY_AFTER = datetime.timedelta(minutes=5)
# A provider publishes an hour some time after it began: until then the last one stands, for so long.
_STALE_AFTER = 3 * HOLDS_FOR
_LONGEST_ANSWER = 100_000


class Provider(Protocol):
    """Somebody who knows the intensity of the present hour."""

    def latest(self) -> tuple[datetime.datetime, GridIntensity]:
        """Return the newest value and the moment from which it is true; raise `UnavailableError`. May block."""
        ...


@dataclass(frozen=True)
class ElectricityMaps:
    """Electricity Maps' API, version 3: `carbon-intensity/latest` of one of its zones (``FR``, ``US-CAL-CISO``)."""

    zone: str
    token: str
    url: str = ELECTRICITY_MAPS_URL
    timeout_s: float = _TIMEOUT_S

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"ElectricityMaps(zone={self.zone!r})"

    def latest(self) -> tuple[datetime.datetime, GridIntensity]:
        """Ask for the newest value."""
        answer = self._get()
        try:
            value, moment = intensity(answer["carbonIntensity"]), parse_moment(answer["datetime"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnavailableError(f"Electricity Maps gave no intensity for {self.zone}: {error!r}") from error
        kinds = {"lifecycle": GridIntensityKind.LIFECYCLE, "direct": GridIntensityKind.DIRECT}
        return moment, GridIntensity(
            zone=self.zone,
            name=self.zone,
            g_per_kwh=value,
            year=moment.year,
            source="Electricity Maps, estimated" if answer.get("isEstimated") else "Electricity Maps",
            kind=kinds.get(str(answer.get("emissionFactorType", "lifecycle")), GridIntensityKind.UNKNOWN),
            licence="by contract with Electricity Maps",
        )

    def _get(self) -> dict[str, Any]:
        import json  # here and below: only who asks for it pays for the imports
        import urllib.error
        import urllib.parse
        import urllib.request

        query = urllib.parse.urlencode({"zone": self.zone})
        request = urllib.request.Request(  # noqa: S310  # the settings take http and https only
            f"{self.url.rstrip('/')}/carbon-intensity/latest?{query}"
        )
        request.add_unredirected_header("auth-token", self.token)  # wherever the answer may send us, it stays here
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:  # noqa: S310  # as above
                answer = json.loads(response.read(_LONGEST_ANSWER))
        except urllib.error.HTTPError as error:
            remedy = "; look at WATTLINE_ELECTRICITY_MAPS_TOKEN" if error.code in {401, 403} else ""
            raise UnavailableError(f"Electricity Maps refused zone {self.zone}: {error.code}{remedy}") from error
        except (OSError, json.JSONDecodeError, UnicodeError, RecursionError) as error:
            raise UnavailableError(f"Electricity Maps does not answer: {error}") from error
        except ValueError:  # of the question: its text may hold the token
            raise UnavailableError("Electricity Maps cannot be asked: look at WATTLINE_ELECTRICITY_MAPS_*") from None
        return answer if isinstance(answer, dict) else {}


class LiveIntensity:
    """A provider's values, kept; ``elsewhere`` prices moments for which there is none.

    `at` asks nobody: when the present hour is not known yet it starts a thread that does, which ends with the answer.
    """

    def __init__(
        self,
        provider: Provider,
        elsewhere: GridIntensity,
        problem: Callable[[UnavailableError], None],
        retry_after: datetime.timedelta = _RETRY_AFTER,
    ) -> None:
        self._provider = provider
        self._elsewhere = elsewhere
        self._problem = problem
        self._retry_after = retry_after
        self._lock = threading.Lock()
        self._known: list[tuple[datetime.datetime, GridIntensity]] = []
        self._asked_at: datetime.datetime | None = None
        self._asking: threading.Thread | None = None

    def at(self, moment: datetime.datetime) -> GridIntensity:
        """Return the intensity of a moment, as far as it is known by now."""
        with self._lock:
            known = [entry for entry in self._known if entry[0] <= moment]
        newest = max(known, key=lambda entry: entry[0], default=None)
        if newest is None or moment - newest[0] >= HOLDS_FOR:
            self.refresh(moment)
        if newest is None or moment - newest[0] >= _STALE_AFTER:
            return self._elsewhere
        return newest[1]

    def refresh(self, moment: datetime.datetime) -> None:
        """Ask in the background, unless that was done a short while ago."""
        with self._lock:
            if self._asking is not None and self._asking.is_alive():
                return
            if self._asked_at is not None and abs(moment - self._asked_at) < self._retry_after:
                return
            self._asked_at = moment
            asking = threading.Thread(target=self._ask, name="wattline-grid", daemon=True)
        try:
            asking.start()
        except RuntimeError as error:  # as many threads as there may be
            self._problem(UnavailableError(f"the provider of grid intensities cannot be asked: {error}"))
        else:
            self._asking = asking

    def wait(self, timeout_s: float) -> None:
        """Wait until an answer that is under way is there."""
        if self._asking is not None:
            self._asking.join(timeout_s)

    def _ask(self) -> None:
        try:
            found = self._provider.latest()
        except UnavailableError as error:
            self._problem(error)
        except Exception as error:  # noqa: BLE001  # a thread of ours may end in no traceback on somebody's screen
            self._problem(UnavailableError(f"the provider of grid intensities failed: {error!r}"))
        else:
            with self._lock:
                self._known = [*[entry for entry in self._known if entry[0] != found[0]], found]
