"""A call that stops in its middle and goes on later, whatever code it runs.

Python's own coroutines stop only where each function on the way says so, and a model's code does not. So the call has a
thread of its own, of which one at a time runs: who makes it go on waits until it pauses or ends.
"""

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from calprune.base.values import UserError

T = TypeVar("T")


class _Stopped(BaseException):
    """Raised where a call paused that is not to go on. No `except Exception` of a model's code catches it."""


class Pausing(Generic[T]):
    """A call in a thread of its own; `result` is what it gave, once it has ended."""

    def __init__(self, call: Callable[[], T]) -> None:
        self.result: T | None = None
        self._call = call
        self._error: BaseException | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._paused = self._stopping = False
        # what torch and we keep for each thread is as it is here
        self._grad, self._inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), daemon=True, name="calprune batch")

    def go_on(self) -> bool:
        """Run it until it pauses (True) or has ended (False). Raises what it raised."""
        if self._thread.ident is None:
            try:
                self._thread.start()
            except RuntimeError as e:  # the system gives no more threads
                raise UserError(f"each batch has a thread, and there are no more ({e}): larger batches are fewer; give "
                                "a larger --batch-size") from None  # fmt: skip
        self._go.release()
        self._back.acquire()
        if self._error is not None:
            raise self._error
        return self._paused

    def pause(self) -> None:
        """Stop here until it is made to go on. To be called inside the call."""
        if not self._stopping:  # else it was ended before and did not take it
            self._paused = True
            self._back.release()
            self._go.acquire()
        if self._stopping:
            raise _Stopped

    def stop(self) -> None:
        """End it where it is paused, or at its next pause; it unwinds as at an error. Nothing where it has ended."""
        self._stopping = True
        if self._thread.ident is not None and self._thread.is_alive():
            self._go.release()
            self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            with torch.inference_mode(self._inference), torch.set_grad_enabled(self._grad):
                if not self._stopping:
                    self.result = self._call()
        except _Stopped:
            pass
        except BaseException as e:  # whatever it is, who waits has it
            self._error = e
        finally:
            self._paused = False
            self._back.release()
