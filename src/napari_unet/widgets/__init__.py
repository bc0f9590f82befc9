"""The napari side: docks, workers and sample images. Nothing else here imports napari or Qt."""
