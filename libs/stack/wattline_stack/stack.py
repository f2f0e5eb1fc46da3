"""Starts, stops and describes the embedded servers of one data folder: for the command, the demo and the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial

import psutil

from wattline_common.errors import ResourceError
from wattline_stack.archive import class_archives
from wattline_stack.checks import require_disk, require_memory
from wattline_stack.endpoints import Endpoints
from wattline_stack.jvm.bundle import Bundle, provision
from wattline_stack.jvm.java import spark_java_home
from wattline_stack.locks import exclusive
from wattline_stack.ports import Ports, keep_ports, require_free
from wattline_stack.processes import ProcessRecord, ProcessTable, spawn
from wattline_stack.progress import ProgressView, SilentProgress
from wattline_stack.servers import KafkaServer, RegistryServer, Server, StoreServer
from wattline_stack.settings import StackSettings
from wattline_stack.status import ServerStatus, folder_bytes
from wattline_stack.waiting import CancelledError, wait_until_ready

__all__ = ["Stack"]

KILL_TIMEOUT_S = 10.0
KINDS: tuple[type[Server], ...] = (KafkaServer, RegistryServer, StoreServer)


class Stack:
    """The servers of one data folder. They outlive this object, and a second one finds them again."""

    def __init__(self, settings: StackSettings) -> None:
        self.settings = settings
        self._table = ProcessTable(settings.data_dir)
        self._table_lock = threading.Lock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._external = {
            KafkaServer.name: settings.kafka_bootstrap_servers,
            RegistryServer.name: settings.schema_registry_url,
            StoreServer.name: settings.mongodb_uri,
        }

    def start(self, progress: ProgressView | None = None) -> Endpoints:
        """Start what does not run yet, in parallel, and return when all of it answers.

        Raises `ResourceError` naming what is lacking; then, as after Ctrl-C, everything this call started is stopped.
        """
        view = progress or SilentProgress()
        bundle = self.provision(view)
        data_dir = self.settings.data_dir
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds everybody's runs, and logs
        with exclusive(data_dir / "lock", view, f"starting or stopping the servers of {data_dir}"):
            running = self._table.running()
            missing = [server for server in self._servers(bundle) if server.name not in running]
            self._check(missing)
            self._start_all(missing, bundle, view)
            for server in self._servers(bundle):
                if server.name in running:
                    wait_until_ready(server, partial(_exit_code, running[server.name]), self.settings.start_timeout_s)
        return self._endpoints(bundle)

    def stop(self, progress: ProgressView | None = None) -> list[str]:
        """Stop all servers by SIGTERM, by SIGKILL after the deadline; return the names of those stopped."""
        view = progress or SilentProgress()
        if not self.settings.data_dir.exists():
            return []
        with exclusive(self.settings.data_dir / "lock", view, "starting or stopping the servers"):
            running = self._table.running()
            names = {kind.name for kind in KINDS}
            # First whatever else was started on this folder: it is a client of the servers.
            self._terminate({name: process for name, process in running.items() if name not in names}, view)
            self._terminate({name: process for name, process in running.items() if name in names}, view)
        return list(running)

    def kill(self, name: str) -> None:
        """End one server by SIGKILL, as a crash would; return when it is gone."""
        process = self._table.running().get(name)
        if process is None:
            raise ResourceError(f"{name} does not run, so it cannot be killed")
        process.kill()
        self._wait_gone([process], KILL_TIMEOUT_S)
        self._record(name, None)

    def restart(self, name: str) -> None:
        """Stop one server, when it still runs, and start it again on the same ports and data."""
        silent = SilentProgress()
        bundle = self.provision(silent)
        with exclusive(self.settings.data_dir / "lock", silent, "starting or stopping the servers"):
            running = self._table.running()
            self._terminate({key: process for key, process in running.items() if key == name}, silent)
            servers = [server for server in self._servers(bundle) if server.name == name]
            self._check(servers)
            self._start_all(servers, bundle, silent)

    def status(self) -> list[ServerStatus]:
        """Describe every server; starts and downloads nothing."""
        running = self._table.running()
        ports = keep_ports(self.settings.data_dir, ()) if self.settings.data_dir.exists() else {}
        return [self._describe(kind, ports, running.get(kind.name)) for kind in KINDS]

    def endpoints(self) -> Endpoints:
        """Return where everything is; raise `ResourceError` when something does not run."""
        stopped = [each.name for each in self.status() if each.state == "stopped"]
        if stopped:
            raise ResourceError(f"not running: {', '.join(stopped)}. Start it by: python -m wattline_stack up")
        return self._endpoints(self.provision(SilentProgress()))

    def provision(self, progress: ProgressView) -> Bundle:
        """Fetch and compile what is not there yet, and nothing else."""
        bundle = provision(self.settings.cache_dir, self.settings.jar_repository, progress)
        class_archives(self._own_kinds(), bundle, self.settings, progress)
        return bundle

    def _servers(self, bundle: Bundle) -> list[Server]:
        kinds = self._own_kinds()
        ports = keep_ports(self.settings.data_dir, [name for kind in kinds for name in kind.port_names])
        archives = class_archives(kinds, bundle, self.settings, SilentProgress())
        return [kind(self.settings, ports, archives[kind.name]) for kind in kinds]

    def _own_kinds(self) -> list[type[Server]]:
        return [kind for kind in KINDS if not self._external[kind.name]]

    def _check(self, servers: Sequence[Server]) -> None:
        if servers:
            for server in servers:
                require_free(self.settings.data_dir, {name: server.ports[name] for name in server.port_names})
            require_memory(servers)
            require_disk(self.settings.data_dir)

    def _start_all(self, servers: Sequence[Server], bundle: Bundle, progress: ProgressView) -> None:
        cancel = threading.Event()
        with ThreadPoolExecutor(max_workers=len(KINDS), thread_name_prefix="start") as pool:
            futures = [pool.submit(self._start_one, server, bundle, progress, cancel) for server in servers]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                cancel.set()  # of no effect unless one failed
                wait(futures)
                _raise_first(futures)
            except BaseException:  # Ctrl-C too: what this call began, it ends
                cancel.set()
                wait(futures)
                names = {server.name for server in servers}
                self._terminate({key: each for key, each in self._table.running().items() if key in names}, progress)
                raise

    def _start_one(self, server: Server, bundle: Bundle, progress: ProgressView, cancel: threading.Event) -> None:
        with progress.task(f"starting {server.title}"):
            server.prepare(bundle)
            if cancel.is_set():
                return
            child, record = spawn(server.command(bundle), server.folder, server.output)
            self._children[child.pid] = child
            self._record(server.name, record)
            wait_until_ready(server, child.poll, self.settings.start_timeout_s, cancel)

    def _record(self, name: str, record: ProcessRecord | None) -> None:
        with self._table_lock:
            self._table.put(name, record)

    def _terminate(self, running: dict[str, psutil.Process], progress: ProgressView) -> None:
        if not running:
            return
        timeout_s = self.settings.stop_timeout_s
        with progress.task(f"stopping {', '.join(running)}"):
            for process in running.values():
                _signal(process, signal.SIGTERM)
            for process in self._wait_gone(list(running.values()), timeout_s):
                progress.say(f"process {process.pid} did not end within {timeout_s:g} s of SIGTERM: killing it")
                _signal(process, signal.SIGKILL)
                self._wait_gone([process], max(timeout_s, KILL_TIMEOUT_S))
        for name in running:
            self._record(name, None)

    def _wait_gone(self, processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
        _, alive = psutil.wait_procs(processes, timeout=timeout_s)
        for process in processes:
            child = self._children.get(process.pid)
            if child is not None:
                child.poll()
        return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def _describe(self, kind: type[Server], ports: Ports, process: psutil.Process | None) -> ServerStatus:
        if self._external[kind.name]:
            return ServerStatus(name=kind.name, state="external", endpoint=self._external[kind.name])
        known = all(name in ports for name in kind.port_names)
        server = kind(self.settings, ports)
        state = "stopped" if process is None else "running" if server.is_ready() else "starting"
        return ServerStatus(
            name=kind.name,
            state=state,
            endpoint=server.endpoint if known else "",
            pid=process.pid if process else None,
            rss_bytes=process.memory_info().rss if process else None,
            data_bytes=folder_bytes(server.folder),
            log=server.log,
        )

    def _endpoints(self, bundle: Bundle) -> Endpoints:
        chosen = {server.name: server.endpoint for server in self._servers(bundle)}
        chosen |= {name: endpoint for name, endpoint in self._external.items() if endpoint}
        return Endpoints(
            kafka_bootstrap_servers=chosen[KafkaServer.name],
            schema_registry_url=chosen[RegistryServer.name],
            mongodb_uri=chosen[StoreServer.name],
            java_home=spark_java_home(self.settings.cache_dir, bundle.java),
            spark_jars=bundle.jars("spark"),
        )


def _raise_first(futures: Sequence[Future[None]]) -> None:
    """Raise what went wrong first: a cancelled wait is only its consequence."""
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in sorted(errors, key=lambda each: isinstance(each, CancelledError)):
        raise error


def _exit_code(process: psutil.Process) -> int | None:
    """Return nothing while somebody else's child lives; how it ended cannot be known."""
    return None if process.is_running() and process.status() != psutil.STATUS_ZOMBIE else -1


def _signal(process: psutil.Process, number: int) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
