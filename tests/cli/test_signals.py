"""Signals become exceptions, and those an exit code, even where the exception is lost on its way."""

import contextlib
import signal
import sys
import threading

import pytest

from bbcodec.cli.signals import Stopped, StopSignals, Terminated


@pytest.fixture
def defaults():
    """Handlers as a process has them at its start."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield usual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "interrupt"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated), (signal.SIGHUP, Terminated)],
)
def test_a_signal_raises_and_is_remembered(defaults, number, interrupt):
    signals = StopSignals()
    with pytest.raises(interrupt), signals.handled():
        signal.raise_signal(number)
    assert signals.received == [number]
    assert {number: signal.getsignal(number) for number in defaults} == defaults
    with pytest.raises(interrupt):
        signals.check()


def test_a_second_signal_does_not_disturb_the_clean_up(defaults):
    signals = StopSignals()
    with signals.handled():
        with contextlib.suppress(Terminated):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert signals.received == [signal.SIGTERM]


def test_custom_handlers_stay(defaults):
    found = []
    signal.signal(signal.SIGTERM, lambda number, _: found.append(number))
    signals = StopSignals()
    with signals.handled():
        signal.raise_signal(signal.SIGTERM)
    assert (found, signals.received) == ([signal.SIGTERM], [])


class Raising:
    """Python drops whatever its end raises."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)
        raise AssertionError("the handler raises first")


@pytest.mark.parametrize("losses", [1, 3])
@pytest.mark.parametrize(("number", "interrupt"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_an_interrupt_that_was_dropped_ends_a_wait(defaults, number, interrupt, losses):
    signals, hook = StopSignals(), sys.unraisablehook

    def work():
        with signals.handled():
            for _ in range(losses):
                Raising(number)
            threading.Event().wait(10)

    with pytest.raises(interrupt):
        work()
    assert set(signals.received) == {number}
    assert sys.unraisablehook is hook
    assert {number: signal.getsignal(number) for number in defaults} == defaults
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_dropped_interrupt_ends_no_clean_up_twice(defaults):
    signals = StopSignals()
    with signals.handled():
        Raising(signal.SIGTERM)
        with pytest.raises(Terminated):
            threading.Event().wait(10)
        signal.raise_signal(signal.SIGTERM)
        threading.Event().wait(0.2)


def test_work_that_ends_before_a_dropped_interrupt_comes_again_ends_well(defaults):
    with StopSignals().handled():
        Raising(signal.SIGTERM)
    threading.Event().wait(0.2)


def test_other_errors_that_are_dropped_are_told_as_before(defaults, monkeypatch):
    class Failing:
        def __del__(self):
            raise ZeroDivisionError

    told = []
    monkeypatch.setattr("sys.unraisablehook", lambda dropped: told.append(dropped.exc_type))
    with StopSignals().handled():
        Failing()
    assert told == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("error", "received", "told"),
    [
        (KeyboardInterrupt(), [], ("interrupted", 130)),
        (Terminated(signal.SIGTERM), [signal.SIGTERM], ("terminated", 143)),
        (Terminated(signal.SIGHUP), [signal.SIGHUP], ("terminated", 129)),
        (RuntimeError("no compiled object yet"), [signal.SIGTERM], ("terminated", 143)),
        (RuntimeError("no compiled object yet"), [signal.SIGINT], ("interrupted", 130)),
        (Stopped("terminated: continue", 143), [signal.SIGTERM], ("terminated: continue", 143)),
    ],
)
def test_an_interrupt_has_a_word_and_an_exit_code(error, received, told):
    signals = StopSignals()
    signals.received += received
    stop = signals.stop_behind(error)
    assert (str(stop), stop.exit_code) == told


def test_other_errors_are_no_interrupts():
    signals = StopSignals()
    assert signals.stop_behind(RuntimeError()) is None
    signals.check()
