"""A simulated ProjectX firm on the real wire; SIMULATOR.md beside the adapter describes it."""

from brokers.projectx.simulator.server import Simulator

__all__ = ["Simulator"]
