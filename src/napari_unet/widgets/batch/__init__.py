"""The dock "U-Net: Batch"."""
