"""Limit the BLAS threads to the CPUs of the container.

Under a CPU quota more threads are slower: they use up the quota of a period early, and then all of them wait.
"""

from __future__ import annotations

from typing import Any


def read_cpu_quota() -> int | None:
    """Return the number of CPUs in the quota of the control group, rounded down but at least 1; None without a quota.

    ``os.cpu_count()`` ignores quotas, so the kernel's files are read: one file of version 2
    (https://docs.kernel.org/admin-guide/cgroup-v2.html), or two of version 1.
    """
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:
                quota = file.read()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                period = file.read()
        except OSError:
            return None
    try:
        cpus = int(quota) // int(period)
    except (ValueError, ZeroDivisionError):
        return None  # version 2 has "max" if there is no quota
    return max(cpus, 1) if int(quota) > 0 else None  # version 1 has -1 if there is no quota


def run_with_thread_limit(function: Any, *arguments: Any) -> Any:
    """Return ``function(*arguments)``, run with the limit on BLAS threads if the image has threadpoolctl."""
    quota = read_cpu_quota()
    if quota is None:
        return function(*arguments)
    try:
        import threadpoolctl
    except ImportError:
        return function(*arguments)
    with threadpoolctl.threadpool_limits(limits=quota, user_api="blas"):
        return function(*arguments)
