"""The demo's pictures: the live table, the hop budget, the addresses."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.local.measures import HOPS, quantile
from cli.local.player import Played
from cli.local.signal_view import LegSeen, OrderSeen, SignalSeen
from cli.local.stage import Stage
from cli.words import plain, rule_in_words, sentence

#: signals shown above the table, newest last
SIGNALS_SHOWN_MAX: Final = 4
_COLUMNS: Final = (
    "follower",
    "broker",
    "rule",
    "state",
    "why",
    "holds",
    "avg price",
    "notional",
    "sent/ack/fill ms",
)
_NUMBERS: Final = _COLUMNS[5:]
#: what a follower may refuse to copy
_ENTRIES: Final = frozenset({"enter", "add", "reverse"})
_STYLES: Final[Mapping[str, str]] = {"approved": "green", "refused": "red", "skipped": "yellow"}


def board(stage: Stage, played: Played, *, whole: bool = False) -> RenderableType:
    """The newest signals, and one row per follower with its part in the newest one; `whole`: no text is cut."""
    signals = _newest_first(played)
    lines = [Text(_signal_line(signal)) for signal in reversed(signals[:SIGNALS_SHOWN_MAX])]
    newest = signals[0] if signals else None
    return Group(Text(f"now: {played.step}", style="bold"), *lines, _table(stage, played, newest, whole))


def _signal_line(signal: SignalSeen) -> str:
    outcomes = [leg.outcome for leg in signal.legs]
    said = f"#{signal.sequence} {signal.source.replace('_', ' ')}: {signal.action} {signal.side or ''} "
    said += f"{plain(signal.quantity)} {signal.symbol}".replace("  ", " ")
    parts = [f"{outcomes.count(name)} {name}" for name in _STYLES]
    return f"{said}  ->  {', '.join(parts)}"


def _table(stage: Stage, played: Played, newest: SignalSeen | None, whole: bool) -> Table:
    table = Table(header_style="bold", pad_edge=False, box=SIMPLE)
    for title in _COLUMNS:
        right = title in _NUMBERS
        table.add_column(
            title,
            justify="right" if right else "left",
            no_wrap=not whole or right,
            overflow="fold" if whole else "ellipsis",
        )
    for spec in stage.followers:
        rule = rule_in_words(stage.rules[spec.account])
        held = str(played.net.get(spec.account, 0))
        state, why, *numbers = _cells(played, newest, spec.account)
        broker = stage.floors[spec.slot].broker
        table.add_row(spec.account, broker, rule, state, why, held, *numbers)
    return table


def _cells(
    played: Played, newest: SignalSeen | None, account: str
) -> tuple[RenderableType, str, str, str, str]:
    """State in the newest signal; why the newest entry was not copied, and its money value; last fill and hops."""
    leg = None if newest is None else _leg_of(newest, account)
    entry = next(
        (found for signal in _newest_first(played, _ENTRIES) if (found := _leg_of(signal, account))), None
    )
    fill = _last_fill(played, account)
    state = Text() if leg is None else Text(_state(leg), style=_STYLES.get(leg.outcome, ""))
    why = "" if entry is None or not entry.reason else entry.detail or sentence(entry.reason)
    notional = "" if entry is None or entry.notional is None else f"{entry.notional:,.0f}"
    price = "" if fill is None else plain(fill.avg_px)
    hops = "" if fill is None else "/".join(_hop(fill, name) for name in ("sent", "acked", "filled"))
    return state, why, price, notional, hops


def _newest_first(played: Played, actions: frozenset[str] | None = None) -> list[SignalSeen]:
    found = [s for s in played.signals.values() if actions is None or s.action in actions]
    return sorted(found, key=lambda signal: signal.sequence, reverse=True)


def _leg_of(signal: SignalSeen, account: str) -> LegSeen | None:
    return next((leg for leg in signal.legs if leg.account_id == account), None)


def _state(leg: LegSeen) -> str:
    for role in ("entry", "exit", "stop", "target"):
        for order in leg.orders:
            if order.role == role:
                return f"{order.role} {order.state}"
    return leg.outcome if leg.outcome != "approved" else "sent"


def _last_fill(played: Played, account: str) -> OrderSeen | None:
    for signal in _newest_first(played):
        leg = _leg_of(signal, account)
        filled = [] if leg is None else [order for order in leg.orders if order.state == "filled"]
        if filled:
            return filled[-1]
    return None


def _hop(order: OrderSeen, name: str) -> str:
    return f"{order.hops[name] / 1000:.1f}" if name in order.hops else "-"


def budget(times: Mapping[str, Sequence[float]]) -> Table:
    """Each hop's budget against what was measured."""
    table = Table(title="Where the time goes", title_justify="left", header_style="bold")
    for column in ("hop", "p50 ms", "p95 ms", "p99 ms", "max ms", "budget", "kept"):
        table.add_column(column, justify="left" if column == "hop" else "right")
    for hop in HOPS:
        values = times[hop.name]
        if not values:
            table.add_row(hop.title, "", "", "", "", "", "not measured")
            continue
        shown = [f"{quantile(values, name):.1f}" for name in ("p50", "p95", "p99", "max")]
        limit = f"{hop.quantile} < {hop.budget_ms} ms"
        kept = quantile(values, hop.quantile) < hop.budget_ms
        table.add_row(hop.title, *shown, limit, Text("yes", "green") if kept else Text("NO", "red"))
    return table


def addresses(stage: Stage) -> Table:
    """Where everything is."""
    table = Table(show_header=False, box=None)
    rows = [
        ("gateway", stage.url),
        ("API document", f"{stage.url}/openapi.json"),
        ("health", f"{stage.url}/trade-agent/v1/health"),
        ("metrics", f"{stage.url}/metrics"),
        *((f"{floor.broker} simulator", f"{floor.http.base_url}/_sim/ledger") for floor in stage.floors),
    ]
    for name, address in rows:
        table.add_row(name, str(address))
    return table
