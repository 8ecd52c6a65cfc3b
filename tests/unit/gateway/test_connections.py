"""How long the gateway keeps a sender's connection."""

from starlette.types import Receive, Scope, Send

from gateway_container.compose import _config

#: seconds after which Azure's ingress ends an idle connection [unconfirmed]
INGRESS_S = 240


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers nothing."""


def test_the_gateway_never_closes_an_idle_connection_before_the_ingress_does() -> None:
    """Who closes first loses the signal that is on its way: its sender sees a reset, and does not know."""
    assert _config(app).timeout_keep_alive > INGRESS_S
