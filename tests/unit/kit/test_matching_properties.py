"""What holds after any sequence of acts on the market, whatever the settings."""

from collections.abc import Callable
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from brokers._kit.matching import MatchingCore, NewOrder, OrderFilled, OrderState, Replacement, SimSettings
from brokers._kit.matching.orders import ORD_TYPES, SIDES, TIMES_IN_FORCE
from tests.unit.kit.matching_world import ACCOUNT, MNQ, OPENING_BALANCE, OTHER_ACCOUNT, d, new_core

Act = Callable[[MatchingCore, int], int]
"""Does one thing to the core at a time; returns how many placements it asked for."""

quarters = st.integers(min_value=380, max_value=420)
prices = quarters.map(lambda ticks: Decimal(ticks) / 4)
offsets = st.integers(min_value=-12, max_value=12).filter(bool).map(lambda ticks: Decimal(ticks) / 4)
knobs = st.builds(
    SimSettings,
    fill_delay_ms=st.sampled_from([0, 0, 3]),
    partial_fill_slices=st.sampled_from([1, 2, 3]),
    liquidity_qty=st.sampled_from([0, 0, 1, 2]),
    reject_ratio=st.sampled_from([0.0, 0.2]),
    reject_late=st.booleans(),
)


@st.composite
def orders(draw: st.DrawFn) -> NewOrder:
    ord_type = draw(st.sampled_from(ORD_TYPES))
    return NewOrder(
        draw(st.sampled_from([ACCOUNT, OTHER_ACCOUNT])),
        MNQ,
        draw(st.sampled_from(SIDES)),
        ord_type,
        draw(st.integers(min_value=1, max_value=6)),
        draw(prices) if ord_type in ("limit", "stop_limit") else None,
        draw(prices) if ord_type in ("stop", "stop_limit") else None,
        abs(draw(offsets)) if ord_type == "trailing_stop" else None,
        time_in_force=draw(st.sampled_from(TIMES_IN_FORCE)),
    )


def nth_order(core: MatchingCore, index: int) -> OrderState | None:
    known = core.orders()
    return known[index % len(known)] if known else None


def place(asked: NewOrder) -> Act:
    def act(core: MatchingCore, now_ns: int) -> int:
        core.place(asked, now_ns)
        return 1

    return act


def place_bracket(asked: NewOrder, distance: Decimal) -> Act:
    away = "sell" if asked.side == "buy" else "buy"
    legs = [
        NewOrder(asked.account_id, MNQ, away, "stop", asked.qty, offset=-distance),
        NewOrder(asked.account_id, MNQ, away, "limit", asked.qty, offset=distance),
    ]

    def act(core: MatchingCore, now_ns: int) -> int:
        core.place(asked, now_ns, legs)
        return 3

    return act


def price(bid: Decimal) -> Act:
    def act(core: MatchingCore, now_ns: int) -> int:
        core.set_price(MNQ, bid, bid + d("0.25"), None, now_ns)
        return 0

    return act


def cancel(index: int) -> Act:
    def act(core: MatchingCore, now_ns: int) -> int:
        found = nth_order(core, index)
        if found is not None:
            core.cancel(found.order_id, now_ns)
        return 0

    return act


def change(index: int, qty: int, level: Decimal) -> Act:
    def act(core: MatchingCore, now_ns: int) -> int:
        found = nth_order(core, index)
        if found is not None:
            core.replace(found.order_id, Replacement(qty, level, level), now_ns)
        return 0

    return act


def close(account_id: int) -> Act:
    def act(core: MatchingCore, now_ns: int) -> int:
        before = len(core.ledger.placements())
        core.close_position(account_id, MNQ, now_ns)
        return len(core.ledger.placements()) - before

    return act


def wait() -> Act:
    def act(core: MatchingCore, now_ns: int) -> int:
        core.advance(now_ns + 4_000_000)
        return 0

    return act


indexes = st.integers(min_value=0, max_value=40)
acts = st.one_of(
    orders().map(place),
    st.builds(place_bracket, orders(), offsets.map(abs)),
    prices.map(price),
    indexes.map(cancel),
    st.builds(change, indexes, st.integers(min_value=1, max_value=8), prices),
    st.sampled_from([ACCOUNT, OTHER_ACCOUNT]).map(close),
    st.just(wait()),
)


