"""A simulated Tradovate on the real wire; SIMULATOR.md beside the adapter describes it."""

from brokers.tradovate.simulator.server import Simulator

__all__ = ["Simulator"]
