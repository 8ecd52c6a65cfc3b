"""POST /webhooks/{hookId}: the path is the credential, the message is the key."""

import asyncio
from ipaddress import ip_network

import pytest

from gateway_container.api import webhooks
from gateway_container.api.signatures import sign
from kopitra.domain.errors import SignalRefused, Unavailable
from tests.api.client import SECRET, Reply
from tests.api.stand_ins import NOW
from tests.api.world import World

LONG = "long NQ q=2 sl=40"


async def test_a_message_becomes_a_signal(world: World) -> None:
    reply = await world.hook(LONG)
    assert reply.status == 202
    signal = world.ledger.signals[0]
    assert (signal.workspace, signal.leader, signal.source) == ("w1", "l1", "webhook")
    assert (signal.symbol, signal.side, signal.quantity) == ("NQ", "buy", 2)
    assert reply.json["signalId"] == signal.signal_id


@pytest.mark.parametrize(
    "path", ["h1_wrong", "h1_", "h1", "nobody_" + SECRET, "_", "kph_h1_wrong", "x" * 500]
)
async def test_a_wrong_address_is_not_found(world: World, path: str) -> None:
    reply = await world.call("POST", f"/trade-agent/v1/webhooks/{path}", [], LONG.encode())
    assert (reply.status, reply.code) == (404, "not-found")
    assert world.ledger.untouched


async def test_the_address_may_carry_its_prefix(world: World) -> None:
    reply = await world.call("POST", f"/trade-agent/v1/webhooks/kph_h1_{SECRET}", [], LONG.encode())
    assert reply.status == 202


async def test_the_secret_is_neither_answered_nor_observed(world: World) -> None:
    for text in (LONG, "nonsense", "{"):
        assert SECRET.encode() not in (await world.hook(text)).body
    assert SECRET not in repr(world.served)


async def test_the_same_message_within_the_window_is_one_signal(world: World) -> None:
    world.clock.forward(13)
    first = await world.hook(LONG)
    for seconds in (1, 18):
        world.clock.forward(seconds)
        again = await world.hook(LONG)
        assert again.body == first.body
        assert again.headers["idempotent-replayed"] == "true"
    assert len(world.ledger.signals) == 1


async def test_the_same_message_after_the_window_is_a_new_signal(world: World) -> None:
    await world.hook(LONG)
    world.clock.forward(21)
    assert "idempotent-replayed" not in (await world.hook(LONG)).headers
    assert len({signal.signal_id for signal in world.ledger.signals}) == 2


async def test_a_restart_inside_the_window_forgets_nothing(world: World) -> None:
    """Neither within one bucket of time nor across its edge."""
    world.clock.forward(13)
    first = await world.hook(LONG)
    for seconds in (5, 14):
        world.clock.forward(seconds)
        world.ledger.forget()
        again = await world.hook(LONG)
        assert again.body == first.body
        assert again.headers["idempotent-replayed"] == "true"


async def test_another_message_is_another_signal(world: World) -> None:
    await world.hook(LONG)
    await world.hook("long NQ q=3 sl=40")
    assert len(world.ledger.signals) == 2


async def test_a_message_with_its_own_id_is_one_signal_for_ever(world: World) -> None:
    world.change_hook(preset="kopitra")
    text = '{"signalId":"a-1","action":"exit","symbol":"ES"}'
    first = await world.hook(text)
    world.clock.forward(86_400)
    assert (await world.hook(text)).body == first.body
    assert (await world.hook(text.replace("ES", "NQ"))).code == "idempotency-key-reused"


async def test_a_duplicate_while_the_first_runs_is_a_conflict(world: World) -> None:
    world.ledger.hold = True
    first = asyncio.create_task(world.hook(LONG))
    while not world.ledger.held:
        await asyncio.sleep(0)
    assert (await world.hook(LONG)).status == 409
    world.ledger.release()
    assert (await first).status == 202


async def _twice_across(world: World, edge_s: int) -> tuple[Reply, Reply]:
    """The same message before and behind an edge of time, two milliseconds apart, and a crowd that both wait in."""
    world.clock.forward(edge_s - 0.001)
    world.ledger.full, world.ledger.free = True, asyncio.Event()
    first = asyncio.create_task(world.hook(LONG))
    for _ in range(20):
        await asyncio.sleep(0)
    world.clock.forward(0.002)
    second = asyncio.create_task(world.hook(LONG))
    for _ in range(20):
        await asyncio.sleep(0)
    world.ledger.free.set()
    return await first, await second


@pytest.mark.parametrize("edge_s", [10, 20])
async def test_copies_across_an_edge_are_one_signal_though_the_first_one_waits_p3(
    world: World, edge_s: int
) -> None:
    """R-023, R-027: the first copy waited in a crowd, neither running nor stored, and the second one, in the next
    window, knew nothing of it: two signals, two plans."""
    first, second = await _twice_across(world, edge_s)
    assert len(world.ledger.signals) == 1
    assert first.status == 202
    assert (second.status, second.code) == (409, "idempotency-in-progress")
    world.ledger.full = False
    again = await world.hook(LONG)
    assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")


