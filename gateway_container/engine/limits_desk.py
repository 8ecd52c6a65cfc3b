"""Loss limits for people: what Equity sees, in the wire's words."""

from gateway_container.engine.equity import Equity, Watched
from gateway_container.engine.state import State
from kopitra.domain.loss_ladder import uses
from kopitra.domain.measuring import NewStart
from kopitra.wire.limits import LimitRuleView, LimitsView


class LimitsDesk:
    """Shows accounts with limits and begins new measuring starts."""

    def __init__(self, state: State, equity: Equity) -> None:
        self._state = state
        self._equity = equity

    def standing(self, workspace: str, accounts: frozenset[str] | None) -> list[LimitsView]:
        """All of a workspace, or those of these accounts."""
        config = self._state.config
        found = [self.view(a.account_id) for a in config.accounts.values() if a.workspace == workspace]
        return [
            view for view in found if view is not None and (accounts is None or view.account_id in accounts)
        ]

    def restart(self, account_id: str, asked: NewStart) -> LimitsView:
        """Begin anew, now or as soon as the equity is known. Raises KeyError for an account without limits."""
        self._equity.restart(account_id, asked)
        view = self.view(account_id)
        if view is None:
            raise KeyError(account_id)
        return view

    def view(self, account_id: str) -> LimitsView | None:
        """One account; None when it has no limits."""
        watched = self._equity.watched(account_id)
        return None if watched is None else self._shown(account_id, watched)

    def _shown(self, account_id: str, watched: Watched) -> LimitsView:
        book, limits, reading = self._state.book, watched.limits, watched.look.reading
        now, measure, held = (
            self._state.standings.get(account_id),
            book.measures.get(account_id),
            book.standings.get(account_id),
        )
        rung = held.rung if held is not None and measure is not None and held.holds(measure) else "clear"
        found = () if measure is None or reading is None else uses(limits, measure, reading)
        return LimitsView(
            account_id=account_id,
            version=limits.version,
            effective_from=limits.effective_from,
            verified_on=limits.verified_on,
            rung=rung,
            stop=now.stop if now is not None else "",
            text=now.text if now is not None else "",
            balance=reading.balance if reading is not None else None,
            equity=reading.equity if reading is not None else None,
            equity_age_ms=watched.look.age_ms,
            day=watched.today.day,
            day_ends=watched.today.ends,
            measuring_start=measure.number if measure is not None else None,
            start_balance=measure.start if measure is not None else None,
            highest_equity=measure.peak if measure is not None else None,
            trades_today=book.trades_today.get(account_id, 0),
            rules=tuple(
                LimitRuleView(
                    rule=use.rule, used_percent=use.used_percent, value=use.value,
                    floor=use.floor, room=use.room, text=use.text,
                )
                for use in found
            ),
        )  # fmt: skip
