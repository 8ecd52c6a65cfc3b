"""R-048 to R-050: the waiting orders of one account."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from gateway_container.engine.queue import WAITING_MAX, AccountQueue, Place, Stamp
from kopitra.domain.orders import LANES, OrderIntent, Role
from kopitra.ports import NotSent

ROLES: tuple[Role, ...] = ("entry", "exit", "stop")


def place(name: str, role: Role = "entry", leader: str = "lead", deadline_ns: int = 10) -> Place:
    closes = role != "entry"
    intent = OrderIntent(name, "l", "a", leader, "x", role, "ESZ6", "buy", Decimal(1), reduce_only=closes)
    return Place(intent, (), NotSent("busy"), Stamp(0, 0, 0), 0 if closes else deadline_ns)


def full(role: Role = "entry") -> AccountQueue:
    queue = AccountQueue()
    for number in range(WAITING_MAX):
        assert queue.push(place(f"{role}{number}", role)) is None
    return queue


def test_r048_it_holds_sixty_four_and_not_one_more() -> None:
    assert WAITING_MAX == 64
    queue = full()
    late = place("late")
    assert queue.push(late) is late
    assert queue.waiting == 64


def test_r050_an_exit_takes_the_place_of_the_youngest_entry() -> None:
    queue = full()
    displaced = queue.push(place("exit", "exit"))
    assert displaced is not None
    assert displaced.intent.cl_ord_id == "entry63"
    first = queue.pop()
    assert first is not None
    assert first.intent.cl_ord_id == "exit"


def test_r050_a_queue_full_of_exits_refuses_entries_first() -> None:
    queue = full("exit")
    entry = place("entry")
    assert queue.push(entry) is entry


def test_r049_at_the_deadline_entries_leave_the_queue_and_exits_stay() -> None:
    queue = AccountQueue()
    for number, deadline_ns in enumerate((10, 20, 30)):
        queue.push(place(f"e{number}", deadline_ns=deadline_ns))
    queue.push(place("x", "exit"))
    assert [p.intent.cl_ord_id for p in queue.overdue(20)] == ["e0", "e1"]
    assert [p.intent.cl_ord_id for p in queue.places()] == ["x", "e2"]


@given(st.lists(st.tuples(st.sampled_from(ROLES), st.booleans()), max_size=120))
def test_r050_nothing_is_lost_and_the_most_urgent_goes_first(pushes: list[tuple[Role, bool]]) -> None:
    queue, gone = AccountQueue(), set[str]()
    for number, (role, flatten) in enumerate(pushes):
        leader = "" if flatten and role == "exit" else "lead"
        displaced = queue.push(place(f"{number}", role, leader))
        if displaced is not None:
            gone.add(displaced.intent.cl_ord_id)
        assert queue.waiting <= WAITING_MAX
    popped: list[Place] = []
    while (one := queue.pop()) is not None:
        popped.append(one)
    assert gone.isdisjoint(p.intent.cl_ord_id for p in popped)
    assert len(gone) + len(popped) == len(pushes)
    urgency = [LANES.index(p.intent.lane) for p in popped]
    assert urgency == sorted(urgency)
