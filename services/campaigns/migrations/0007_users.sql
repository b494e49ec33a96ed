-- What leaderboards show of users: a copy of the shop's, fed in batches.

CREATE TABLE users (
    id bigint PRIMARY KEY CHECK (id > 0),
    name text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
