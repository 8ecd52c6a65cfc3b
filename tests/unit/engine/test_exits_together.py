"""Exits that waited together, at a broker that would turn a position: none closes what another closes (I-09)."""

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from gateway_container.engine.config import EMPTY, AccountConfig
from gateway_container.engine.last_look import LastLook
from gateway_container.engine.queue import Place, Stamp
from gateway_container.engine.state import State
from kopitra.domain.journal import OrdersSent, SentFact
from kopitra.domain.orders import ChildOrder, OrderIntent
from kopitra.domain.react import close_again
from kopitra.domain.signals import StopLoss, TakeProfit
from kopitra.ports import Clock, Encoded
from tests.unit.domain.copy_world import ESZ6, NOW, World, d, rule


class Hand:
    """A clock that stands, and a lease that does not end."""

    valid_until_ns = exits_until_ns = 2**62

    def now(self) -> object:
        return NOW

    def monotonic_ns(self) -> int:
        return 1


@dataclass
class Away(World):
    """Orders pass the gateway's own last look; while the session is down they wait for it."""

    down: bool = False
    waiting: list[OrderIntent] = field(default_factory=list[OrderIntent])
    #: role and quantity of what left, in order
    left: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])

    def __post_init__(self) -> None:
        super().__post_init__()
        hand = Hand()
        self.state = State(cast(Clock, hand))
        self.state.config = replace(EMPTY, accounts={"a1": AccountConfig("a1", "w", "a1", "x", "l1", "n1")})
        self.state.switches_until_ns = 2**62
        self.state.configured_ns = -1
        self.look = LastLook(self.state, hand)

    def write(self, intents: list[OrderIntent]) -> None:
        for intent in intents:
            if intent.after:
                continue
            if self.down:
                self.waiting.append(intent)
            elif intent.role == "entry":
                self.note(OrdersSent(intent.list_id, (SentFact(intent.cl_ord_id, 0, 0, 0),)))
            else:
                self._let_go(intent)

    def _let_go(self, intent: OrderIntent) -> None:
        self.state.book = self.book
        place = Place(intent, (), Encoded(intent.cl_ord_id, intent.account_id, b""), Stamp(0, 0, 0), 2**62)
        why = self.look.refusal(place, 1)
        if why is not None:
            self.not_sent(intent, why)
            return
        self.left.append((intent.role, int(place.intent.qty)))
        qty = place.intent.qty if intent.role == "exit" else None
        self.note(OrdersSent(intent.list_id, (SentFact(intent.cl_ord_id, 0, 0, 0, qty=qty),)))
        self.book.orders[intent.cl_ord_id].hops["written"] = 1

    def back(self) -> None:
        """The session is up: what waited leaves, in order, before anything of it fills."""
        self.down, waiting = False, self.waiting
        self.waiting = []
        for intent in waiting:
            self.write([intent])


def followed(qty: int) -> tuple[Away, ChildOrder, ChildOrder]:
    """A follower of `qty` with a stop and a target at the broker, whose session then goes down."""
    world = Away([rule()])
    stop, target = StopLoss(offset=d(10)), TakeProfit(offset=d(10))
    world.say("enter", side="buy", quantity=d(qty), stop_loss=stop, take_profits=(target,))
    world.settle()
    (stopping,), (taking,) = world.working("stop"), world.working("target")
    world.down = True
    world.left.clear()
    return world, stopping, taking


def test_two_exits_that_waited_never_close_more_than_is_held_i_09() -> None:
    """Each was cut to the whole holding: three were closed of two, and the leader's one was lost with them."""
    world, _, target = followed(4)
    world.say("reduce", quantity=d(2))
    world.say("reduce", quantity=d(1))
    world.fill(target, d(2))
    world.back()
    world.settle_closes()
    assert world.left == [("exit", 1)]
    assert world.ledger["a1", ESZ6] == world.held() == 1


def test_what_fell_behind_the_leader_is_closed_by_both_exits_as_before_i_09() -> None:
    world, _, _ = followed(4)
    world.say("reduce", quantity=d(2))
    world.say("reduce", quantity=d(1))
    world.back()
    world.settle_closes()
    assert world.left == [("exit", 2), ("exit", 1)]
    assert world.ledger["a1", ESZ6] == world.held() == 1


@pytest.mark.parametrize("rest", ["fills", "is canceled"])
def test_a_stop_that_began_to_fill_meanwhile_is_not_helped_i_09(rest: str) -> None:
    """The follower turned: the exit that had waited closed what the stop was closing at the market."""
    world, stop, target = followed(3)
    world.say("reduce", quantity=d(2))
    world.fill(stop, d(1))
    world.back()
    assert world.left == []
    if rest == "fills":
        world.fill(stop)
        world.end(target)
    else:
        world.end(stop)
    world.settle_closes()
    assert world.ledger["a1", ESZ6] == world.held() == (0 if rest == "fills" else 1)


def test_a_close_that_follows_no_act_is_not_held_to_the_target_i_09() -> None:
    """A repair knows better: the leader is at one, though our target says three."""
    world, _, _ = followed(3)
    world.down = False
    world.book.episodes["L", "a1", "ES"].target = d(1)
    made = close_again(world.book, world.child("stop"))
    world.book.episodes["L", "a1", "ES"].target = d(3)
    world.follow(made)
    assert world.left == [("exit", 2)]
