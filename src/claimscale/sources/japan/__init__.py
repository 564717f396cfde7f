"""Japanese claims: electronic receipts, DPC survey files, national masters."""