async def test_the_answer_to_a_copy_that_overtook_across_an_edge_is_given_again(world: World) -> None:
    """R-023: the copy behind the edge was accepted and durable while the one before it still waited."""
    world.clock.forward(19.999)
    world.ledger.full, world.ledger.free = True, asyncio.Event()
    first = asyncio.create_task(world.hook(LONG))
    for _ in range(20):
        await asyncio.sleep(0)
    world.clock.forward(0.002)
    world.ledger.full = False
    second = await world.hook(LONG)
    world.ledger.free.set()
    assert ((await first).status, (await first).body) == (202, second.body)
    assert len(world.ledger.signals) == 1


async def test_a_slow_commit_is_answered_in_time_and_honestly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ANSWER_WITHIN_S", 0.01)
    world.ledger.hold = True
    reply = await world.hook(LONG)
    assert (reply.status, reply.code) == (503, "commit-pending")
    assert "retry-after" in reply.headers
    world.ledger.release()
    again = await world.hook(LONG)
    assert (again.status, again.headers["idempotent-replayed"]) == (202, "true")
    assert len(world.ledger.signals) == 1


async def test_the_answer_limit_is_inside_the_senders_three_seconds() -> None:
    assert webhooks.ANSWER_WITHIN_S < 3


@pytest.mark.parametrize(
    "text, status, code",
    [
        ("", 422, "empty-message"),
        ("hodl ES", 422, "unknown-value"),
        ("long AAPL", 422, "unknown-symbol"),
        ("long ES q=0.5", 422, "quantity-off-step"),
        ('{"action":"buy"}', 422, "unexpected-format"),
        ('{"a":NaN}', 400, "number-not-finite"),
        ("x" * 70_000, 413, "body-too-large"),
    ],
)
async def test_messages_that_cannot_be_meant(world: World, text: str, status: int, code: str) -> None:
    reply = await world.hook(text)
    assert (reply.status, reply.code) == (status, code)
    assert world.ledger.untouched


async def test_a_hook_cannot_name_accounts_or_workspaces(world: World) -> None:
    text = (
        '{"symbol":"ES","action":"buy","account":"acc2","workspace":"w2","account_id":"9",'
        '"multiple_accounts":[{"account_id":"9"}]}'
    )
    assert (await world.hook(text, "h2")).status == 202
    assert (world.ledger.signals[0].workspace, world.ledger.signals[0].leader) == ("w1", "l1")


async def test_the_size_cap_of_the_hook(world: World) -> None:
    world.change_hook(settings={"quantity_max": "2"})
    assert (await world.hook("long ES q=3")).code == "quantity-above-cap"
    assert world.ledger.untouched
    assert (await world.hook("close ES q=3")).status == 202


@pytest.mark.parametrize(
    "changes",
    [{"settings": {"size": "2"}}, {"preset": "nobody"}, {"preset": "template", "template": "{"}],
)
async def test_a_hook_that_is_set_up_wrongly_says_so(world: World, changes: dict[str, object]) -> None:
    world.change_hook(**changes)
    reply = await world.hook(LONG)
    assert (reply.status, reply.code) == (422, "hook-misconfigured")
    assert world.ledger.untouched


async def test_a_template_of_the_hook(world: World) -> None:
    template = (
        '{"action":"enter","symbol":"{{ t }}","side":"{{ d | map L=buy S=sell }}","quantity":"{{ n | abs }}"}'
    )
    world.change_hook(preset="template", template=template)
    assert (await world.hook('{"t":"ES1!","d":"S","n":-3}')).status == 202
    signal = world.ledger.signals[0]
    assert (signal.symbol, signal.side, signal.quantity) == ("ES", "sell", 3)


async def test_an_inactive_hook_is_forbidden(world: World) -> None:
    world.change_hook(active=False)
    assert (await world.hook(LONG)).code == "hook-inactive"
    assert world.ledger.untouched


async def test_the_allow_list_of_a_hook(world: World) -> None:
    world.change_hook(allow_list=(ip_network("52.89.214.238/32"),))
    assert (await world.hook(LONG)).code == "address-not-allowed"
    assert world.ledger.untouched


async def test_a_hook_with_a_signing_secret_wants_signatures(world: World) -> None:
    world.change_hook(signing_secrets=(b"s",))
    assert (await world.hook(LONG)).code == "missing-signature"
    stamp = str(int(NOW.timestamp()))
    signature = sign(b"s", stamp, "POST", f"/trade-agent/v1/webhooks/h1_{SECRET}", LONG.encode())
    more = {"x_tradeagent_timestamp": stamp, "x_tradeagent_signature": signature}
    assert (await world.hook(LONG, **more)).status == 202


async def test_a_flooding_hook_is_slowed_and_may_still_exit(world: World) -> None:
    world.change_hook(rate_per_minute=5)
    statuses = [(await world.hook(f"long ES q={n}")).status for n in range(1, 9)]
    assert statuses == [202] * 4 + [429] * 4
    assert (await world.hook("exit ES")).status == 202


@pytest.mark.parametrize(
    "trouble, status",
    [(Unavailable("down"), 503), (SignalRefused("Too old.", code="stale-signal"), 422)],
)
async def test_the_engines_refusals(world: World, trouble: Exception, status: int) -> None:
    world.ledger.trouble = trouble
    assert (await world.hook(LONG)).status == status
    assert world.ledger.untouched
