"""The simulated firm's own wire, spoken to without the adapter."""

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import cast

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from brokers.projectx.simulator import Simulator
from kopitra.ports import SimAccount

LOGINS = {
    "one": (
        SimAccount("PRAC-1", Decimal(50_000), {}),
        SimAccount("PRAC-2", Decimal(50_000), {"brackets": "position"}),
    ),
    "two": (SimAccount("LIVE-1", Decimal(50_000), {"live_funded": "true"}),),
}
FIRST, SECOND, LIVE = 4100001, 4100002, 4100003
Answer = dict[str, object]


class Client:
    """A user of the firm with a token."""

    def __init__(self, simulator: Simulator, http: httpx2.AsyncClient) -> None:
        self.simulator = simulator
        self.http = http
        self.token = ""
        self.contract = next(row.id for row in simulator.firm.by_id.values() if row.name.startswith("MNQ"))

    async def log_in(self, user: str = "one") -> None:
        body = {"userName": user, "apiKey": f"key-of-{user}"}
        self.token = (await self.http.post("/api/Auth/loginKey", json=body)).json()["token"]

    async def raw(self, path: str, body: object) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.http.post(f"/api/{path}", json=body, headers=headers)

    async def post(self, path: str, body: object) -> Answer:
        answer = await self.raw(path, body)
        assert answer.status_code == 200, answer.text
        return cast("Answer", json.loads(answer.content, parse_float=Decimal))

    async def place(self, **fields: object) -> Answer:
        order = {"accountId": FIRST, "contractId": self.contract, "type": 2, "side": 0, "size": 1, **fields}
        return await self.post("Order/place", order)

    async def control(self, command: str, **arguments: object) -> None:
        answer = await self.http.post(f"/_sim/{command}", json=arguments)
        assert answer.status_code == 200, answer.text

    async def hub(self, name: str = "user", **query: str) -> ClientConnection:
        query = {"access_token": self.token, **query}
        text = "&".join(f"{key}={value}" for key, value in query.items())
        url = self.simulator.control_url.replace("http", "ws")
        hub = await connect(f"{url}/hubs/{name}?{text}", proxy=None)
        await hub.send('{"protocol":"json","version":1}\x1e')
        assert await hub.recv() == "{}\x1e"
        return hub


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    simulator = Simulator(LOGINS, seed=3)
    await simulator.start("127.0.0.1", 0)
    async with httpx2.AsyncClient(base_url=simulator.control_url, verify=False) as http:
        made = Client(simulator, http)
        await made.log_in()
        yield made
    await simulator.stop()


async def call(hub: ClientConnection, target: str, *arguments: object) -> Answer:
    record = {"type": 1, "invocationId": "9", "target": target, "arguments": arguments}
    await hub.send(json.dumps(record) + "\x1e")
    return await until(hub, "3")


async def until(hub: ClientConnection, kind: str) -> Answer:
    """The next record of a type, or event of a name."""
    async with asyncio.timeout(5):
        while not (found := _of_kind(str(await hub.recv()), kind)):
            pass
    return found[0]


def _of_kind(frame: str, kind: str) -> list[Answer]:
    messages = [cast("Answer", json.loads(r, parse_float=Decimal)) for r in frame.split("\x1e") if r]
    return [m for m in messages if kind in (str(m.get("type")), m.get("target"))]


def rows(answer: Answer, name: str) -> list[Answer]:
    return cast("list[Answer]", answer[name])


def data(message: Answer) -> Answer:
    return cast("Answer", rows(message, "arguments")[0]["data"])


# ---- login and envelope


async def test_a_wrong_key_is_code_3_with_http_200(client: Client) -> None:
    answer = await client.http.post("/api/Auth/loginKey", json={"userName": "one", "apiKey": "no"})

    assert answer.status_code == 200
    assert answer.json() == {"token": None, "success": False, "errorCode": 3, "errorMessage": None}


