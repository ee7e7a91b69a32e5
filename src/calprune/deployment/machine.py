"""What times were taken on, and how much of the machine other programs took meanwhile."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

NOISY = 0.1  # of the cores: from here on times say more about the other programs


def processor() -> str:
    """The processor's name as the system has it."""
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        first = cpuinfo.read_text().split("\n\n")[0].splitlines()
        named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)}
        found = [named[key] for key in ("model name", "cpu family", "model") if named.get(key)]
        if found:
            return found[0] + (f" (family {found[1]}, model {found[2]})" if len(found) == 3 else "")
    return platform.processor() or platform.machine()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resident(peak: bool = False) -> int | None:
    """Bytes of memory that this process holds, or held at most since `forget_peak`. None: the system does not say."""
    if not (status := Path("/proc/self/status")).exists():
        return None
    lines: Mapping[str, str] = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    found = lines.get("VmHWM" if peak else "VmRSS")
    return int(found.split()[0]) * 1024 if found else None


def forget_peak() -> bool:
    """From now on `resident(peak=True)` is of what follows. False: the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


class Others:
    """How busy other programs keep the cores from now on."""

    def __init__(self) -> None:
        self.began, self.busy = time.monotonic(), _busy()

    def share(self, own: float) -> float | None:
        """Of all cores, the share that others took since; `own`: seconds of processor time that were ours. None: the
        system does not say."""
        now, seconds = _busy(), time.monotonic() - self.began
        if now is None or self.busy is None or not seconds:
            return None
        return max(0.0, (now - self.busy - own) / (seconds * (os.cpu_count() or 1)))


def _busy() -> float | None:
    """Seconds that the machine's cores worked, all together, since it was started."""
    if not (stat := Path("/proc/stat")).exists():
        return None
    user, nice, system, _, _, *interrupts = (int(n) for n in stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
