"""Synthetic images of many kinds, made from nothing but a seed, in which everything that is seen is known.

`draw_kind` draws an experiment, `Kind.scene` takes an image of it: two scenes of one kind look like two images of one
experiment, two kinds differ widely. A network that has learnt to segment whatever was marked in one scene, in another
one of its kind, has learnt to segment from strokes.

Where to find what: `scene` says what a scene is, and `kinds` lists the kinds. `sheets`, `nuclei`, `lines`, `unstained`,
`stained`, `thorax`, `heart`, `brain` and `organs` paint them, with the shapes of `geometry` and `stage`. `camera` takes
the picture, and `display` makes several channels of it.
"""
