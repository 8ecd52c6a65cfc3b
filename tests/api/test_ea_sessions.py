"""/sessions: leases, the inbox and the outbox, over bare ASGI (API.md section 1)."""

import json
from typing import NamedTuple

import pytest

from gateway_container.api.ea_door import NoEa
from kopitra.domain.ea_sessions import REDELIVER_S, Beat
from kopitra.domain.errors import Unavailable
from tests.api.client import ENTER, KEY, SECRET, SIGNALS, Reply, ea_headers
from tests.api.test_executions import FILL
from tests.api.world import World

SESSIONS = "/trade-agent/v1/sessions"
INBOX = SESSIONS + "/current/inbox"
OUTBOX = SESSIONS + "/current/outbox"
OPEN = {"authMethod": "account_session_key", "authenticationKey": KEY, "platform": "MT5"}


class Terminal(NamedTuple):
    world: World
    token: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def tell(self, *events: object, key: str | None = "i-1") -> Reply:
        body = json.dumps({"events": events}).encode()
        return await self.world.call("POST", INBOX, ea_headers(key, more=self.bearer), body)

    async def hear(self, query: str = "") -> Reply:
        return await self.world.call("GET", OUTBOX + query, ea_headers(None, more=self.bearer))


def event(kind: str, event_id: str | None = None, **payload: object) -> dict[str, object]:
    return {"eventType": kind, "payload": payload, **({} if event_id is None else {"eventId": event_id})}


async def post_session(world: World, key: str = "o-1", **changes: object) -> Reply:
    return await world.call("POST", SESSIONS, ea_headers(key), json.dumps({**OPEN, **changes}).encode())


async def open_session(world: World, key: str = "o-1") -> Terminal:
    reply = await post_session(world, key)
    assert reply.status == 201, reply.body
    return Terminal(world, str(reply.json["sessionToken"]))


def events_of(reply: Reply) -> list[dict[str, object]]:
    assert reply.status == 200, reply.body
    found: list[dict[str, object]] = json.loads(reply.body)["events"]
    return found


class TestOpening:
    async def test_the_ea_key_opens_a_session(self, world: World) -> None:
        reply = await post_session(world)
        assert reply.status == 201
        said = dict(reply.json)
        assert said.pop("sessionToken").startswith(f"kps_{said['sessionId']}_")  # pyright: ignore[reportAttributeAccessIssue]
        assert said == {
            "sessionId": said["sessionId"],
            "status": "authenticated",
            "pending": False,
            "heartbeatSeconds": 5,
        }

    async def test_the_pre_shared_secret_opens_one_too(self, world: World) -> None:
        world.change_key(signing_secrets=(b"shared-before",))
        right = {"authMethod": "pre_shared_key", "authenticationKey": "shared-before"}
        assert (await post_session(world, **right)).status == 201
        wrong = await post_session(world, "o-2", **{**right, "authenticationKey": "guessed"})
        assert (wrong.status, wrong.code) == (401, "invalid-credentials")

    @pytest.mark.parametrize("given", [KEY[:-1] + "x", SECRET, f"kpt_ea2_{SECRET}"])
    async def test_another_key_in_the_body_is_refused(self, world: World, given: str) -> None:
        reply = await post_session(world, authenticationKey=given)
        assert (reply.status, reply.code) == (401, "invalid-credentials")
        assert not world.terminals.rows

    async def test_the_same_request_gets_the_same_session_byte_for_byte(self, world: World) -> None:
        first, again = await post_session(world), await post_session(world)
        assert first.body == again.body
        assert len(world.terminals.rows) == 1
        other = await post_session(world, platform="MT4")
        assert (other.status, other.code) == (422, "idempotency-key-reused")

    async def test_a_token_cannot_be_told_from_what_is_stored(self, world: World) -> None:
        terminal = await open_session(world)
        secret = terminal.token.rpartition("_")[2]
        assert len(bytes.fromhex(secret)) * 8 >= 128
        assert secret not in repr(world.terminals.rows)

    async def test_a_new_session_retires_the_old_one_which_is_told_so(self, world: World) -> None:
        old = await open_session(world)
        reply = await post_session(world, "o-2")
        assert reply.json["previousSessionTerminated"] is True
        (notice,) = [e for e in events_of(await old.hear()) if e["eventType"] == "ShutdownNotice"]
        assert notice["payload"] == {"reason": "session_preempted"}
        refused = await old.tell(event("StatusHeartbeat"))
        assert (refused.status, refused.code) == (403, "session-ended")

    async def test_a_standby_says_where_sessions_are(self, world: World) -> None:
        terminal = await open_session(world)
        world.terminals = NoEa()  # pyright: ignore[reportAttributeAccessIssue]
        world.build()
        for reply in (await post_session(world, "o-2"), await terminal.hear()):
            assert (reply.status, reply.code) == (503, "not-the-holder")
            assert reply.headers["retry-after"]


