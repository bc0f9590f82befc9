"""The dock "U-Net: Segment", which ties the other parts together."""