async def test_requests_need_a_token_and_post(client: Client) -> None:
    assert (await client.http.post("/api/Account/search", json={})).status_code == 401
    assert (await client.http.get("/api/Account/search")).status_code == 405
    assert (await client.http.get("/api/Status/ping")).text == "pong"


async def test_validate_gives_a_new_token_and_revoking_ends_all(client: Client) -> None:
    renewed = (await client.post("Auth/validate", {}))["newToken"]
    assert renewed != client.token

    await client.control("revoke-tokens")

    assert (await client.raw("Account/search", {})).status_code == 401


async def test_a_token_expires(client: Client) -> None:
    await client.control("set-settings", token_ttl_s=1)
    await client.log_in()

    async with asyncio.timeout(5):
        while (await client.raw("Account/search", {})).status_code != 401:
            await asyncio.sleep(0.05)


async def test_accounts_are_those_of_the_user(client: Client) -> None:
    accounts = await client.post("Account/search", {"onlyActiveAccounts": True})

    assert [row["name"] for row in rows(accounts, "accounts")] == ["PRAC-1", "PRAC-2"]
    assert (await client.place(accountId=LIVE))["errorCode"] == 1


async def test_the_201st_request_of_a_minute_is_429(client: Client) -> None:
    statuses = {(await client.raw("Account/search", {})).status_code for _ in range(200)}

    assert statuses == {200}
    assert (await client.raw("Account/search", {})).status_code == 429


async def test_bars_have_a_window_of_their_own(client: Client) -> None:
    for _ in range(50):
        assert (await client.raw("History/retrieveBars", {})).status_code == 200
    assert (await client.raw("History/retrieveBars", {})).status_code == 429
    assert (await client.raw("Account/search", {})).status_code == 200


@pytest.mark.parametrize("body", ["[]", "{", '{"accountId":"x"}', '{"accountId":true}', ""])
async def test_a_body_that_does_not_bind_is_400(client: Client, body: str) -> None:
    headers = {"Authorization": f"Bearer {client.token}"}
    answer = await client.http.post("/api/Order/place", content=body, headers=headers)

    assert answer.status_code == 400


# ---- placing


@pytest.mark.parametrize(
    "fields, text",
    [
        (
            {"stopLossBracket": {"ticks": 40, "type": 4}},
            "Invalid stop loss ticks (40). Ticks should be less than zero when longing.",
        ),
        (
            {"side": 1, "stopLossBracket": {"ticks": -40, "type": 4}},
            "Invalid stop loss ticks (-40). Ticks should be greater than zero when shorting.",
        ),
        (
            {"stopLossBracket": {"ticks": -1, "type": 4}},
            "Invalid stop loss ticks (-1). Price should be at least 4 ticks away.",
        ),
        ({"stopLossBracket": {"ticks": -40, "type": 1}}, "Invalid stop loss type (Limit)"),
        (
            {"accountId": SECOND, "stopLossBracket": {"ticks": -40, "type": 4}},
            "Brackets cannot be used with Position Brackets",
        ),
        ({"type": 4, "stopPrice": 20000.1}, "Invalid stop price. Price is not aligned to tick size."),
        ({"type": 4, "stopPrice": 20000}, "Invalid price. Price is outside allowed range."),
        ({"type": 5, "trailPrice": 20000}, "Invalid price. Price is outside allowed range."),
        ({"type": 3, "stopPrice": 25010, "limitPrice": 25010}, "Invalid order type."),
    ],
)
async def test_refusals_speak_the_firms_words(client: Client, fields: Answer, text: str) -> None:
    answer = await client.place(**fields)

    assert (answer["success"], answer["errorCode"], answer["errorMessage"]) == (False, 2, text)
    assert isinstance(answer["orderId"], int)


async def test_a_tag_works_once_even_when_its_order_was_refused(client: Client) -> None:
    await client.place(type=4, stopPrice=20000.1, customTag="t1")

    again = await client.place(customTag="t1")

    assert again["errorCode"] == 2
    assert "custom tag already in use" in str(again["errorMessage"])


