"""A training's result, exit code and standard output are the same with Wattline, without it, and with it broken."""

from __future__ import annotations

import contextlib
import ctypes
import re
import signal
import socket
import stat
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import wattline
from tests.untouched import Broken, train
from wattline.meters.base import Reading
from wattline.report import collect
from wattline.spool_folders import SpoolRoot
from wattline.testing import MemoryPublisher, ReplayMeter

# Of the sampler's thread; without Wattline there is none, and then it is the main thread that is told.
SAMPLER = (
    "sampler, = [t for t in threading.enumerate() if t.name == 'wattline-sampler']"
    " if sys.argv[1] == 'on' else [threading.main_thread()]\n"
    "signal.pthread_kill(sampler.ident, signal.SIGTERM)\n"
    "for _ in range(500): time.sleep(0.01)"
)
HANDLED = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
ENDINGS = {
    "completes": "",
    "exits": "sys.exit(3)",
    "raises": "raise ValueError('its own')",
    "sigterm": "os.kill(os.getpid(), signal.SIGTERM)",
    "handled": f"{HANDLED}os.kill(os.getpid(), signal.SIGTERM)",
    "interrupted": "signal.raise_signal(signal.SIGINT)",
    "in the sampler": SAMPLER,
    "in the sampler, handled": f"{HANDLED}{SAMPLER}",
    "forks": "child = os.fork()\nif child == 0: sys.exit(5)\nprint(os.waitpid(child, 0)[1])",
}
ON_PURPOSE = "broken on purpose"
RAISES = f"import sys; sys.stderr.write('{ON_PURPOSE}'); raise ImportError('{ON_PURPOSE}')"
# NVML as its module has it: it loads, and every call of it raises.
NVML_RAISES = f"""
class NVMLError(Exception): pass
def __getattr__(name):
    if name.startswith('__'): raise AttributeError(name)
    def call(*_, **__): raise NVMLError('{ON_PURPOSE}')
    return call
"""
# It finds a card, and what the card is asked raises what no driver's wrapper should.
NVML_RAISES_LATER = f"""
class NVMLError(Exception): pass
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 1
def __getattr__(name):
    if name.startswith('__'): raise AttributeError(name)
    def call(*_, **__): raise RuntimeError('{ON_PURPOSE}')
    return call
"""
PSUTIL_RAISES = f"def __getattr__(name): raise RuntimeError('{ON_PURPOSE}')"
STEPPED = """
import atexit, datetime, itertools
import wattline.clock
steps = itertools.count()
class Stepped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(days=365 * (1 - 2 * (next(steps) % 2)))
wattline.clock.datetime.datetime = Stepped
real = time.time
time.time = lambda: real() + 1e8 * (1 - 2 * (next(steps) % 2))
atexit.register(lambda: next(steps) and sys.stderr.write("the clock was stepped"))
"""
NO_PROC = """
import wattline.meters.host
from pathlib import Path
class NoProc(type(Path())):
    def exists(self, **_): return False
wattline.meters.host.Path = NoProc
"""
NO_THREAD = """
import threading
begin = threading.Thread.start
def start(self):
    if self.name.startswith('wattline'): raise RuntimeError("can't start new thread")
    begin(self)
threading.Thread.start = start
"""
# A provider of grid intensities, which is asked by a thread.
GRID = {
    "WATTLINE_GRID_INTENSITY_PROVIDER": "electricitymaps",
    "WATTLINE_ELECTRICITY_MAPS_TOKEN": "token",
    "WATTLINE_ELECTRICITY_MAPS_ZONE": "FR",
    "WATTLINE_ELECTRICITY_MAPS_URL": "http://127.0.0.1:1",
}
NO_FOLDER = """
import tempfile
os.chdir(tempfile.mkdtemp())
os.rmdir(os.getcwd())
try: os.getcwd()
except OSError: sys.stderr.write("no working folder")
"""
UNWRITABLE = "cannot be written, so events wait in memory"
KEPT = "`wattline flush` sends them"
FAULTS = {
    "no broker and no registry": Broken(told="events wait: "),
    "addresses that are none": Broken(
        {"KAFKA_BOOTSTRAP_SERVERS": "::::", "SCHEMA_REGISTRY_URL": "no url"}, told="SCHEMA_REGISTRY_URL"
    ),
    "full disk": Broken(
        before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))", told=UNWRITABLE, kept=False
    ),
    "a spool where none can be": Broken({"WATTLINE_SPOOL_DIR": "/proc/spool"}, told=UNWRITABLE, kept=False),
    "spool is a file": Broken({"WATTLINE_SPOOL_DIR": "/dev/full"}, told=UNWRITABLE, kept=False),
    "unwritable home": Broken(
        {"WATTLINE_SPOOL_DIR": "", "XDG_STATE_HOME": "", "HOME": "/dev/null"}, told=UNWRITABLE, kept=False
    ),
    "NVML raises": Broken(modules={"pynvml": NVML_RAISES}, told="the NVIDIA driver does not answer"),
    "NVML raises while it is read": Broken(modules={"pynvml": NVML_RAISES_LATER}, told="NvidiaMeter does not start"),
    "NVML does not load": Broken(modules={"pynvml": RAISES}, told=ON_PURPOSE),
    "psutil raises": Broken(
        modules={"psutil": PSUTIL_RAISES}, before=NO_PROC, told="finding the CPU and memory meters failed"
    ),
    "Kafka's client does not load": Broken(modules={"confluent_kafka": RAISES}, told=ON_PURPOSE),
    "fastavro does not load": Broken(modules={"fastavro": RAISES}, told=ON_PURPOSE, kept=False),
    "clock stepped": Broken(before=STEPPED, told="the clock was stepped"),
    "wrong settings": Broken(
        {"WATTLINE_SPOOL_MB": "-1", "WATTLINE_QUEUE_EVENTS": "x", "WATTLINE_PUE": "0"}, told="WATTLINE_SPOOL_MB"
    ),
    "no thread can be started": Broken(GRID, before=NO_THREAD, told="can't start new thread", kept=False),
    "working folder is gone": Broken(before=NO_FOLDER, told="no working folder"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_on_and_off_end_alike(tmp_path: Path, ending: str) -> None:
    """However the training ends: by itself, by an exception, by a signal in whatever thread, with a forked child."""
    assert train(tmp_path, "on", ENDINGS[ending]) == train(tmp_path, "off", ENDINGS[ending])
    (run,) = collect(SpoolRoot(tmp_path / "spool"))
    assert run.energy_kwh > 0, "nothing was measured, so nothing was compared"


def test_switched_off_it_is_alike(tmp_path: Path) -> None:
    """WATTLINE_DISABLED=1 changes nothing either, and writes nothing."""
    assert train(tmp_path, "on", broken=Broken({"WATTLINE_DISABLED": "1"})) == train(tmp_path, "off")
    assert not (tmp_path / "spool").exists()


def _hold(tmp_path: Path, broken: Broken) -> None:
    """Hold that the fault was met, that all looks as without Wattline, and that the run is told if it can be."""
    ended = train(tmp_path, "on", broken=broken)
    assert broken.told in ended.told
    assert ended == train(tmp_path, "off")
    assert ended.code == 0
    if broken.kept:
        assert [run.status for run in collect(SpoolRoot(tmp_path / "spool"))] == ["COMPLETED"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_ours_is_not_the_trainings(tmp_path: Path, fault: str) -> None:
    """Same numbers, same output, same exit code."""
    _hold(tmp_path, FAULTS[fault])


def _without_privilege() -> None:
    """Let modes of files hold for root too: an executed program gets no capability to override them."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; refused where there is none


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's capabilities")
def test_a_read_only_spool_is_not_the_trainings(tmp_path: Path) -> None:
    """The folder is there and may be read; nothing in it can be made."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    environment = {"WATTLINE_SPOOL_DIR": str(folder)}
    _hold(tmp_path, Broken(environment, told=UNWRITABLE, kept=False, in_child=_without_privilege))
    assert list(folder.iterdir()) == []


@contextlib.contextmanager
def _silent_server() -> Iterator[str]:
    """Give the address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_servers_that_hang_are_not_the_trainings(tmp_path: Path) -> None:
    """Neither refused nor answered: the end waits its bounded time, and the events are kept."""
    with _silent_server() as address:
        servers = {"KAFKA_BOOTSTRAP_SERVERS": address, "SCHEMA_REGISTRY_URL": f"http://{address}"}
        _hold(tmp_path, Broken({**servers, "WATTLINE_FLUSH_TIMEOUT_S": "1"}, told=KEPT))


def test_sigterm_without_a_handler_keeps_the_samples_before_it(tmp_path: Path) -> None:
    """Its default ends the process at once, as without us; what was sampled by then is in the spool."""
    assert train(tmp_path, "on", ENDINGS["sigterm"]).code == -signal.SIGTERM
    (killed,) = collect(SpoolRoot(tmp_path / "spool"))
    assert killed.status == "UNFINISHED"
    assert killed.energy_kwh > 0


# The run's own word of what it used, when it is over.
TELLS_ENERGY = "import atexit; atexit.register(lambda: sys.stderr.write(f'used {run.summary().energy_kwh!r} kWh'))\n"


@pytest.mark.parametrize("ending", ["handled", "interrupted"])
def test_a_signal_that_python_handles_costs_nothing_that_was_measured(tmp_path: Path, ending: str) -> None:
    """Ctrl-C, and SIGTERM with a handler that exits: the run is STOPPED, and all of its energy is in the spool."""
    ended = train(tmp_path, "on", f"{TELLS_ENERGY}{ENDINGS[ending]}")
    used = re.search(r"used (\S+) kWh", ended.told)
    assert used is not None, ended.told
    (stopped,) = collect(SpoolRoot(tmp_path / "spool"))
    assert stopped.status == "STOPPED"
    assert stopped.energy_kwh == pytest.approx(float(used[1]), rel=1e-9)


_NO_TIME_S = 0.01  # a hundred times what it takes; who waits for a server waits longer


@pytest.mark.parametrize("steps_an_epoch", [1000, 1], ids=["few are sent", "each is sent"])
def test_a_step_does_not_wait_for_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps_an_epoch: int) -> None:
    """While none answers, a step is reported in no time; what it costs when all is well, `bench.tracker` tells."""
    unreachable = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}
    for name, value in {**unreachable, "WATTLINE_SPOOL_DIR": str(tmp_path), "WATTLINE_FLUSH_TIMEOUT_S": "1"}.items():
        monkeypatch.setenv(name, value)
    longer_s = []
    with wattline.track(meters=[ReplayMeter([60.0])], emit_interval_s=0.1) as run:
        for number in range(200):
            time.sleep(0.005)
            began_s = time.perf_counter()
            run.step(epoch=number // steps_an_epoch, step=number, loss=0.5, samples=1)
            longer_s.append(time.perf_counter() - began_s)
    sent = run.summary().events_by_type
    assert sent["HardwareSampled"] > 5
    assert (sent["StepCompleted"] == 200) is (steps_an_epoch == 1)
    assert statistics.median(longer_s) < _NO_TIME_S


class _HangingMeter(ReplayMeter):
    """A driver that answers when it is let, or after some seconds."""

    def __init__(self) -> None:
        super().__init__([60.0])
        self.asked, self.let, self.answered = threading.Event(), threading.Event(), threading.Event()

    def read(self, at_s: float) -> list[Reading]:
        self.asked.set()
        self.let.wait(10)
        self.answered.set()
        return super().read(at_s)


def test_a_step_does_not_wait_for_a_meter() -> None:
    """However long a driver takes to answer, the training goes on meanwhile."""
    meter = _HangingMeter()
    with wattline.track(meters=[meter], publisher=MemoryPublisher(), emit_interval_s=0.1) as run:
        assert meter.asked.wait(20)
        run.step(step=1, loss=0.5)
        was_sooner = not meter.answered.is_set()
        meter.let.set()
    assert was_sooner
