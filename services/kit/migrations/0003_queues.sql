-- The time of the kit and its services. It stands still within a statement, and tests replace it to shift time.
CREATE FUNCTION tenantry_now() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT statement_timestamp()';

ALTER TABLE stream_events ALTER COLUMN appended_at SET DEFAULT tenantry_now();
ALTER TABLE stream_positions ALTER COLUMN served_at SET DEFAULT tenantry_now();

-- Queues: messages that are locked, and then completed, abandoned or dead-lettered. See tenantry_kit::queue.

CREATE TABLE queue_names (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- What is there has been neither completed nor dead-lettered. While a message is locked, visible_at is the end of its lock:
-- a lock that nobody answers ends by itself.
CREATE TABLE queue_messages (
    id uuid PRIMARY KEY,
    queue_id integer NOT NULL,
    deliveries integer NOT NULL DEFAULT 0,
    enqueued_at timestamptz NOT NULL DEFAULT tenantry_now(),
    visible_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    delivered_at timestamptz,
    lock_token uuid,
    last_error text,
    payload json NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX queue_messages_by_visibility ON queue_messages (queue_id, visible_at, id);
CREATE INDEX queue_messages_by_expiry ON queue_messages (queue_id, expires_at);

-- Which ids were enqueued lately; a record outlives its message.
CREATE TABLE queue_deduplications (
    queue_id integer NOT NULL,
    deduplication_id text NOT NULL,
    message_id uuid NOT NULL,
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (queue_id, deduplication_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX queue_deduplications_by_end ON queue_deduplications (queue_id, ends_at);

CREATE TABLE queue_dead_letters (
    id uuid PRIMARY KEY,
    queue_id integer NOT NULL,
    deliveries integer NOT NULL,
    reason text NOT NULL,
    last_error text,
    enqueued_at timestamptz NOT NULL,
    delivered_at timestamptz,
    expires_at timestamptz NOT NULL,
    dead_lettered_at timestamptz NOT NULL DEFAULT tenantry_now(),
    payload json NOT NULL
);

CREATE INDEX queue_dead_letters_by_time ON queue_dead_letters (queue_id, dead_lettered_at, id);
CREATE INDEX queue_dead_letters_by_reason ON queue_dead_letters (queue_id, reason, dead_lettered_at, id);

-- For the migrations of services: queues are part of the schema.
CREATE FUNCTION queue_create(queue_name text) RETURNS void
LANGUAGE sql AS 'INSERT INTO queue_names (name) VALUES (queue_name)';
