"""The dock "U-Net: Evaluate"."""
