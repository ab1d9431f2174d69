"""Latency: blocks measured on a device, kept as a table, checked against whole networks, and priced as a cost."""
