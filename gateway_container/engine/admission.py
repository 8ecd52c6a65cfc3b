"""Admission: before a fan-out writes, each login is asked whether all of it fits its request budget (R-061).

Where it does not, as many followers as fit are served, those first that were passed over last time, and the others
are told at once. Without this the same followers at the end of the list would always be the ones left out.

To fit means twice: the requests must fit the entries' share of the budget, and closing everything that is open then
must still fit the whole of it, at once (R-060). What is open the session counts itself (`BrokerSession.keep`), the
orders of this very fan-out among it, because they are in the book already.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gateway_container.engine.config import AccountConfig, GatewayConfig
from gateway_container.engine.queue import Place
from gateway_container.engine.sessions import Sessions
from gateway_container.engine.written import Links
from kopitra.domain.copy_rules import CopyRule
from kopitra.domain.orders import OrderIntent
from kopitra.domain.way_out import of_entry
from kopitra.ports import BrokerSession, Clock, Encoded, Forecast, Penalized

#: two penalties of a login within so many nanoseconds are told
PENALTY_WINDOW_NS: Final = 600_000_000_000


class Declined(NamedTuple):
    """An entry that finds no room in its login's budget, and why, in words."""

    place: Place
    why: str


class Cost(NamedTuple):
    """What one entry costs its login, in requests."""

    #: its own, what is attached included
    own: int
    #: protective orders that follow one by one
    follows: int
    #: closing it again, what follows included
    way_out: int


def served(costs: Sequence[Cost], room: Forecast) -> list[bool]:
    """Which of these entries find room, the first of them first: they and what follows within the entries' share, they
    and their way out within the whole window. `room`: without them."""
    share, free = room.entry_share, room.free
    found: list[bool] = []
    for cost in costs:
        fits = cost.own + cost.follows <= share and cost.own + cost.way_out <= free
        if fits:
            share, free = share - cost.own - cost.follows, free - cost.own - cost.way_out
        found.append(fits)
    return found


class Admission:
    """Remembers who was served when room was short."""

    def __init__(self, links: Links) -> None:
        self._links = links
        #: account -> number of the turn in which it was last served; bounded by the accounts
        self._served: dict[str, int] = {}
        self._turn = 0

    def judge(self, places: Sequence[Place]) -> list[Declined]:
        """The entries of a fan-out that do not leave; empty nearly always."""
        declined: list[Declined] = []
        for session, group in self._by_login(places).items():
            need = sum([requests_of(place) for place in group])
            if need < 2:
                continue  # one request is judged by the write itself
            room = session.forecast()
            # During a penalty each write tells the wait by itself.
            if need > room.entries and not room.paused_s:
                declined += self._share(group, need, room)
        return declined

    def _by_login(self, places: Sequence[Place]) -> dict[BrokerSession, list[Place]]:
        groups: dict[BrokerSession, list[Place]] = {}
        for place in places:
            intent = place.intent
            if intent.reduce_only or intent.delay_ms:
                continue
            session = self._links.of(intent.account_id)
            if session is not None:
                group = groups.get(session)
                if group is None:
                    groups[session] = [place]
                else:
                    group.append(place)
        return groups

    def _share(self, group: list[Place], need: int, room: Forecast) -> list[Declined]:
        declined = list[Declined]()
        # The way out of this fan-out is kept already; what is declined does not need it.
        out = sum([way_out_of(place) for place in group])
        room = room._replace(free=room.free + out)
        why = _why(need, out, room)
        ordered = sorted(group, key=lambda one: self._served.get(one.intent.account_id, 0))
        costs = [Cost(own_requests(place), place.follows, way_out_of(place)) for place in ordered]
        for place, is_served in zip(ordered, served(costs, room), strict=True):
            if is_served:
                # A number each: with one for all of them the first of the list would go first.
                self._turn += 1
                self._served[place.intent.account_id] = self._turn
            else:
                declined.append(Declined(place, why))
        return declined


def requests_of(place: Place) -> int:
    """What a place costs its login: its own requests, and its protective orders that follow one by one."""
    return own_requests(place) + place.follows


def own_requests(place: Place) -> int:
    """What writing it costs, what is attached included."""
    return place.encoded.requests if isinstance(place.encoded, Encoded) else 1


