-- Several processes behind one door: who may hold the lease, who is there, what they hand over.

-- ---------------------------------------------------------------------------- replicas, and what they hand to one another

-- Builds that may hold a lease. Without any row the first build that takes one is written down as allowed.
create table builds (
    build   text primary key,
    allowed boolean not null,
    reason  text not null,
    who     text not null,
    at      timestamptz not null
);

-- Every process that serves a door, by its own word; one that is silent for some seconds is gone.
create table replicas (
    holder      text primary key,
    shard       text not null,
    build       text not null,
    config_hash text not null,           -- of what decides about orders; replicas of one moment show the same
    schema      integer not null,        -- newest migration that the build knows
    role        text not null check (role in ('standby', 'holder', 'stopping')),
    epoch       bigint not null,         -- of the lease that it holds or saw last
    note        text not null,           -- why it cannot take the lease; '' when it could
    started_at  timestamptz not null,
    seen_at     timestamptz not null     -- database time
);

-- What a replica without the lease took in, durable with its first answer; the holder alone acts on it, once.
create table inbox (
    inbox_id  bigint generated always as identity primary key,
    shard     text not null,
    workspace text not null,
    kind      text not null check (kind in ('signal', 'execution')),
    name      text not null,             -- signal id, or account and execution id
    payload   json not null,
    principal text not null,             -- with endpoint and key: the first answer that its sender got
    endpoint  text not null,
    key       text not null,
    at        timestamptz not null,
    done_at   timestamptz,               -- null: it waits for the holder
    outcome   text not null default ''   -- 'planned', 'recorded', 'known', or the code of a refusal
);
create unique index inbox_signals on inbox (workspace, name) where kind = 'signal';
create index inbox_waiting on inbox (shard, inbox_id) where done_at is null;
create index inbox_by_age on inbox (done_at) where done_at is not null;

create function tell_inbox() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_inbox', new.shard);
    return null;
end
$$;

create trigger inbox_filled after insert on inbox
    for each row execute function tell_inbox();

create function tell_inbox_done() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_inbox_done', new.inbox_id::text);
    return null;
end
$$;

create trigger inbox_settled after update of done_at on inbox
    for each row when (new.done_at is not null) execute function tell_inbox_done();

create function tell_lease() returns trigger language plpgsql as $$
begin
    perform pg_notify('kopitra_lease', new.shard);
    return null;
end
$$;

create trigger lease_released after update on lease
    for each row when (new.released) execute function tell_lease();

-- When no deployment should begin: the gate of `kopitra deploy-gate` is shut from `starts_at` to `ends_at`.
create table news_windows (
    window_id bigint generated always as identity primary key,
    title     text not null,
    starts_at timestamptz not null,
    ends_at   timestamptz not null,
    check (ends_at > starts_at)
);
