"""A leader acts and its followers' brokers answer, in any order: when all is quiet everybody is where they belong."""

from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kopitra.domain.copy_rules import CopyRule, Sizing
from kopitra.domain.orders import TERMINAL, ZERO, ChildOrder
from kopitra.domain.plan import plan
from kopitra.domain.rounding import RoundingPolicy, round_quantity
from kopitra.domain.signals import StopLoss, TakeProfit, sign
from tests.machines import MACHINE
from tests.unit.domain.copy_world import ESZ6, World, account, assert_way_out, d, signal
from tests.unit.domain.copy_world import rule as copy_rule

HALF_UP = RoundingPolicy(mode="half_up", max_risk_ratio=None)
SCALES = {"one": d(1), "half": d("0.5"), "triple": d(3), "inverse": d(-1), "filler": d(1), "linked": d(2)}
RULES = [
    copy_rule("one"),
    copy_rule("half", sizing=Sizing("multiplier", d("0.5")), rounding=HALF_UP),
    copy_rule("triple", sizing=Sizing("multiplier", d(3))),
    copy_rule("inverse", inverse=True),
    copy_rule("filler", mirror="fills"),
    copy_rule("linked", sizing=Sizing("multiplier", d(2))),
]
#: fewer than the cancels, or the moves in a row, of one child that may fail before it is left to a person
LOSSES_MAX = 3
quantities = st.integers(1, 4).map(Decimal)
sides = st.sampled_from(["buy", "sell"])


def wanted(one: CopyRule, exposure: Decimal) -> Decimal:
    """What a follower should have for a leader's exposure."""
    scale = SCALES[one.account_id]
    qty = round_quantity(abs(exposure * scale), d(1), one.rounding).qty
    return qty if exposure * scale > 0 else -qty


