"""The brokers as their folders describe themselves; the gateway upserts them when it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kopitra.store.pool import Database, values_of


@dataclass(frozen=True, slots=True)
class BrokerRow:
    """One broker folder. `capabilities` and `credential_schema` are JSON; `enabled` is the feature flag."""

    broker: str
    title: str
    capabilities: bytes
    credential_schema: bytes
    updated_at: datetime
    enabled: bool = True


async def publish_brokers(db: Database, rows: Sequence[BrokerRow]) -> None:
    """Insert or refresh; the feature flag of a known broker stays, and an unchanged one is not touched."""
    text = """
        insert into catalogue (broker, title, capabilities, credential_schema, updated_at, enabled)
        values (%(broker)s, %(title)s, convert_from(%(capabilities)s, 'UTF8')::json,
                convert_from(%(credential_schema)s, 'UTF8')::json, %(updated_at)s, %(enabled)s)
        on conflict (broker) do update
        set title = excluded.title, capabilities = excluded.capabilities,
            credential_schema = excluded.credential_schema, updated_at = excluded.updated_at
        where (catalogue.title, catalogue.capabilities::text, catalogue.credential_schema::text)
            <> (excluded.title, excluded.capabilities::text, excluded.credential_schema::text)"""
    async with db.transaction() as session:
        for row in rows:
            await session.run(text, values_of(row))


async def enable_broker(db: Database, broker: str, *, enabled: bool) -> bool:
    """Turn the feature flag; False for an unknown broker."""
    return await db.run("update catalogue set enabled = %s where broker = %s", (enabled, broker)) == 1


async def list_brokers(db: Database) -> list[BrokerRow]:
    """All brokers that ever presented themselves."""
    text = """
        select broker, title, capabilities, credential_schema, updated_at, enabled
        from catalogue order by broker"""
    return await db.rows(BrokerRow, text)
