"""`kopitra leader forecast`: what the next signal costs each login, before it is sent (R-061)."""

import msgspec
import typer

from cli.gateway_call import HERE, Url, ask
from cli.rim import AsJson, listing


class Forecast(msgspec.Struct, rename="camel", frozen=True):
    """One leader at one login, as the gateway tells it."""

    leader: str
    login_id: str
    broker: str
    followers: int
    plain: int
    with_bracket: int
    plain_served: int
    with_bracket_served: int
    left: int
    limit: int
    per_seconds: float
    paused_seconds: float = 0.0


class _Health(msgspec.Struct, frozen=True):
    forecasts: list[Forecast]


def forecast(
    leader: str = typer.Argument("", help="Its id; left out: all leaders."),
    url: Url = HERE,
    as_json: AsJson = False,
) -> None:
    """What the next signal costs each login, and what is left there: before anything is sent.

    Example: kopitra leader forecast lead
    """
    found = msgspec.json.decode(ask(url, "GET", "/health"), type=_Health).forecasts
    rows = [_row(one) for one in found if leader in ("", one.leader)]
    listing("Requests of the next signal", rows, as_json=as_json, empty="No follower of it has a session.")


def _row(one: Forecast) -> dict[str, object]:
    return {
        "leader": one.leader,
        "login": one.login_id,
        "followers": one.followers,
        "plain": one.plain,
        "with_bracket": one.with_bracket,
        "left": f"{one.left} of {one.limit} per {one.per_seconds:g} s",
        "verdict": verdict(one),
    }


def verdict(one: Forecast) -> str:
    """What would become of the next signal, as the gateway would judge it: what they open must fit out again, too."""
    if one.paused_seconds:
        return f"silent for {one.paused_seconds:.0f} s"
    if one.with_bracket_served >= one.followers:
        return "fits"
    if one.plain_served >= one.followers:
        return "only without brackets"
    return f"{one.followers - one.plain_served} are left out"
