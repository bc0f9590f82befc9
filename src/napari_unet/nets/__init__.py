"""The networks, in 2D and 3D from one definition, and the device they run on."""
