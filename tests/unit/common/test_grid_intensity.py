"""Grid intensities of one's own and of a provider: the right value for each moment, and a named one for the rest."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattline_common.carbon import GridIntensity, grid_intensity
from wattline_common.carbon.live import ElectricityMaps, LiveIntensity
from wattline_common.carbon.series import HOLDS_FOR, IntensitySeries, read_file
from wattline_common.carbon.settings import GridSettings, intensity_source
from wattline_common.environment import Environment
from wattline_common.errors import ConfigurationError, UnavailableError, WattlineError
from wattline_common.events import GridIntensityKind

NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
FRANCE = grid_intensity("FRA")
GOOD, SECRET = "good", "a-secret"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "grid.csv"
    path.write_text(text, encoding="utf-8")
    return path


def _own(g_per_kwh: float) -> GridIntensity:
    return GridIntensity(zone="FRA", name="FRA", g_per_kwh=g_per_kwh, year=2026, source="own")


def test_a_series_prices_each_hour_by_its_own_value(tmp_path: Path) -> None:
    """A value holds from its moment to the next; offsets and Z are understood; before and after, the table prices."""
    path = _file(
        tmp_path,
        "datetime_utc,grid_intensity_g_per_kwh,source,kind,licence\n"
        "2026-05-01T13:00:00+00:00,300,mine,LIFECYCLE,CC0\n"
        "2026-05-01T12:00:00Z,100,mine,LIFECYCLE,CC0\n"
        "2026-05-01T16:00:00+02:00,50,mine,DIRECT,\n",
    )
    source = read_file(path, "FRA", FRANCE)
    at = [source.at(NOON + HOUR * hours).g_per_kwh for hours in (0, 0.99, 1, 1.5, 2, 2.99)]
    assert at == [100, 100, 300, 300, 50, 50]
    assert source.at(NOON).label == "FRA: mine 2026"
    assert (source.at(NOON).licence, source.at(NOON + 2 * HOUR).kind) == ("CC0", GridIntensityKind.DIRECT)
    assert source.at(NOON - HOUR / 60) is FRANCE
    assert source.at(NOON + 3 * HOUR) is FRANCE


@given(
    starts=st.lists(st.integers(0, 100), min_size=1, max_size=30, unique=True),
    asked=st.floats(-10, 120, allow_nan=False),
)
def test_a_series_never_prices_by_a_value_of_another_time(starts: list[int], asked: float) -> None:
    """Whatever the gaps: the value is the last before the moment and at most an hour old, or it is the table's."""
    starts = sorted(starts)
    moments = [NOON + HOUR * start / 2 for start in starts]
    source = IntensitySeries(moments, [_own(float(start)) for start in starts], FRANCE)
    moment = NOON + HOUR * asked / 2
    fitting = [start for start, at in zip(starts, moments, strict=True) if at <= moment < at + HOLDS_FOR]
    found = source.at(moment)
    assert found is FRANCE if not fitting else found.g_per_kwh == fitting[-1]


def test_a_table_of_zones_gives_ones_own(tmp_path: Path) -> None:
    """A file of the packaged table's form replaces its values; a file without the zone is an error that says so."""
    path = _file(tmp_path, "zone,grid_intensity_g_per_kwh,year,source\nDEU,300,2025,mine\nFRA,40,2025,mine\n")
    assert read_file(path, "fra", FRANCE).at(NOON).g_per_kwh == 40
    with pytest.raises(ConfigurationError, match="no row of zone 'SWE'"):
        read_file(path, "SWE", FRANCE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "needs a column grid_intensity_g_per_kwh"),
        ("a,b\n1,2\n", "needs a column grid_intensity_g_per_kwh"),
        ("grid_intensity_g_per_kwh\n5\n", "datetime_utc"),
        ("zone,grid_intensity_g_per_kwh\nFRA,-1\n", "line 2"),
        ("zone,grid_intensity_g_per_kwh\nFRA,nan\n", "line 2"),
        ("zone,grid_intensity_g_per_kwh\nFRA\n", "line 2"),
        ("datetime_utc,grid_intensity_g_per_kwh\n2026-05-01T12:00,1\nyesterday,5\n", "line 3"),
        ("zone,grid_intensity_g_per_kwh,kind\nFRA,1,GREEN\n", "line 2"),
    ],
)
def test_a_wrong_file_names_the_line(tmp_path: Path, text: str, told: str) -> None:
    """What is wrong is said with file and line, and nothing else is raised."""
    with pytest.raises(ConfigurationError, match=told):
        read_file(_file(tmp_path, text), "FRA", FRANCE)


