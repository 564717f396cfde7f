"""Small counts: what may leave the machine."""
