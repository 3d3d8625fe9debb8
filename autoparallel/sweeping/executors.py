"""Who searches the cells: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec

from autoparallel.errors import SweepError
from autoparallel.sweeping.task import solve

# A cell, and its answer or why there is none.
Answer = tuple[str, str | BaseException]
CONNECT_S = 10
# How often Dask runs a cell again that raised; a cell whose worker died it runs again by itself.
RETRIES = 2


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_here(tasks: Mapping[str, str], processes: int) -> Iterator[Answer]:
    """Solve tasks in processes of this machine, in the order in which they end.

    Raises
    ------
    SweepError
        A process was killed.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_quietly)
    before = set(multiprocessing.active_children())
    try:
        futures = {pool.submit(solve, text): name for name, text in tasks.items()}
        for future in as_completed(futures):
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise SweepError("a process of the sweep was killed, perhaps for its memory") from None
            yield futures[future], error or future.result()
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise


def _end_quietly() -> None:
    """Ctrl-C reaches every process of the terminal: these end without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_on_cluster(tasks: Mapping[str, str], address: str) -> Iterator[Answer]:
    """Solve tasks on the workers of a Dask scheduler, which also cares for those that die.

    Raises
    ------
    SweepError
        Dask is not installed, no scheduler answers, or it went away.
    """
    if find_spec("distributed") is None:
        raise SweepError("a cluster needs distributed: pip install 'autoparallel[sweep]' brings it")
    import distributed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        # A client that cannot connect leaves a thread behind that complains at the end of the program.
        # In a thread of its own, as the caller may have a running loop: notebooks do.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _reach(address)).result()
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except MemoryError:
        raise SweepError(f"what answers at {address} is no Dask scheduler") from None
    except (OSError, ValueError, TypeError) as error:
        raise SweepError(
            f"no Dask scheduler answers at {address}: {_first_line(error)}; "
            "start one with dask scheduler, and name its address, such as tcp://host:8786"
        ) from None
    with client:
        names = list(tasks)
        # Dask would take equal keys of an earlier sweep for the same work: they are.
        futures = client.map(solve, list(tasks.values()), key=names, retries=RETRIES)
        called = dict(zip((future.key for future in futures), names, strict=True))
        for future in distributed.as_completed(futures, loop=client.loop):
            if future.status == "cancelled":
                raise SweepError(f"the Dask scheduler at {address} went away")
            failure = future.exception()
            yield called[future.key], failure or future.result()


async def _reach(address: str) -> None:
    """Connect once.

    Raises
    ------
    MemoryError
        Something answers that speaks another protocol, of which Dask takes the first bytes for a size.
    OSError, ValueError, TypeError
        Nothing answers, or it is no address.
    """
    from distributed.comm.core import connect

    comm = await connect(address, timeout=CONNECT_S)
    await comm.close()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
