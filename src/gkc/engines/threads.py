"""How many threads a computation may use here."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPU_FOLDER = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_OLD_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cores() -> int:
    """The physical cores this process may run on, a container's quota respected; at least 1."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # only Linux has it
        allowed = set(range(os.cpu_count() or 1))
    cores = {_siblings(cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """What names the physical core of a logical one: two hyperthreads give the same text."""
    try:
        return (_CPU_FOLDER / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """The whole cores a control group grants, a huge number if there is no limit."""
    try:
        quota, period = _QUOTA.read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (path.read_text().strip() for path in _OLD_QUOTA)
        except OSError:
            return 1 << 16
    if not quota.isdigit() or not int(period):  # "max", or -1 under the old scheme
        return 1 << 16
    return math.ceil(int(quota) / int(period))
