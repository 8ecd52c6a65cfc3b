"""A snapshot of a session that came in part only is no evidence: an exit closes what is held (P5, R-044)."""

from gateway_container.engine.comparison import Pace
from tests.integration.gateway.world import SECOND, Follower, house


async def test_an_exit_after_a_reconnect_with_a_late_part_closes_what_is_held_r_044(dsn: str) -> None:
    async with house(dsn, {"b": Follower(SECOND)}) as w:
        await w.send(side="buy", quantity=2)
        await w.holds(b=2)
        w.machine.comparison.pace = Pace(quiet_s=0.0)  # a position is judged at once
        await w.sim("b").control("quirks", sync_late="positions")
        await w.sim("b").control("drop-streams")
        session = w.machine.sessions.of("b")
        assert session is not None
        await w.until(lambda: session.state != "live", "down")
        await w.until(lambda: session.state == "live", "live again")

        made = await w.send(action="exit")

        assert [(child.intent.side, child.intent.qty) for child in made] == [("sell", 2)]
        await w.holds(b=0)
        assert not w.machine.state.book.sync.unexplained
