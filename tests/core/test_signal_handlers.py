"""Handlers are replaced for a while, and signals that come while they must not are answered afterwards."""

import signal
import threading

import pytest

from bbcodec.signal_handlers import POSIX, STOP_SIGNALS, deferred_stop_signals, replaced_handlers


@pytest.fixture
def received():
    """The stop signals that handlers of the caller's own have received."""
    found = []
    before = {number: signal.signal(number, lambda number, _: found.append(number)) for number in STOP_SIGNALS}
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_stop_signals_are_those_of_terminals_and_of_kill():
    assert {signal.SIGINT, signal.SIGTERM} <= set(STOP_SIGNALS)


def test_handlers_return_after_the_body(received):
    inside = []

    def body():
        with replaced_handlers([signal.SIGTERM], lambda number, _: inside.append(number)):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    signal.raise_signal(signal.SIGTERM)
    assert inside == [signal.SIGTERM]
    assert received == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_deferred_signals_are_answered_after_the_body(received, error):
    def body():
        with deferred_stop_signals():
            for number in STOP_SIGNALS:
                signal.raise_signal(number)
            assert received == []
            if error:
                raise error

    if error:
        with pytest.raises(error):
            body()
    else:
        body()
    assert sorted(received) == sorted(STOP_SIGNALS)


def test_an_ignored_signal_stays_ignored(received):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with deferred_stop_signals():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.skipif(not POSIX, reason="signals cannot be blocked here")
def test_children_started_meanwhile_are_deaf_to_ctrl_c():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with deferred_stop_signals():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_other_threads_change_no_handlers(received):
    """Python refuses to set handlers there."""
    errors = []

    def work():
        try:
            with deferred_stop_signals():
                pass
        except ValueError as error:
            errors.append(error)

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []
    assert signal.getsignal(signal.SIGTERM) is handler