def way_out_of(place: Place) -> int:
    """What the book counts for closing it again."""
    return of_entry(place.intent.ord_type, len(place.attached), place.follows)


def followers_of(intents: Sequence[OrderIntent], entry: OrderIntent) -> int:
    """Orders that are held until this entry fills: each will be a request of its own."""
    return sum(1 for i in intents if i.after and i.parent == entry.cl_ord_id)


def _why(need: int, out: int, room: Forecast) -> str:
    """`out`: requests that its way out would cost; `room`: without it."""
    text = (
        f"this fan-out costs {need} of {room.entries} requests left at this login "
        f"({room.limit} per {room.per_s:g} s)"
    )
    if need <= room.entries:
        text += f", and closing it again {out} more, where {room.free} are left beside what is open"
    return f"{text}: the others went first this time; use more logins or fewer followers"


class Penalties:
    """Counts how often brokers ask a login for silence: one time is weather, two in ten minutes are a fault (R-062)."""

    def __init__(self, clock: Clock, alert: Callable[[str, str, str], None]) -> None:
        self._clock = clock
        self._alert = alert
        self._newest_ns: dict[str, int] = {}  # bounded: by the logins
        self._told_ns: dict[str, int] = {}

    def heard(self, penalty: Penalized) -> None:
        """One more."""
        now_ns, login = self._clock.monotonic_ns(), penalty.login_id
        before_ns = self._newest_ns.get(login)
        self._newest_ns[login] = now_ns
        if before_ns is None or now_ns - before_ns > PENALTY_WINDOW_NS:
            return
        told_ns = self._told_ns.get(login)
        if told_ns is None or now_ns - told_ns > PENALTY_WINDOW_NS:
            self._told_ns[login] = now_ns
            text = (
                f"login {login} was told to be silent twice in ten minutes ({penalty.text}): use fewer followers per "
                "login, fewer stop moves (move_gap_ms), or a smaller budget in its settings"
            )
            self._alert("penalties-repeated", text, "")


class LoginForecast(NamedTuple):
    """What one signal of a leader costs one login, and what is left there now: an entry at the market alone, and one
    with a stop and a target. `..._served`: how many followers would be served."""

    leader: str
    login_id: str
    broker: str
    followers: int
    plain: int
    protected: int
    plain_served: int
    protected_served: int
    room: Forecast


def forecasts(
    config: GatewayConfig, sessions: Sessions, bracket_brokers: frozenset[str], workspace: str
) -> list[LoginForecast]:
    """For every leader of a workspace and every login that its followers use: before anything is sent."""
    found: list[LoginForecast] = []
    for leader_id, rules in sorted(config.rules.items()):
        by_login: dict[str, list[CopyRule]] = {}
        for rule in rules:
            account = config.accounts.get(rule.account_id)
            if account is not None and account.workspace == workspace and _costs(account, rule):
                by_login.setdefault(account.login_id, []).append(rule)
        for login_id, following in sorted(by_login.items()):
            session, login = sessions.all.get(login_id), config.logins.get(login_id)
            if session is None or login is None:
                continue
            brackets, room = login.broker in bracket_brokers, session.forecast()
            plain = [_cost(0, brackets=brackets) for _ in following]
            protected = [
                _cost(rule.copy_stop_loss + rule.copy_take_profit, brackets=brackets) for rule in following
            ]
            found.append(
                LoginForecast(
                    leader_id,
                    login_id,
                    login.broker,
                    len(following),
                    sum(cost.own + cost.follows for cost in plain),
                    sum(cost.own + cost.follows for cost in protected),
                    sum(served(plain, room)),
                    sum(served(protected, room)),
                    room,
                )
            )
    return found


def _costs(account: AccountConfig, rule: CopyRule) -> bool:
    """An entry of this follower would be a request: what ends on paper costs none."""
    return account.active and not account.shadow and rule.pace == "active"


def _cost(protective: int, *, brackets: bool) -> Cost:
    """Of an entry at the market with so many protective orders; they travel with it where the broker takes brackets."""
    attached, follows = (protective, 0) if brackets else (0, protective)
    return Cost(1, follows, of_entry("market", attached, follows))