class TestTheToken:
    async def test_it_posts_signals_like_the_key(self, world: World) -> None:
        terminal = await open_session(world)
        reply = await world.signal(**terminal.bearer)
        assert reply.status == 202
        again = await world.signal()
        assert again.headers["idempotent-replayed"] == "true"

    @pytest.mark.parametrize(
        "token, account, code",
        [("kps_none_x", "acc1", "invalid-credentials"), ("", "acc2", "account-not-allowed")],
    )
    async def test_a_wrong_token_or_account_is_refused(
        self, world: World, token: str, account: str, code: str
    ) -> None:
        terminal = await open_session(world)
        headers = {"authorization": f"Bearer {token or terminal.token}", "x-tradeagent-account": account}
        assert (await world.call("GET", OUTBOX, ea_headers(more=headers))).code == code

    async def test_it_ends_with_its_key(self, world: World) -> None:
        terminal = await open_session(world)
        world.change_key(revoked_at=world.clock.at)
        assert (await terminal.hear()).code == "revoked-credentials"

    async def test_closing_is_safe_to_repeat(self, world: World) -> None:
        terminal = await open_session(world)
        for _ in range(2):
            reply = await world.call("DELETE", SESSIONS + "/current", ea_headers("d", more=terminal.bearer))
            assert (reply.status, reply.body) == (204, b"")
        assert (await world.signal(**terminal.bearer)).code == "session-ended"


class TestPending:
    async def test_a_session_that_waits_for_approval_lives_and_does_not_trade(self, world: World) -> None:
        world.terminals.approves = False
        reply = await post_session(world)
        assert (reply.json["status"], reply.json["pending"]) == ("pending", True)
        terminal = Terminal(world, str(reply.json["sessionToken"]))
        beat = await terminal.tell(event("StatusHeartbeat"))
        assert (beat.status, beat.json) == (202, {"accepted": 1, "pendingSession": True})
        assert (await terminal.hear()).json["pending"] is True

        for told in (event("OrderIntent", "e1", **ENTER), event("SyncSnapshot", positions=[])):
            refused = await terminal.tell(told, key="i-2")
            assert (refused.status, refused.code) == (403, "session-pending")
        assert (await world.signal(**terminal.bearer)).code == "session-pending"
        assert world.ledger.untouched

        world.terminals.approve(str(reply.json["sessionId"]))
        assert [e["eventType"] for e in events_of(await terminal.hear())] == ["InitAck"]
        assert (await terminal.tell(event("OrderIntent", "e1", **ENTER), key="i-2")).status == 202


