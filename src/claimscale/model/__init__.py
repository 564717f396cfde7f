"""The encoder, its shapes, and the transfer of settings between sizes."""