@pytest.mark.parametrize("fields, code", [({"accountId": 1}, 1), ({"contractId": "CON.F.US.XX.Z26"}, 8)])
async def test_unknown_things_have_their_codes(client: Client, fields: Answer, code: int) -> None:
    assert (await client.place(**fields))["errorCode"] == code


async def test_live_funded_accounts_refuse_orders(client: Client) -> None:
    await client.log_in("two")

    assert (await client.place(accountId=LIVE))["errorCode"] == 10
    assert (await client.post("Order/cancel", {"accountId": LIVE, "orderId": 1}))["errorCode"] == 6


async def test_a_bracket_goes_its_way_on_the_hub(client: Client) -> None:
    hub = await client.hub()
    await call(hub, "SubscribeOrders", FIRST)

    await client.place(
        customTag="b1", stopLossBracket={"ticks": -40, "type": 4}, takeProfitBracket={"ticks": 80, "type": 1}
    )

    seen: list[tuple[object, object]] = []
    orders: dict[object, Answer] = {}
    while len(seen) < 6:
        order = data(await until(hub, "GatewayUserOrder"))
        seen.append((order.get("customTag"), order["status"]))
        orders[order.get("customTag")] = order
    assert seen[:4] == [("b1-SL", 8), ("b1-TP", 8), ("b1", 6), ("b1", 2)]
    assert set(seen[4:]) == {("b1-SL", 1), ("b1-TP", 1)}
    stop, target = orders["b1-SL"], orders["b1-TP"]
    assert stop["parentOrderId"] == target["parentOrderId"] == orders["b1"]["id"]
    assert target["linkedOrderId"] == stop["id"]
    assert "linkedOrderId" not in stop
    assert (stop["stopPrice"], target["limitPrice"]) == (Decimal("24990.25"), Decimal("25020.25"))
    await hub.close()


async def test_suspended_children_show_in_v2_query_only(client: Client) -> None:
    await client.place(type=1, limitPrice=24000, stopLossBracket={"ticks": -40, "type": 4})
    working = {"filter": {"accountId": FIRST, "statuses": [1, 6, 7, 8]}, "pageSize": 10}

    found = rows(await client.post("Order/v2/query", working), "orders")
    open_ones = rows(await client.post("Order/searchOpen", {"accountId": FIRST}), "orders")

    assert [(row["status"], row.get("trailDistance")) for row in found] == [(1, None), (8, -40)]
    assert [row["status"] for row in open_ones] == [1]


async def test_a_round_trip_makes_half_turns_with_profit_and_fees(client: Client) -> None:
    hub = await client.hub()
    await call(hub, "SubscribeTrades", FIRST)
    await call(hub, "SubscribeAccounts")
    await client.place(size=2)
    opening = data(await until(hub, "GatewayUserTrade"))

    await client.post("Position/closeContract", {"accountId": FIRST, "contractId": client.contract})

    closing = data(await until(hub, "GatewayUserTrade"))
    assert "profitAndLoss" not in opening
    assert (opening["fees"], opening["commissions"]) == (Decimal("0.72"), Decimal("0.50"))
    assert closing["profitAndLoss"] == -1  # 2 contracts, one tick of spread, 0.50 each
    balance = data(await until(hub, "GatewayUserAccount"))["balance"]
    assert balance == Decimal(50_000) - 1 - Decimal("2.44")
    assert len(str(opening["creationTimestamp"]).split(".")[1]) == len("1234567+00:00")
    flat = await client.post("Position/searchOpen", {"accountId": FIRST})
    assert flat["positions"] == []
    await hub.close()


async def test_closing_more_or_nothing_has_its_codes(client: Client) -> None:
    body = {"accountId": FIRST, "contractId": client.contract}
    assert (await client.post("Position/closeContract", body))["errorCode"] == 2
    await client.place()
    assert (await client.post("Position/partialCloseContract", {**body, "size": 5}))["errorCode"] == 5


