"""Signals that ask a command to end: handlers raise, so that it cleans up, and the group reports the exit code.

Handlers are replaced by `bbcodec.signal_handlers`, which workers use too.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

from bbcodec.signal_handlers import POSIX, STOP_SIGNALS, replaced_handlers

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALLED: Final = 128  # plus the number of the signal: the exit code, as in shells
BROKEN_PIPE: Final = SIGNALLED + 13  # SIGPIPE, which Windows lacks
AGAIN_SECONDS: Final = 0.05  # after which an interrupt that was lost is raised again


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP ends the command as Ctrl-C does, and leaves nothing behind."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Stopped(Exception):
    """A command was stopped from outside. No KeyboardInterrupt, which click would turn into its own Abort."""

    def __init__(self, message: str, exit_code: int) -> None:
        """An empty message is not printed."""
        super().__init__(message)
        self.exit_code = exit_code


class StopSignals:
    """The stop signals received while `handled` runs, in order."""

    def __init__(self) -> None:
        self.received: list[int] = []

    @contextmanager
    def handled(self) -> Iterator[None]:
        """SIGINT raises KeyboardInterrupt; SIGTERM and SIGHUP raise Terminated, once. Custom handlers stay."""
        defaults = (signal.SIG_DFL, signal.default_int_handler)
        numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) in defaults]
        with replaced_handlers(numbers, self._receive), self._raised_again():
            yield

    @contextmanager
    def _raised_again(self) -> Iterator[None]:
        """An interrupt that Python drops, as all that `__del__` and callbacks of C code raise, comes again by an alarm.

        Without it, work that waits for others would wait on.
        """
        earlier = sys.unraisablehook

        def hear(dropped: UnraisableHookArgs) -> None:
            if not (POSIX and self.received and isinstance(dropped.exc_value, KeyboardInterrupt)):
                earlier(dropped)
                return
            signal.signal(self.received[-1], self._receive)  # which it ignores, if it is not SIGINT
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)

        alarms = [signal.SIGALRM] if POSIX else []
        with replaced_handlers(alarms, lambda *_: signal.raise_signal(self.received[-1])):
            sys.unraisablehook = hear
            try:
                yield
            finally:
                sys.unraisablehook = earlier
                if self.received and POSIX:
                    signal.setitimer(signal.ITIMER_REAL, 0)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received.append(number)
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the clean-up
        self.check()

    def check(self) -> None:
        """Raise the interrupt for the last signal received, if any.

        Exceptions raised by a handler are lost where compiled code calls back into Python, and not always heard of
        (`_raised_again`); long work checks again.
        """
        if self.received:
            number = self.received[-1]
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)

    def stop_behind(self, error: BaseException) -> Stopped | None:
        """Word and exit code of the interrupt that an error is, or that it follows from; None for any other error.

        Work whose interrupt was lost (see `check`) often fails with another error.
        """
        if isinstance(error, Stopped):
            return error
        if isinstance(error, KeyboardInterrupt):
            number = error.number if isinstance(error, Terminated) else int(signal.SIGINT)
        elif self.received:
            number = self.received[-1]
        else:
            return None
        return Stopped("interrupted" if number == signal.SIGINT else "terminated", SIGNALLED + number)