def _source(region: str = "FRA", **variables: str) -> tuple[Any, list[str]]:
    told: list[WattlineError] = []
    settings = GridSettings.from_environment(Environment(variables))
    return intensity_source(region, settings, told.append, NOON), [str(error) for error in told]


def test_an_own_factor_stands_above_the_table() -> None:
    """The number is used as it is, and its source names the setting."""
    source, told = _source(WATTLINE_GRID_INTENSITY_G_PER_KWH="12.5")
    assert (source.at(NOON).g_per_kwh, told) == (12.5, [])
    assert source.at(NOON).label == "FRA: own (WATTLINE_GRID_INTENSITY_G_PER_KWH)"


def test_an_unknown_region_is_the_named_world_and_a_warning() -> None:
    """A region that the table lacks is told; none at all is not, but the source names the world too."""
    source, told = _source("ATLANTIS")
    assert source.at(NOON).label == "WORLD: IEA 2024"
    assert len(told) == 1
    assert "'ATLANTIS'" in told[0]
    assert _source("unknown") == (source, [])


def test_a_wrong_file_leaves_the_table(tmp_path: Path) -> None:
    """A run is priced by the table when the file is missing, and the setting is named."""
    source, told = _source(WATTLINE_GRID_INTENSITY_FILE=str(tmp_path / "none.csv"))
    assert source == FRANCE
    assert "WATTLINE_GRID_INTENSITY_FILE" in told[0]


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WATTLINE_GRID_INTENSITY_G_PER_KWH": "-1"}, "WATTLINE_GRID_INTENSITY_G_PER_KWH"),
        ({"WATTLINE_GRID_INTENSITY_G_PER_KWH": "1", "WATTLINE_GRID_INTENSITY_FILE": "x"}, "keep one"),
        ({"WATTLINE_GRID_INTENSITY_PROVIDER": "oracle"}, "electricitymaps"),
        ({"WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps"}, "WATTLINE_ELECTRICITY_MAPS_ZONE"),
        (
            {"WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps", "WATTLINE_ELECTRICITY_MAPS_ZONE": "FR"},
            "WATTLINE_ELECTRICITY_MAPS_TOKEN",
        ),
    ],
)
def test_wrong_settings_name_the_setting(variables: dict[str, str], named: str) -> None:
    """Each names what is to be set."""
    with pytest.raises(ConfigurationError, match=named):
        GridSettings.from_environment(Environment(variables))