class TestInbox:
    async def test_an_order_intent_is_a_signal_that_counts_once(self, world: World) -> None:
        terminal = await open_session(world)
        told = event("OrderIntent", "e1", **ENTER)
        reply = await terminal.tell(told)
        assert (reply.status, reply.json) == (202, {"accepted": 1, "pendingSession": False})
        assert world.ledger.signals[0].signal_id == "s-1"
        assert (await terminal.tell(told, key="i-2")).status == 202
        assert (await world.signal(key="e1")).headers["idempotent-replayed"] == "true"
        assert len(world.ledger.signals) == 1

    async def test_an_event_id_means_one_thing(self, world: World) -> None:
        terminal = await open_session(world)
        await terminal.tell(event("OrderIntent", "e1", **ENTER))
        other = await terminal.tell(event("OrderIntent", "e1", **{**ENTER, "quantity": 9}), key="i-2")
        assert (other.status, other.code) == (422, "idempotency-key-reused")
        assert len(world.ledger.signals) == 1

    async def test_the_same_request_is_answered_again(self, world: World) -> None:
        terminal = await open_session(world)
        told = event("OrderIntent", None, **ENTER)
        first, again = await terminal.tell(told), await terminal.tell(told)
        assert (again.body, again.headers["idempotent-replayed"]) == (first.body, "true")
        assert (await terminal.tell(event("StatusHeartbeat"))).code == "idempotency-key-reused"
        world.terminals.sessions[next(iter(world.terminals.sessions))].answers.clear()  # another process
        assert (await terminal.tell(told)).body == first.body
        assert len(world.ledger.signals) == 1

    async def test_events_count_in_their_order(self, world: World) -> None:
        terminal = await open_session(world)
        acts = [event("OrderIntent", f"e{n}", **{**ENTER, "signalId": f"s-{n}"}) for n in range(3)]
        assert (await terminal.tell(*acts)).json["accepted"] == 3
        assert [s.signal_id for s in world.ledger.signals] == ["s-0", "s-1", "s-2"]

    @pytest.mark.parametrize(
        "bad, pointer",
        [
            (event("OrderIntent", "e2", **{**ENTER, "symbol": "NOPE"}), "/events/1/payload/symbol"),
            (event("OrderIntent", "e2", action="enter", symbol="ES"), "/events/1/payload/side"),
            (event("StatusHeartbeat", positionsHash="x"), "/events/1/payload/positionsHash"),
            (
                event("SyncSnapshot", positions=[{"symbol": "?", "quantity": 1}]),
                "/events/1/payload/positions/0/symbol",
            ),
            (event("OutboxAck"), "/events/1/payload"),
            ({"eventType": "Nonsense", "payload": {}}, "/events/1/eventType"),
        ],
    )
    async def test_one_bad_event_refuses_them_all_before_any_counts(
        self, world: World, bad: object, pointer: str
    ) -> None:
        terminal = await open_session(world)
        reply = await terminal.tell(event("OrderIntent", "e1", **ENTER), bad)
        assert (reply.status, reply.pointers) == (422, [pointer])
        assert world.ledger.untouched

    async def test_what_follows_a_failure_counts_when_all_is_sent_again(self, world: World) -> None:
        terminal = await open_session(world)
        told = (event("OrderIntent", "e1", **ENTER), event("SyncSnapshot", "e2", positions=[]))
        world.terminals.trouble = Unavailable("away")
        assert (await terminal.tell(*told)).code == "store-unavailable"
        world.terminals.trouble = None
        assert (await terminal.tell(*told)).status == 202
        assert (await terminal.tell(*told, key="i-2")).status == 202
        assert (len(world.ledger.signals), len(world.terminals.snapshots)) == (1, 1)

    async def test_an_execution_report_is_like_a_callback(self, world: World) -> None:
        terminal = await open_session(world)
        for key in ("i-1", "i-2"):
            assert (await terminal.tell(event("ExecutionReport", "x1", **FILL), key=key)).status == 202
        assert [account for _, account, _ in world.ledger.reports] == ["acc1"]

    async def test_a_snapshot_reaches_the_stream_with_its_number(self, world: World) -> None:
        terminal = await open_session(world)
        held = [{"symbol": "ESZ6", "quantity": -2}, {"symbol": "NQ", "quantity": "1"}]
        await terminal.tell(event("SyncSnapshot", positions=held, orders=["t1"], leaderSequence=7))
        (shot,) = world.terminals.snapshots
        assert (shot.leader, shot.source, shot.sequence, shot.orders) == ("l1", "ea", 7, frozenset({"t1"}))
        assert {root: int(qty) for root, qty in shot.positions} == {"ES": -2, "NQ": 1}

    async def test_the_other_events_arrive(self, world: World) -> None:
        terminal = await open_session(world)
        digest = "a" * 64
        reply = await terminal.tell(
            event("InitRequest", clientVersion="2.1"),
            event("StatusHeartbeat", leaderSequence=0, positionsHash=digest),
            event("StatusSummary", balance="1000.50"),
            event("ErrorAlert", code="no-quotes", message="chart is frozen"),
        )
        assert reply.json["accepted"] == 4
        assert world.terminals.beats == [Beat(0, digest)]
        assert world.terminals.complaints == [("no-quotes", "chart is frozen")]
        assert world.terminals.begun == 1

    async def test_acts_of_one_request_count_one_by_one_against_the_rate(self, world: World) -> None:
        world.change_key(rate_per_minute=10)
        terminal = await open_session(world)
        acts = [event("OrderIntent", f"e{n}", **{**ENTER, "signalId": f"s-{n}"}) for n in range(20)]
        assert (await terminal.tell(*acts)).code == "too-many-requests"
        assert world.ledger.untouched
        assert (await terminal.tell(*[event("StatusHeartbeat")] * 60)).status == 422


class TestOutbox:
    async def test_events_come_in_order_until_they_are_acknowledged(self, world: World) -> None:
        terminal = await open_session(world)
        session = next(iter(world.terminals.sessions.values()))
        world.terminals.tell(session, "SyncRequest", reason="sequence_gap")
        reply = await terminal.hear()
        first = events_of(reply)
        assert [(e["sequence"], e["eventType"], e["requiresAck"]) for e in first] == [
            (1, "InitAck", True),
            (2, "SyncRequest", True),
        ]
        assert reply.json["cursor"] == 2
        assert events_of(await terminal.hear("?cursor=2")) == []
        world.clock.forward(REDELIVER_S)
        assert [e["sequence"] for e in events_of(await terminal.hear("?cursor=2"))] == [1, 2]

        await terminal.tell(event("OutboxAck", eventIds=[first[0]["id"]]))
        world.clock.forward(REDELIVER_S)
        assert [e["sequence"] for e in events_of(await terminal.hear("?cursor=2"))] == [2]
        await terminal.tell(event("OutboxAck", cursor=2), key="i-2")
        assert events_of(await terminal.hear()) == []

    async def test_a_poll_says_when_to_come_again(self, world: World) -> None:
        terminal = await open_session(world)
        assert (await terminal.hear()).json["retryAfterMs"] == 0
        assert (await terminal.hear("?cursor=1")).json["retryAfterMs"] == 1000

    @pytest.mark.parametrize("query", ["?cursor=-1", "?cursor=x", "?wait=26", "?wait=-1"])
    async def test_a_wrong_query_is_refused(self, world: World, query: str) -> None:
        terminal = await open_session(world)
        reply = await terminal.hear(query)
        assert (reply.status, reply.code) == (400, "invalid-query")


async def test_signals_keep_their_own_route_for_the_key(world: World) -> None:
    assert (await world.call("POST", SIGNALS, ea_headers(), json.dumps(ENTER).encode())).status == 202
