"""The demo's pictures: the live table, the hop budget, the addresses. They fit a terminal of 80 columns."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cli.local.measures import HOPS, quantile
from cli.local.player import Played
from cli.local.signal_view import LegSeen, OrderSeen, SignalSeen
from cli.local.stage import Stage
from cli.words import plain, rule_in_words, sentence

#: columns from which the broker has a column of its own, hops are explained, and rule and reason have one each
BROKER_FROM_COLS: Final = 100
WAYS_FROM_COLS: Final = 110
RULE_FROM_COLS: Final = 130
#: lines of the live picture beside followers and signals: the step, the table's head, the line below it
_FRAME_LINES: Final = 3
#: what a follower may refuse to copy
ENTRIES: Final = frozenset({"enter", "add", "reverse"})
#: what a leg without an order of its own comes to
_DONE: Final[Mapping[str, str]] = {"replace": "moved", "cancel": "canceled"}
_STYLES: Final[Mapping[str, str]] = {"approved": "green", "refused": "red", "skipped": "yellow"}


class Part(NamedTuple):
    """One follower's part in one signal, in words."""

    outcome: str
    state: str
    order: str
    notional: str
    hops: str
    why: str


class Board:
    """The live picture: the step, the newest signals, and each follower's part in the newest one."""

    def __init__(self, stage: Stage, played: Played) -> None:
        self._stage = stage
        self._played = played

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Drawn for the terminal as it is now; its height bounds the signals that are shown."""
        signals = oldest_first(self._played)
        shown = max(0, console.size.height - len(self._stage.followers) - _FRAME_LINES)
        yield Text(f"now: {self._played.step}", style="bold", no_wrap=True, overflow="ellipsis")
        for signal in signals[max(0, len(signals) - shown) :]:
            yield Text(signal_line(signal), no_wrap=True, overflow="ellipsis")
        newest = signals[-1] if signals else None
        yield _table(self._stage, self._played, newest, options.max_width, whole=False)


class LastEntry:
    """Each follower's part in the leader's last entry, with every word of the reasons."""

    def __init__(self, stage: Stage, played: Played) -> None:
        self._stage = stage
        self._played = played

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        entries = [signal for signal in oldest_first(self._played) if signal.action in ENTRIES]
        if entries:
            yield Text(f"\nEach follower's part in {_name(entries[-1])}, the last entry", style="bold")
            yield _table(self._stage, self._played, entries[-1], options.max_width, whole=True)


def oldest_first(played: Played) -> list[SignalSeen]:
    """The signals in the journal's order."""
    return sorted(played.signals.values(), key=lambda signal: signal.sequence)


def signal_line(signal: SignalSeen) -> str:
    """A signal and what became of it, in one line."""
    outcomes = [leg.outcome for leg in signal.legs]
    said = (("copied", "approved"), ("skipped", "skipped"), ("refused", "refused"))
    parts = [f"{outcomes.count(name)} {word}" for word, name in said if name in outcomes]
    return f"{_name(signal)}  ->  {', '.join(parts)}"


def _name(signal: SignalSeen) -> str:
    words = (signal.source.replace("_", " ") + ":", signal.action, signal.side, plain(signal.quantity))
    return " ".join(word for word in (*words, signal.symbol) if word)


def _table(stage: Stage, played: Played, signal: SignalSeen | None, width: int, *, whole: bool) -> Table:
    """`whole`: long words are folded, not cut."""
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 1, 0, 0), expand=True)
    with_broker, with_rule = width >= BROKER_FROM_COLS, width >= RULE_FROM_COLS
    _columns(table, with_broker, with_rule, whole)
    for spec in stage.followers:
        rule = rule_in_words(stage.rules[spec.account])
        part = part_of(signal, spec.account)
        state = Text(part.state, _STYLES.get(part.outcome, ""))
        broker = [stage.floors[spec.slot].broker] if with_broker else []
        words = [rule, part.why] if with_rule else [part.why or rule]
        held = str(played.net.get(spec.account, 0))
        table.add_row(
            spec.account, *broker, state, part.order, held, part.notional, part.hops, *_texts(words, part)
        )
    return table


def _texts(words: Sequence[str], part: Part) -> list[Text]:
    """The rule, and the reason in the colour of its outcome."""
    return [Text(word, _STYLES[part.outcome] if word == part.why and word else "") for word in words]


