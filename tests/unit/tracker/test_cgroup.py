"""Limits and use of control groups, of both versions, from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wattline.meters.cgroup import Cgroup, CgroupUse, own_cgroup
from wattline.meters.cpu import allocated_cpus


def _files(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n", encoding="ascii")


def _own(tmp_path: Path, listing: str) -> Cgroup:
    (tmp_path / "cgroup").write_text(listing, encoding="ascii")
    return own_cgroup(tmp_path / "cgroup", tmp_path / "fs")


def test_the_least_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    """Version 2: a job's step inherits what its job may use."""
    _files(tmp_path / "fs/job", cpu__max="50000 100000", memory__max="1000000", memory__current="900000")
    _files(tmp_path / "fs/job/step", cpu__max="max 100000", memory__max="max", memory__current="400000")
    cgroup = _own(tmp_path, "0::/job/step\n")
    assert (cgroup.cpu_limit(), cgroup.memory_limit_bytes()) == (0.5, 1_000_000)
    assert cgroup.memory_bytes() == 900_000
    assert allocated_cpus(cgroup) == 0.5


def test_version_1_has_its_own_files(tmp_path: Path) -> None:
    """A quota of -1 and a limit near 2**63 are none."""
    _files(tmp_path / "fs/cpu/job", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    _files(tmp_path / "fs/cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    _files(tmp_path / "fs/memory/job", memory__limit_in_bytes="9223372036854771712")
    _files(tmp_path / "fs/cpuacct/job", cpuacct__usage="2500000000")
    cgroup = _own(tmp_path, "4:memory:/job\n2:cpuacct:/job\n1:cpu:/job\n0::/\n")
    assert (cgroup.cpu_limit(), cgroup.memory_limit_bytes(), cgroup.memory_bytes()) == (1.5, None, None)
    assert cgroup.cpu_s() == 2.5


def test_no_groups_and_rubbish_are_no_limit(tmp_path: Path) -> None:
    """What cannot be read limits nothing."""
    _files(tmp_path / "fs", cpu__max="rubbish", memory__max="")
    assert _own(tmp_path, "0::/\n").cpu_limit() is None
    nothing = own_cgroup(tmp_path / "nothing", tmp_path / "nowhere")
    assert (nothing.cpu_limit(), nothing.memory_limit_bytes(), nothing.cpu_s()) == (None, None, None)
    assert allocated_cpus(nothing) >= 1


def test_a_groups_use_counts_from_the_start(tmp_path: Path) -> None:
    """CPU seconds since then, never falling, and the group's memory, also while a file is away."""
    folder = tmp_path / "fs"
    _files(folder, cpu__max="max 100000", cpu__stat="usage_usec 5000000\nuser_usec 1", memory__current="4096")
    use = CgroupUse(_own(tmp_path, "0::/\n"))
    _files(folder, cpu__stat="usage_usec 7500000\nuser_usec 1")
    assert (use.at(1.0).cpu_s, use.at(1.0).rss_bytes) == (2.5, 4096)
    (folder / "cpu.stat").unlink()
    assert use.at(2.0).cpu_s == 2.5


def test_the_host_is_no_group(tmp_path: Path) -> None:
    """The top group of all would charge the run for everybody, so it is refused."""
    _files(tmp_path / "fs", cpu__stat="usage_usec 5000000")
    with pytest.raises(OSError, match="the host"):
        CgroupUse(_own(tmp_path, "0::/\n"))
    _files(tmp_path / "fs/cpuacct", cpuacct__usage="1", release_agent="")
    with pytest.raises(OSError, match="the host"):
        CgroupUse(_own(tmp_path, "2:cpuacct:/\n"))
