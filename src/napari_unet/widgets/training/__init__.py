"""Training in the background: the job, its curves and what the window says of it."""
