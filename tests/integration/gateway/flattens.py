"""Asking for a flatten, and what the gateway sent for it."""

from collections.abc import Callable
from typing import Final

from gateway_container.api.doors import FlattenOrder
from kopitra.domain.orders import ChildOrder
from kopitra.wire.views import FlattenAccountView
from tests.integration.gateway.world import WORKSPACE, World

EVERYTHING: Final = FlattenOrder(WORKSPACE, "workspace", WORKSPACE, "test", "ann", False, None)


async def begun(world: World) -> Callable[[], FlattenAccountView]:
    """Flatten everything; asks how far the one account is."""
    control = world.machine.control
    flatten_id = (await control.flatten(EVERYTHING)).flatten_id

    def now() -> FlattenAccountView:
        view = control.flatten_progress(WORKSPACE, flatten_id)
        assert view is not None
        return view.accounts[0]

    return now


def closes(world: World) -> list[ChildOrder]:
    """What flattens sent."""
    return [order for order in world.machine.state.book.orders.values() if not order.intent.leader]
