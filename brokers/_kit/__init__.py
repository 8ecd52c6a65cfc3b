"""Shared technique of every broker: transports and small policies. Knows no broker and imports none."""
