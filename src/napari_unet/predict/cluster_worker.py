"""What a worker of a dask.distributed cluster does: it keeps the network, and predicts and writes tile after tile."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from distributed import Worker, WorkerPlugin, get_worker
from torch import nn

import napari_unet
from napari_unet.data.tile_array import Index
from napari_unet.errors import InputError
from napari_unet.nets.config import ModelConfig
from napari_unet.nets.registry import build_network
from napari_unet.predict.config import PredictConfig
from napari_unet.predict.events import PredictRecovered, TilePredicted
from napari_unet.predict.overlapping_tiles import OverlappingTiles
from napari_unet.predict.store_plan import Source, open_source
from napari_unet.predict.store_writer import TileAssembler
from napari_unet.predict.tile_store import TileStore
from napari_unet.predict.tiled import predict_tiles

__all__ = ["NetworkPlugin", "TileTask", "predict_stored_tile"]


@dataclass(frozen=True)
class TileTask:
    """What all tiles of one prediction have in common.

    Attributes
    ----------
    image, axes, store : str
        Path of the image, its axes, and path of the store, as all workers see them.
    config : PredictConfig
        Settings, with the tile of the store.
    plugin : str
        Name of the plugin that keeps the network.
    version : str
        The version of napari-unet that asks.
    run : str
        Tells this prediction from others into a store of the same name.
    """

    image: str
    axes: str
    store: str
    config: PredictConfig
    plugin: str
    version: str
    run: str


@dataclass(eq=False)
class _WorkerModel:
    """What a prediction needs of a model."""

    config: ModelConfig
    network: nn.Module
    task: str = "classes"
    spacing: tuple[float, ...] | None = None
    history: dict[str, Any] = field(default_factory=dict)
    closed_form: Any = None


class NetworkPlugin(WorkerPlugin):
    """Brings the network to each worker once, also to those that join later.

    Parameters
    ----------
    checksum : str
        Names the model.
    config : dict
        Values of its `ModelConfig`.
    weights : bytes
        The weights of its network, as safetensors.
    """

    idempotent = True

    def __init__(self, checksum: str, config: dict[str, Any], weights: bytes) -> None:
        self.name = f"napari-unet-{checksum[:16]}"
        self.config = config
        self.weights = weights

    def setup(self, worker: Worker) -> None:
        """Prepare a worker; the network is built when the first tile comes."""
        self.threads = worker.state.nthreads
        self.lock = threading.Lock()
        self.model: _WorkerModel | None = None
        self.opened: tuple[TileTask, Source, TileStore] | None = None

    def open(self, task: TileTask) -> tuple[_WorkerModel, Source, TileStore]:
        """Return model, image and store, which are made or opened for the first tile."""
        if self.model is None:
            torch.set_num_threads(self.threads)
            config = ModelConfig(**self.config)
            weights = safetensors.torch.load(self.weights)
            network = build_network(config)
            network.load_state_dict(weights)
            self.model = _WorkerModel(config, network.eval())
        if self.opened is None or self.opened[0] != task:
            source = open_source(task.image, task.axes)
            store = TileStore.open(task.store)
            if tuple(source.array.shape) != store.record.shape:
                raise InputError(f"A worker finds another image at {task.image}; use a folder that all workers share.")
            self.opened = task, source, store
        return self.model, *self.opened[1:]


def predict_stored_tile(task: TileTask, index: Index) -> list[str]:
    """Predict one tile and write it to the store, if it is not there yet.

    Returns
    -------
    list of str
        What was met and solved.

    Raises
    ------
    UNetError
        If the versions differ, the files are not there, or the tile can't be predicted or written.
    """
    if task.version != napari_unet.__version__:
        raise InputError(
            f"A worker has napari-unet {napari_unet.__version__}, but the prediction is asked for by {task.version}; "
            "install the same version everywhere."
        )
    plugin = get_worker().plugins[task.plugin]
    assert isinstance(plugin, NetworkPlugin)
    messages = []
    with plugin.lock:  # the memory is there for one tile
        model, source, store = plugin.open(task)
        tiles = OverlappingTiles(store) if store.record.overlap else store
        if not tiles.lacks(index):  # the worker before wrote it and was lost before it could say so
            return []
        assembler = TileAssembler(tiles)
        events = predict_tiles(
            model, source.array, task.axes, task.config, region=store.box(index),
            skip=lambda box: tiles.index(box) != index, intensity=store.record.intensity, blended=False,
        )  # fmt: skip
        for event in events:
            if isinstance(event, PredictRecovered):
                messages.append(event.message)
            elif isinstance(event, TilePredicted):
                block = assembler.add(event)
    assert block is not None  # the parts make up the tile
    if isinstance(tiles, OverlappingTiles):  # whoever asked writes the chunks
        tiles.write(index, block)
    else:
        tiles.keep(index, block)
    return messages