async def test_modify_is_absolute_and_refuses_what_is_over(client: Client) -> None:
    order_id = (await client.place(type=1, limitPrice=24000))["orderId"]
    body: Answer = {"accountId": FIRST, "orderId": order_id}

    assert (await client.post("Order/modify", {**body, "limitPrice": 24001}))["success"] is True
    found = cast("Answer", (await client.post("Order/searchById", body))["order"])
    assert found["limitPrice"] == Decimal(24001)
    assert (await client.post("Order/modify", body))["errorCode"] == 3
    assert (await client.post("Order/cancel", body))["success"] is True
    assert (await client.post("Order/cancel", body))["errorCode"] == 3
    assert (await client.post("Order/cancel", {**body, "orderId": 1}))["errorCode"] == 2


# ---- hubs


@pytest.mark.parametrize("version", ["0", "1"])
async def test_a_negotiated_id_works_once(client: Client, version: str) -> None:
    headers = {"Authorization": f"Bearer {client.token}"}
    answer = await client.http.post(f"/hubs/user/negotiate?negotiateVersion={version}", headers=headers)
    ticket = answer.json()["connectionToken" if version == "1" else "connectionId"]
    hub = await client.hub(id=ticket)

    with pytest.raises(InvalidStatus) as refused:
        await client.hub(id=ticket)

    assert refused.value.response.status_code == 404
    await hub.close()


async def test_a_hub_without_a_good_token_is_401(client: Client) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await client.hub(access_token="no")

    assert refused.value.response.status_code == 401


async def test_an_unknown_method_completes_with_an_error(client: Client) -> None:
    hub = await client.hub("market")

    done = await call(hub, "SubscribeContractDepth", client.contract)

    assert "Method does not exist" in str(done["error"])
    await hub.close()


async def test_foreign_accounts_cannot_be_subscribed(client: Client) -> None:
    hub = await client.hub()

    assert "error" in await call(hub, "SubscribeOrders", LIVE)
    await hub.close()


async def test_quotes_come_whole_first_and_sparse_after(client: Client) -> None:
    hub = await client.hub("market")
    await hub.send(
        json.dumps(
            {
                "type": 1,
                "invocationId": "1",
                "target": "SubscribeContractQuotes",
                "arguments": [client.contract],
            }
        )
        + "\x1e"
    )
    first = rows(await until(hub, "GatewayQuote"), "arguments")
    symbol = client.simulator.firm.by_id[client.contract].name

    await client.control("set-price", symbol=symbol, bid="25000", ask="25001", last="25000")

    second = rows(await until(hub, "GatewayQuote"), "arguments")
    assert {"lastPrice", "bestBid", "bestAsk"} <= set(first[1])
    assert {"bestBid", "lastPrice"}.isdisjoint(second[1])
    assert second[1]["bestAsk"] == 25001
    await hub.close()


async def test_a_handshake_for_another_protocol_is_refused(client: Client) -> None:
    url = client.simulator.control_url.replace("http", "ws")
    hub = await connect(f"{url}/hubs/user?access_token={client.token}", proxy=None)
    await hub.send('{"protocol":"messagepack","version":1}\x1e')

    assert "not supported" in str(await hub.recv())
    await hub.close()


async def test_the_end_of_the_session_expires_what_rests(client: Client) -> None:
    await client.place(type=1, limitPrice=24000)

    await client.control("end-session")

    since = {"accountId": FIRST, "startTimestamp": "2020-01-01T00:00:00Z"}
    history = rows(await client.post("Order/search", since), "orders")
    assert [row["status"] for row in history] == [4]


async def test_a_quirk_that_does_not_exist_is_named(client: Client) -> None:
    answer = await client.http.post("/_sim/quirks", json={"no_such": 1})

    assert answer.status_code == 400
    assert "no_such" in answer.text