def check_orders(core: MatchingCore, before: dict[int, OrderState]) -> None:
    traded: dict[int, int] = {}
    for fill in core.executions():
        traded[fill.order_id] = traded.get(fill.order_id, 0) + fill.qty
    for state in core.orders():
        former = before.get(state.order_id)
        assert 0 <= state.cum_qty <= state.released_qty <= state.qty
        assert state.cum_qty == traded.get(state.order_id, 0)
        assert (state.status == "filled") <= (state.cum_qty == state.qty)
        if former is not None:
            assert state.cum_qty >= former.cum_qty
            assert former.is_live or state == former
        before[state.order_id] = state


def check_children(core: MatchingCore) -> None:
    """Together the legs of an OCO bracket never trade more than their parent did."""
    legs_qty: dict[int, int] = {}
    for state in core.orders():
        if state.parent_id is not None:
            legs_qty[state.parent_id] = legs_qty.get(state.parent_id, 0) + state.cum_qty
    for parent_id, qty in legs_qty.items():
        parent = core.order(parent_id)
        assert parent is not None
        assert qty <= parent.cum_qty


def check_money(core: MatchingCore) -> None:
    for account in core.accounts():
        fills = core.executions(account.account_id)
        net = sum(fill.qty if fill.side == "buy" else -fill.qty for fill in fills)
        held = core.positions(account.account_id)
        assert sum(position.net_qty for position in held) == net
        assert sum(row.net_qty for row in core.ledger.positions(account.account_id)) == net
        assert account.balance == OPENING_BALANCE + sum(fill.realized_pnl or 0 for fill in fills)
        cash = sum(fill.price * (-fill.qty if fill.side == "buy" else fill.qty) for fill in fills) * 2
        last = core.quote(MNQ)
        assert last is not None
        gap = core.equity(account.account_id) - (OPENING_BALANCE + cash + last.last * net * 2)
        assert abs(gap) < Decimal("1e-8")


@settings(max_examples=150, deadline=None)
@given(knobs, st.lists(acts, min_size=1, max_size=30))
def test_books_orders_and_ledger_agree_after_anything(knob: SimSettings, script: list[Act]) -> None:
    core = new_core(knob)
    core.set_price(MNQ, d(100), d("100.25"), d(100), 0)
    asked, known = 0, dict[int, OrderState]()

    for step, act in enumerate(script, start=1):
        asked += act(core, step * 1_000_000)

        assert len(core.ledger.placements()) == asked == len(core.orders())
        check_orders(core, known)
        check_money(core)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.builds(place_bracket, orders(), offsets.map(abs)), prices.map(price)), max_size=20)
)
def test_bracket_legs_never_trade_more_than_their_parent(script: list[Act]) -> None:
    core = new_core(SimSettings(liquidity_qty=1))
    core.set_price(MNQ, d(100), d("100.25"), d(100), 0)

    for step, act in enumerate(script, start=1):
        act(core, step * 1_000_000)
        check_children(core)


@settings(max_examples=50, deadline=None)
@given(knobs, st.lists(acts, max_size=25))
def test_the_same_script_gives_the_same_ledger(knob: SimSettings, script: list[Act]) -> None:
    def run() -> object:
        core = new_core(knob)
        core.set_price(MNQ, d(100), d("100.25"), d(100), 0)
        for step, act in enumerate(script, start=1):
            act(core, step * 1_000_000)
        return core.ledger.to_rows()

    assert run() == run()


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=1, max_value=50), st.integers(min_value=1, max_value=60))
def test_slices_deliver_the_whole_quantity(qty: int, count: int) -> None:
    core = new_core(SimSettings(partial_fill_slices=count))
    core.set_price(MNQ, d(100), d("100.25"), d(100), 0)

    events = core.place(NewOrder(ACCOUNT, MNQ, "buy", "market", qty), 1)

    delivered = [event.execution for event in events if isinstance(event, OrderFilled)]
    assert sum(fill.qty for fill in delivered) == qty
    assert len(delivered) == min(qty, count)
    assert [fill.exec_id for fill in delivered] == sorted({fill.exec_id for fill in delivered})