def _columns(table: Table, with_broker: bool, with_rule: bool, whole: bool) -> None:
    table.add_column("", no_wrap=True)
    if with_broker:
        table.add_column("broker", no_wrap=True)
    table.add_column("state", no_wrap=True, min_width=len("entry filled"))
    table.add_column("order", no_wrap=True, min_width=len("-15 MES"), justify="right")
    for title, width in (("holds", 5), ("notional", 9), ("sent/ack/fill ms", 16)):
        table.add_column(title, no_wrap=True, min_width=width, justify="right")
    for title, ratio in (("rule", 2), ("why not", 3)) if with_rule else (("why not, or rule", 1),):
        table.add_column(title, no_wrap=not whole, overflow="fold" if whole else "ellipsis", ratio=ratio)


def part_of(signal: SignalSeen | None, account: str) -> Part:
    """What this signal is for this follower: nothing yet, a reason why not, or orders with their times."""
    leg = None if signal is None else next((leg for leg in signal.legs if leg.account_id == account), None)
    if signal is None or leg is None:
        return Part("", "", "", "", "", "")
    why = (leg.detail or sentence(leg.reason)) if leg.reason else ""
    order = _main_order(leg)
    if order is None:
        done = _DONE.get(signal.action, "approved") if leg.outcome == "approved" else leg.outcome
        return Part(leg.outcome, done, "", "", "", why)
    sign = "+" if order.side == "buy" else "-"
    notional = "" if leg.notional is None else f"{leg.notional:,.0f}"
    hops = "/".join(_hop(order, name) for name in ("sent", "acked", "filled"))
    state = f"{order.role} {order.state.replace('_', ' ')}"
    return Part(leg.outcome, state, f"{sign}{plain(order.qty)} {_root(order.symbol)}", notional, hops, why)


def _root(contract: str) -> str:
    """A contract without its month and year: MESZ6 is MES."""
    return contract[:-2] if len(contract) > 2 and contract[-1].isdigit() else contract


def _main_order(leg: LegSeen) -> OrderSeen | None:
    """The order that a row tells of: the one that moves the position where there is one."""
    for role in ("entry", "exit", "stop", "target"):
        for order in leg.orders:
            if order.role == role:
                return order
    return None


def _hop(order: OrderSeen, name: str) -> str:
    return f"{order.hops[name] / 1000:.1f}" if name in order.hops else "-"


def budget(times: Mapping[str, Sequence[float]], width: int) -> RenderableType:
    """Each hop's budget beside what was measured, and the verdict."""
    table = Table(header_style="bold", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for column in ("hop", "budget ms", "measured", "verdict", "p50", "p99", "max"):
        left = column in ("hop", "verdict")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    if width >= WAYS_FROM_COLS:
        table.add_column("from ... to", no_wrap=True)
    for hop in HOPS:
        values = times[hop.name]
        limit = f"{hop.quantile} < {hop.budget_ms}"
        if not values:
            table.add_row(hop.title, limit, "", Text("NOT MEASURED", "red"))
            continue
        measured = quantile(values, hop.quantile)
        kept = measured < hop.budget_ms
        verdict = Text("kept", "green") if kept else Text("OVER BUDGET", "red")
        shown = [f"{quantile(values, name):.1f}" for name in ("p50", "p99", "max")]
        ways = [hop.way] if width >= WAYS_FROM_COLS else []
        table.add_row(hop.title, limit, f"{measured:.1f}", verdict, *shown, *ways)
    return Group(Text("\nWhere the time goes: budget and measured, in milliseconds", style="bold"), table)


def addresses(stage: Stage) -> Table:
    """Where everything is."""
    table = Table(show_header=False, box=None, pad_edge=False)
    rows = [
        ("gateway", stage.url),
        ("API document", f"{stage.url}/openapi.json"),
        ("health", f"{stage.url}/trade-agent/v1/health"),
        ("metrics", f"{stage.url}/metrics"),
        *((f"{floor.broker} simulator", f"{floor.http.base_url}/_sim/ledger") for floor in stage.floors),
    ]
    for name, address in rows:
        table.add_row(name, Text(str(address), no_wrap=True))
    return table
