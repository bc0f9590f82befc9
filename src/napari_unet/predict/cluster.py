"""Prediction into a store by the workers of a dask.distributed cluster, on this computer or on others.

The workers read tiles from the image and write them to the store themselves, so both must lie where all of them see
them under the same path. The network goes to each worker once, as safetensors; of a worker that is lost, the tiles are
done again by the others.

dask.distributed packs its own messages with pickle, and a worker runs what its scheduler sends: use only a cluster
whose computers and network are trusted.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch

import napari_unet
from napari_unet.data.tile_array import Index
from napari_unet.errors import InputError, ProcessLostError
from napari_unet.nets.registry import SegmentationModel
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.tile_store import TileStore

__all__ = ["open_cluster", "predict_on_cluster"]

_PATIENCE_SECONDS = 60.0  # without any worker
_POLL_SECONDS = 0.1
_CONNECT_SECONDS = 15.0


@contextmanager
def open_cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """Connect to a cluster, or start one on this computer that ends with the block.

    Parameters
    ----------
    scheduler : str or None
        Address of the scheduler of a running cluster, as ``tcp://10.0.0.5:8786``.
    workers : int or None
        Where no scheduler is given: worker processes to start; they share the processor's cores.

    Yields
    ------
    distributed.Client
        For `napari_unet.predict_to_store`.

    Raises
    ------
    InputError
        If dask.distributed is not installed, or no scheduler answers at that address.
    """
    distributed = _import_distributed()
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"No scheduler of dask.distributed answers at {scheduler}; check the address.") from error
        with client:
            yield client
        return
    count = workers or 1
    threads = max(1, (os.cpu_count() or 1) // count)
    with (
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=threads, processes=True, memory_limit=0, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            'dask.distributed is not installed; install it with: pip install "napari-unet[distributed]".'
        ) from error
    return distributed


def predict_on_cluster(
    client: Any,
    model: SegmentationModel,
    image: Any,
    store: TileStore,
    tiles: Iterable[Index],
    config: PredictConfig,
    should_stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[Index, tuple[str, ...]]]:
    """Have tiles predicted and written by the workers of a cluster.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    model : Model
        A trained model.
    image : path-like
        The image, under a path that holds on all workers.
    store : TileStore
        The store, likewise.
    tiles : iterable of tuple of int
        Which tiles, in the order in which they are wanted.
    config : PredictConfig
        Settings; `device` is chosen by each worker.
    should_stop : callable or None
        Asked all the time; True gives no more tiles to the workers.

    Yields
    ------
    index : tuple of int
        A tile that is in the store.
    messages : tuple of str
        What the worker met and solved.

    Raises
    ------
    InputError
        If `image` is no path.
    ProcessLostError
        If all workers are gone, or one tile lost one worker after the other.
    UNetError
        What a worker could not solve.
    """
    distributed = _import_distributed()
    from napari_unet.predict.cluster_worker import NetworkPlugin, TileTask, predict_stored_tile

    if not isinstance(image, str | os.PathLike):
        raise InputError("A cluster reads the image from the disk; give its path instead of an array.")
    weights = {name: value.detach().cpu().contiguous() for name, value in model.network.state_dict().items()}
    plugin = NetworkPlugin(store.record.model, asdict(model.config), safetensors.torch.save(weights))
    client.register_plugin(plugin)
    task = TileTask(
        str(Path(image).expanduser().absolute()), store.record.axes, str(store.path.absolute()),
        replace(config, tile=store.record.tile), plugin.name, napari_unet.__version__, uuid.uuid4().hex,
    )  # fmt: skip
    queue = list(tiles)[::-1]
    running: dict[Any, Index] = {}
    last_seen = time.monotonic()
    try:
        while queue or running:
            if should_stop is not None and should_stop():
                queue.clear()
                if not running:
                    break
            threads = sum(client.nthreads().values())
            last_seen = time.monotonic() if threads else last_seen
            if time.monotonic() - last_seen > _PATIENCE_SECONDS:
                raise ProcessLostError(
                    "No worker of the cluster is left; start workers and run the same again, which completes the store."
                )
            while queue and len(running) < 2 * threads:
                index = queue.pop()
                running[client.submit(predict_stored_tile, task, index, pure=False)] = index
            for future in _finished(distributed, list(running)):
                yield running.pop(future), _result(distributed, future)
    finally:
        client.cancel(list(running))


def _finished(distributed: Any, running: list[Any]) -> list[Any]:
    """Return the tasks that have come to an end, after a short wait for the first."""
    if not running:
        time.sleep(_POLL_SECONDS)
        return []
    try:
        return list(distributed.wait(running, timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _result(distributed: Any, future: Any) -> tuple[str, ...]:
    try:
        return tuple(future.result())
    except distributed.KilledWorker as error:
        raise ProcessLostError(
            "One worker after the other was lost over the same tile, maybe for want of memory; take smaller tiles."
        ) from error
    except ModuleNotFoundError as error:
        raise InputError(f"The workers lack a package ({error}); install napari-unet for them, too.") from error
