"""The local stack, the image, and what both are made from."""
