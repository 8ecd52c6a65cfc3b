-- Shadow accounts: the whole way of a signal up to the broker's call, and then paper.

alter table accounts add column shadow boolean not null default false; -- its orders end on paper
