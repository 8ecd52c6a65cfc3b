"""The accounts of a login, for account sync."""

from brokers._kit.rest import RestClient, decoded
from brokers.tradovate.auth import Token
from brokers.tradovate.entities import Account, CashBalance
from kopitra.ports import BrokerAccount


async def list_accounts(rest: RestClient, token: Token) -> tuple[BrokerAccount, ...]:
    """Every account that the login sees, with its cash."""
    headers = {"Authorization": f"Bearer {token.access}"}
    accounts = decoded((await rest.get("/account/list", headers=headers)).ok(), list[Account])
    cash = decoded((await rest.get("/cashBalance/list", headers=headers)).ok(), list[CashBalance])
    amounts = {row.account_id: row.amount for row in cash}
    return tuple(
        BrokerAccount(account.name, account.name, amounts.get(account.id), account.tradable)
        for account in accounts
    )
