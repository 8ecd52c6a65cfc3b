"""ProjectX Gateway API: TopstepX and other firms of the family."""

from brokers.projectx.adapter import ProjectX

ADAPTER = ProjectX()

__all__ = ["ADAPTER"]
