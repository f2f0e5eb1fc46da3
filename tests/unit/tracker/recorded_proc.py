"""A /proc on disk, as the kernel writes it, with the processes that a test puts there."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["CPUINFO_EPYC_3", "TICKS_PER_S", "RecordedProc"]

TICKS_PER_S = 100

CPUINFO_EPYC_3 = """\
processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 1
model name	: AMD EPYC 7B13
stepping	: 1
flags		: fpu vme

processor	: 1
vendor_id	: AuthenticAMD
model		: 99
"""

_STAT = (
    "{pid} ({name}) R {parent} 9481 5858 0 -1 4194304 96 0 0 0 {user} {system} {child_user} {child_system} "
    "20 0 1 0 {started} 3133440 {pages} 18446744073709551615 94086166618112 94086166637993 140736385661344 "
    "0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 94086166654000 94086166655616 94086213787648 140736385665723 "
    "140736385665743 140736385665743 140736385667051 0\n"
)


class RecordedProc:
    """Writes the files that `ProcHost` reads."""

    def __init__(self, root: Path, cpus: int = 2, memory_kb: int = 8_000_000) -> None:
        self.root = root
        self._cpus = cpus
        (root / "meminfo").write_text(f"MemTotal:       {memory_kb} kB\nMemFree:  1 kB\n", encoding="ascii")
        self.cpu()

    def cpu(self, *, user: int = 0, system: int = 0, idle: int = 0, iowait: int = 0, steal: int = 0) -> None:
        """Write the counters of all CPUs, in ticks."""
        total = f"cpu  {user} 0 {system} {idle} {iowait} 0 0 {steal} 0 0\n"
        each = "".join(f"cpu{n} 0 0 0 0 0 0 0 0 0 0\n" for n in range(self._cpus))
        (self.root / "stat").write_text(f"{total}{each}intr 5 0 0\nctxt 7\n", encoding="ascii")

    def process(
        self, pid: int, parent: int, *, own: int = 0, waited: int = 0, pages: int = 0, started: int = 1
    ) -> None:
        """Write a process: CPU ticks of its own and of children it waited for, and its resident pages."""
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        text = _STAT.format(
            pid=pid,
            name="a (nasty) name",
            parent=parent,
            user=own // 2,
            system=own - own // 2,
            child_user=waited,
            child_system=0,
            pages=pages,
            started=started,
        )
        (folder / "stat").write_text(text, encoding="ascii")

    def gone(self, pid: int) -> None:
        """Remove a process."""
        shutil.rmtree(self.root / str(pid))
