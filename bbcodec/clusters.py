"""Clusters whose workers code: Dask's and Ray's, as executors of `concurrent.futures`."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bbcodec.errors import NEEDS_PACKAGE, BBCodecError, MissingPackage
from bbcodec.remote import one_line
from bbcodec.signal_handlers import kept_handlers

CLUSTERS: Final = ("dask", "ray")
WAIT_SECONDS: Final = 20  # for the scheduler, and for its first worker
LARGE_TASK: Final = "1GB"  # above which Dask warns: a tile of a large image brings its pixels


@dataclass(frozen=True)
class Cluster:
    """An executor whose tasks the workers of a cluster do, so many at a time."""

    executor: Executor
    workers: int


@contextmanager
def cluster(kind: str, address: str | None = None) -> Iterator[Cluster]:
    """A cluster in use while the body runs; its workers need the same version of bbcodec.

    kind: `dask` or `ray`. address: of Dask's scheduler, such as `tcp://host:8786`, or of Ray's head, `host:6379`; for
    Ray, None is the cluster that this machine belongs to, or a new one here that ends with the body. Raises
    MissingPackage, or BBCodecError where there is no such cluster, or no worker in it.
    """
    try:
        with _dask(address) if kind == "dask" else _ray(address) as connected:
            yield connected
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ("dask", "distributed", "ray"):
            raise
        raise MissingPackage(f"{kind} {NEEDS_PACKAGE} {error.name}: pip install bbcodec[{kind}]") from None


@contextmanager
def _dask(address: str | None) -> Iterator[Cluster]:
    import dask
    from distributed import Client

    if address is None:
        raise BBCodecError("dask: the address of its scheduler was not given")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is wrong is told by errors
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGE_TASK}):
        try:
            client = Client(address, timeout=WAIT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BBCodecError(f"there is no Dask scheduler at {address}: {one_line(error)}") from None
        with client:
            try:
                client.wait_for_workers(1, WAIT_SECONDS)
            except TimeoutError:
                raise BBCodecError(f"the Dask scheduler at {address} has no workers") from None
            threads = sum(client.nthreads().values())
            yield Cluster(client.get_executor(pure=False), threads)  # pure: a task that failed would not be done again


@contextmanager
def _ray(address: str | None) -> Iterator[Cluster]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    import ray

    with kept_handlers():
        try:
            _knock(address)
            ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            raise BBCodecError(f"there is no Ray cluster at {address or 'this machine'}: {one_line(error)}") from None
    try:
        yield Cluster(RayExecutor(), max(1, int(ray.cluster_resources().get("CPU", 1))))
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise OSError if nobody listens at `host:port`: Ray would try for minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), WAIT_SECONDS).close()


class RayExecutor(Executor):
    """Ray's tasks as futures of `concurrent.futures`, each on one core, between `ray.init` and `ray.shutdown`."""

    def __init__(self) -> None:
        """Tell Ray what its workers call."""
        import ray

        self._cancel, self._call = ray.cancel, ray.remote(_call)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """A call of `function` on some worker; one that is cancelled is not begun any more."""
        reference = self._call.remote(function, *arguments, **named)
        future: Future[Any] = reference.future()
        future.add_done_callback(lambda done: self._cancel(reference) if done.cancelled() else None)
        return future


def _call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return function(*arguments, **named)