class CopyMachine(RuleBasedStateMachine):
    """Drop-copy leader in ES: market acts and resting entries that fill, partly fill or are canceled."""

    @initialize()
    def begin(self) -> None:
        self.world = World(RULES, {"linked": account(brackets=True)})
        self.qty = ZERO
        self.resting: dict[str, Decimal] = {}
        #: resting orders of which something filled at the leader, but perhaps not at its followers yet
        self.filled: set[str] = set()
        self.ids = 0
        #: the sender's numbers: without them an order that closed and then opens more would be taken for an old one
        self.acts = 0
        self.losses = 0
        #: accounts whose broker did something of its own in this stretch: fewer contracts than wanted are explained
        self.explained: set[str] = set()

    # the leader --------------------------------------------------------------------------------------------

    @rule(side=sides, qty=quantities, protected=st.sampled_from(["", "stop", "both", "offset"]))
    def trades(self, side: str, qty: Decimal, protected: str) -> None:
        """A fill at the leader: opens, adds, reduces, closes or reverses."""
        after = self.qty + qty * (1 if side == "buy" else -1)
        away = d(20) if (after > 0) == (side == "buy") and side == "buy" else d(-20)
        levels: dict[str, object] = {}
        if protected in ("stop", "both"):
            levels["stop_loss"] = StopLoss(price=d(5000) - away)
        if protected == "both":
            levels["take_profits"] = (TakeProfit(price=d(5000) + away),)
        if protected == "offset":
            levels["stop_loss"] = StopLoss(offset=d(10))
            levels["take_profits"] = (
                TakeProfit(offset=d(10), share=d("0.5")),
                TakeProfit(offset=d(20), share=d("0.5")),
            )
        self._says(
            self._act(after),
            after,
            side=side,
            quantity=qty,
            is_fill=True,
            leader_order_id=self._id(),
            **levels,
        )

    @rule(side=sides, qty=quantities)
    def rests(self, side: str, qty: Decimal) -> None:
        """A limit entry."""
        name = self._id()
        self.resting[name] = qty if side == "buy" else -qty
        if min(self.resting.values()) < 0 < max(self.resting.values()):
            # Orders on both sides: what leads away from the target is canceled, and misses what it would have moved.
            self.explained |= set(SCALES)
        self._tells("enter", side=side, quantity=qty, ord_type="limit", price=d(4990), leader_order_id=name)

    @precondition(lambda self: self.resting)
    @rule(data=st.data())
    def resting_fills(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.resting)))
        left = self.resting[name]
        qty = data.draw(st.integers(1, int(abs(left)))) * (1 if left > 0 else -1)
        self.resting[name] -= qty
        self.filled.add(name)
        if self.resting[name] == 0:
            del self.resting[name]
        after = self.qty + qty
        side = "buy" if qty > 0 else "sell"
        self._says(
            self._act(after), after, side=side, quantity=d(abs(qty)), is_fill=True, leader_order_id=name
        )  # fmt: skip

    @precondition(lambda self: self.resting)
    @rule(data=st.data())
    def resting_canceled(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.resting)))
        del self.resting[name]
        self._tells("cancel", leader_order_id=name)
        # What a follower's copy had not filled yet is gone with it, though the leader's may have filled.
        self.explained |= set(SCALES)

    @precondition(lambda self: self.resting)
    @rule(data=st.data(), qty=quantities)
    def resting_resized(self, data: st.DataObject, qty: Decimal) -> None:
        name = data.draw(st.sampled_from(sorted(self.resting)))
        self.resting[name] = qty if self.resting[name] > 0 else -qty
        # A copy that filled before the leader's own order did has nothing left to move.
        copies = (o for o in self.world.book.orders.values() if o.intent.leader_order_id == name)
        self.explained |= {o.intent.account_id for o in copies if o.state in TERMINAL or o.cum_qty}
        self._tells("replace", leader_order_id=name, ord_type="limit", price=d(4991), quantity=qty)
        self.explained.add("half")

    @rule()
    def flattens(self) -> None:
        self.resting.clear()
        self.qty = ZERO
        self._tells("flatten")

    def _says(self, action: str, after: Decimal, **more: object) -> None:
        self._tells(action, leader_position=after, **more)
        self.qty = after

    def _tells(self, action: str, **more: object) -> None:
        """An entry that is still on its way when the leader has less is closed as it fills, and not opened again."""
        if action in ("reduce", "exit", "reverse", "flatten"):
            late = (o.intent for o in self.world.open() if o.intent.role == "entry")
            gone = (i for i in late if i.ord_type == "market" or i.leader_order_id in self.filled)
            self.explained |= {i.account_id for i in gone}
        self.acts += 1
        self.world.say(action, sequence=self.acts, **more)

    def _act(self, after: Decimal) -> str:
        if self.qty == 0:
            return "enter"
        if after == 0:
            return "exit"
        if after * self.qty < 0:
            return "reverse"
        return "add" if abs(after) > abs(self.qty) else "reduce"

    def _id(self) -> str:
        self.ids += 1
        return f"o{self.ids}"

    # the brokers -------------------------------------------------------------------------------------------

    def _pick(self, data: st.DataObject) -> ChildOrder | None:
        found = [o for o in self.world.open() if o.state != "planned"]
        return data.draw(st.sampled_from(found), label="child") if found else None

    @rule(data=st.data())
    def broker_accepts(self, data: st.DataObject) -> None:
        child = self._pick(data)
        if child is not None:
            self.world.accept(child)

    @rule(data=st.data())
    def broker_fills_a_part(self, data: st.DataObject) -> None:
        child = self._pick(data)
        if child is None or child.intent.role in ("stop", "target") or child.leaves_qty <= 0:
            return
        # A fill that outran a move: what the move would have added is missed.
        if child.replace is not None or child.intent.cl_ord_id in self.world.moving:
            self.explained.add(child.intent.account_id)
        self.world.fill(child, d(data.draw(st.integers(1, int(child.leaves_qty)))))

    @rule(data=st.data())
    def broker_repeats_itself(self, data: st.DataObject) -> None:
        """Old news of any order, ended ones included, change nothing."""
        ended = [o for o in self.world.book.orders.values() if o.state in ("filled", "canceled", "working")]
        if ended:
            before = dict(self.world.ledger)
            self.world.accept(data.draw(st.sampled_from(ended)))
            assert self.world.ledger == before

    @rule(data=st.data())
    def protective_fills(self, data: st.DataObject) -> None:
        """A stop or target of ours is hit, never for more than is there."""
        child = self._pick(data)
        if child is None or child.intent.role not in ("stop", "target"):
            return
        account_id = child.intent.account_id
        held = self.world.ledger.get((account_id, ESZ6), ZERO)
        qty = min(child.leaves_qty, max(ZERO, -held * sign(child.intent.side)))
        if qty > 0:
            self.explained.add(account_id)
            self.world.fill(child, qty)
            linked = [o for o in self.world.open() if o.attached and o.intent.oco == child.intent.oco]
            for sibling in linked if child.attached and child.state == "filled" else ():
                self.world.end(sibling)  # this broker links them

    @rule(data=st.data())
    def broker_answers_a_request(self, data: st.DataObject) -> None:
        child = self._pick(data)
        if child is not None:
            self.world.answer(child)

    @precondition(lambda self: self.losses < LOSSES_MAX)
    @rule(data=st.data())
    def broker_refuses_a_cancel(self, data: st.DataObject) -> None:
        child = self._pick(data)
        if child is not None and child.cancel is not None:
            self.losses += 1
            self.explained.add(child.intent.account_id)
            self.world.report(child, "cancel_rejected", "new")

    @precondition(lambda self: self.losses < LOSSES_MAX)
    @rule(data=st.data())
    def a_cancel_is_lost(self, data: st.DataObject) -> None:
        child = self._pick(data)
        if child is not None and child.cancel is not None:
            self.losses += 1
            self.explained.add(child.intent.account_id)
            self.world.lose(child)

    @rule(data=st.data())
    def a_move_leaves(self, data: st.DataObject) -> None:
        child = self._pick(data)
        if child is not None and child.cancel is None:
            self.world.move(child)

    @precondition(lambda self: self.losses < LOSSES_MAX)
    @rule(data=st.data(), told=st.booleans())
    def a_move_fails(self, data: st.DataObject, told: bool) -> None:
        """Refused, or nobody knows. What it would have added to an entry is missed."""
        child = self._pick(data)
        if child is None or child.cancel is not None or not self.world.move(child):
            return
        self.losses += 1
        del self.world.moving[child.intent.cl_ord_id]
        if child.intent.role == "entry":
            self.explained.add(child.intent.account_id)
        if told:
            self.world.report(child, "replace_rejected", "new")
        else:
            self.world.lose(child, "replace")

    @precondition(lambda self: self.losses < LOSSES_MAX)
    @rule(data=st.data())
    def an_entry_is_not_sent(self, data: st.DataObject) -> None:
        found = [o for o in self.world.open() if o.state == "claimed" and o.intent.role == "entry"]
        if found:
            child = data.draw(st.sampled_from(found))
            self.explained.add(child.intent.account_id)
            self.world.not_sent(child.intent, "deadline")

    @rule(data=st.data(), how=st.sampled_from(["rejected", "canceled", "expired"]))
    def broker_ends_an_entry(self, data: st.DataObject, how: str) -> None:
        child = self._pick(data)
        if child is not None and child.intent.role == "entry":
            self.explained.add(child.intent.account_id)
            self.world.end(child, how)  # pyright: ignore[reportArgumentType]

    # what must hold ----------------------------------------------------------------------------------------

    @invariant()
    def closes_in_flight_never_exceed_the_holding_when_they_are_made(self) -> None:
        for child in self.world.open():
            assert child.cum_qty <= child.qty

    @invariant()
    def nothing_blocks_an_account(self) -> None:
        assert self.world.book.blocked == {}

    @invariant()
    def the_way_out_is_counted_as_the_book_stands(self) -> None:
        assert_way_out(self.world)

    @invariant()
    def the_book_counts_what_the_broker_holds(self) -> None:
        for one in RULES:
            held = self.world.held(one.account_id)
            assert held == self.world.ledger.get((one.account_id, ESZ6), ZERO)

    @rule()
    def all_is_quiet(self) -> None:
        self.world.settle()
        leader = self.world.book.leader("L", "ES")
        assert leader.qty == self.qty
        for one in RULES:
            self._is_right(one)
        if self.qty == 0 and not self.resting:
            self.explained.clear()

    def _is_right(self, one: CopyRule) -> None:
        name = one.account_id
        held = self.world.held(name)
        exposure = self.world.book.exposure(name, "L", "ES")
        if self.qty == 0 and not self.resting:
            assert (held, exposure) == (0, 0), f"{name} is left behind"
            left = [o for o in self.world.open() if o.intent.account_id == name]
            assert left == [], f"{name} has orders without a position"
        self._is_protected_at_most_once(name, held)
        leader = self.world.book.leader("L", "ES")
        target = wanted(one, leader.qty if one.mirror == "fills" else leader.exposure)
        assert abs(held) <= abs(target), f"{name} has too much: {held}, wanted {target}"
        assert held * target >= 0
        if name not in self.explained and not self._rests_in_one_piece(name, exposure - target):
            assert exposure == target, f"{name}: {exposure}, wanted {target}"

    def _rests_in_one_piece(self, name: str, excess: Decimal) -> bool:
        """A resting entry is canceled whole or stays: of one that is larger than the excess, the excess is closed as it
        fills."""
        mine = [o for o in self.world.open() if o.intent.account_id == name and o.intent.role == "entry"]
        return any(0 < excess * sign(o.intent.side) < o.leaves_qty for o in mine)

    def _is_protected_at_most_once(self, account_id: str, held: Decimal) -> None:
        """R-038: all stops together, and all targets, are never more than what they close."""
        for role in ("stop", "target"):
            working = self.world.working(role, account_id)
            if not any(
                o.intent.role == "entry" for o in self.world.open() if o.intent.account_id == account_id
            ):
                assert sum((o.leaves_qty for o in working), ZERO) <= abs(held), (
                    f"{account_id}: {role} too large"
                )
                assert all(held * sign(o.intent.side) < 0 for o in working)

    @rule(side=sides, qty=quantities)
    def a_plan_is_the_same_twice_and_from_the_journal(self, side: str, qty: Decimal) -> None:
        act = signal("enter", "probe", side=side, quantity=qty, stop_loss=StopLoss(offset=d(10)))
        inputs = self.world.inputs()
        first = plan(act, self.world.book, RULES, inputs)
        assert plan(act, self.world.book, RULES, inputs) == first
        assert plan(act, self.world.refolded(), RULES, inputs) == first

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.all_is_quiet()
            self.flattens()
            self.all_is_quiet()
            again = self.world.refolded()
            assert again == self.world.book or _same_orders(again.orders, self.world.book.orders)


def _same_orders(a: dict[str, ChildOrder], b: dict[str, ChildOrder]) -> bool:
    return {k: (o.state, o.cum_qty, o.qty) for k, o in a.items()} == {
        k: (o.state, o.cum_qty, o.qty) for k, o in b.items()
    }


TestCopyMachine = CopyMachine.TestCase
TestCopyMachine.settings = MACHINE
