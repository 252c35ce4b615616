"""As many BLAS threads as the container has CPUs: more of them only throttle one another under a CPU quota."""

from __future__ import annotations

from typing import Any


def cpu_quota() -> int | None:
    """Return the whole CPUs that the control group grants (at least 1), or None where there is no quota.

    ``os.cpu_count()`` says the host's number under a quota, so the kernel's own files are read: version 2's one file,
    or version 1's two.
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
        granted = int(quota) // int(period)
    except (ValueError, ZeroDivisionError):
        return None  # version 2 writes "max" for no quota
    return max(granted, 1) if int(quota) > 0 else None  # version 1 writes -1


def with_few_threads(work: Any, *arguments: Any) -> Any:
    """Return ``work(*arguments)``, run with BLAS held to the quota where the image has threadpoolctl."""
    quota = cpu_quota()
    if quota is None:
        return work(*arguments)
    try:
        import threadpoolctl
    except ImportError:
        return work(*arguments)
    with threadpoolctl.threadpool_limits(limits=quota, user_api="blas"):
        return work(*arguments)
