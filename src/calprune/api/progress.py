"""Progress for people who call functions: bars in a terminal and in a notebook, nothing where nobody watches."""

import sys
from contextlib import AbstractContextManager

from calprune.base.progress import SILENT, Bars, Progress, showing

ProgressLike = bool | Progress  # True: bars, or lines where none can be drawn; False: nothing


def shown(progress: ProgressLike | None) -> AbstractContextManager[None]:
    """Inside the block, work reports to this; None: bars where somebody watches."""
    if isinstance(progress, Progress):
        return showing(progress)
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return showing(Bars() if progress or (progress is None and watched) else SILENT)