class _Api(BaseHTTPRequestHandler):
    """Speaks as Electricity Maps documents `carbon-intensity/latest`."""

    def do_GET(self) -> None:  # the interface
        """Answer as the server was told to."""
        server: Any = self.server
        server.asked.append((self.path, self.headers["auth-token"]))
        server.release.wait(10)
        status = 401 if self.headers["auth-token"] != GOOD else server.status
        self.send_response(status)
        self.end_headers()
        self.wfile.write(server.body if status == 200 else b'{"error": "no"}')

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[Any]:
    """Start a server of the API on loopback."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    server.asked, server.status, server.release = [], 200, threading.Event()
    server.release.set()
    server.body = json.dumps(
        {
            "zone": "FR",
            "carbonIntensity": 58,
            "datetime": "2026-05-01T12:00:00.000Z",
            "updatedAt": "2026-05-01T12:05:00.000Z",
            "emissionFactorType": "lifecycle",
            "isEstimated": True,
            "estimationMethod": "TIME_SLICER_AVERAGE",
        }
    ).encode()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


def _maps(api: Any, token: str = GOOD, timeout_s: float = 3.0) -> ElectricityMaps:
    return ElectricityMaps(zone="FR", token=token, url=f"http://127.0.0.1:{api.server_port}/v3", timeout_s=timeout_s)


def _live(provider: ElectricityMaps) -> tuple[LiveIntensity, list[UnavailableError]]:
    told: list[UnavailableError] = []
    return LiveIntensity(provider, FRANCE, told.append), told


def test_electricity_maps_is_asked_once_an_hour(api: Any) -> None:
    """Before the answer the table prices, after it the provider; within its hour nobody asks again."""
    live, told = _live(_maps(api))
    assert live.at(NOON) is FRANCE
    live.wait(10)
    found = [live.at(NOON + HOUR * share) for share in (0, 0.5, 0.99)]
    assert {(each.g_per_kwh, each.label, each.kind) for each in found} == {
        (58.0, "FR: Electricity Maps, estimated 2026", GridIntensityKind.LIFECYCLE)
    }
    assert api.asked == [("/v3/carbon-intensity/latest?zone=FR", "good")]
    assert told == []


def test_the_last_hour_stands_until_it_is_too_old(api: Any) -> None:
    """A provider is late by nature: its last value is used for three hours, then the table, and it is asked again."""
    live, _ = _live(_maps(api))
    live.at(NOON)
    live.wait(10)
    assert live.at(NOON + 2 * HOUR).g_per_kwh == 58.0
    live.wait(10)
    assert live.at(NOON + 3 * HOUR) is FRANCE
    live.wait(10)
    assert len(api.asked) == 3


def test_a_provider_that_hangs_holds_nobody_up(api: Any) -> None:
    """`at` returns at once while the server says nothing, and the table prices."""
    api.release.clear()
    live, told = _live(_maps(api, timeout_s=0.2))
    assert live.at(NOON) is FRANCE
    assert live.at(NOON) is FRANCE
    live.wait(10)
    assert "does not answer" in str(told[0])


@pytest.mark.parametrize(
    ("change", "told_of"),
    [
        ({"status": 500}, "500"),
        ({"body": b"<html>"}, "does not answer"),
        ({"body": b"[]"}, "no intensity"),
        ({"body": b'{"carbonIntensity": null, "datetime": "2026-05-01T12:00:00Z"}'}, "no intensity"),
        ({"body": b'{"carbonIntensity": -3, "datetime": "2026-05-01T12:00:00Z"}'}, "no intensity"),
        ({"body": b'{"carbonIntensity": 3, "datetime": "now"}'}, "no intensity"),
    ],
)
def test_a_bad_answer_is_told_and_the_table_prices(api: Any, change: dict[str, Any], told_of: str) -> None:
    """And it is not asked again at once."""
    for name, value in change.items():
        setattr(api, name, value)
    live, told = _live(_maps(api))
    live.at(NOON)
    live.wait(10)
    assert live.at(NOON + datetime.timedelta(seconds=5)) is FRANCE
    assert len(api.asked) == 1
    assert told_of in str(told[0])


def test_a_refused_token_names_the_setting_and_is_in_no_message(api: Any) -> None:
    """Neither the error nor the repr shows it."""
    provider = _maps(api, token=SECRET)
    with pytest.raises(UnavailableError, match="WATTLINE_ELECTRICITY_MAPS_TOKEN") as raised:
        provider.latest()
    assert SECRET not in f"{raised.value} {provider!r}"


def test_the_settings_make_it_live(api: Any) -> None:
    """By the environment alone: asked at the start, so the first sample can have it."""
    source, told = _source(
        WATTLINE_GRID_INTENSITY_PROVIDER="electricitymaps",
        WATTLINE_ELECTRICITY_MAPS_ZONE="FR",
        WATTLINE_ELECTRICITY_MAPS_TOKEN=GOOD,
        WATTLINE_ELECTRICITY_MAPS_URL=f"http://127.0.0.1:{api.server_port}/v3",
    )
    source.wait(10)
    assert (source.at(NOON).g_per_kwh, told) == (58.0, [])


def test_a_token_that_is_none_is_not_told() -> None:
    """Neither where it is set nor where it is sent: what a client says of a header has the header in it."""
    variables = {
        "WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps",
        "WATTLINE_ELECTRICITY_MAPS_ZONE": "FR",
        "WATTLINE_ELECTRICITY_MAPS_TOKEN": "canary\r\nx",
    }
    with pytest.raises(ConfigurationError, match="WATTLINE_ELECTRICITY_MAPS_TOKEN") as wrong:
        GridSettings.from_environment(Environment(variables))
    with pytest.raises(UnavailableError, match="cannot be asked") as unsent:
        ElectricityMaps(
            zone="FR", token=variables["WATTLINE_ELECTRICITY_MAPS_TOKEN"], url="http://127.0.0.1:1"
        ).latest()
    assert "canary" not in f"{wrong.value} {unsent.value}"
