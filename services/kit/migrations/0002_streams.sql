-- Streams: append-only topics in partitions, read by consumer groups. See tenantry_kit::stream.

CREATE TABLE stream_topics (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    partitions integer NOT NULL CHECK (partitions BETWEEN 1 AND 256)
);

-- The head is the position of a partition's last event. Who appends holds the row's lock until his transaction ends: events
-- of a partition become visible in the order of their positions, without gaps.
CREATE TABLE stream_partitions (
    topic_id integer NOT NULL REFERENCES stream_topics,
    partition integer NOT NULL,
    head bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, partition)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 1000);

CREATE TABLE stream_events (
    topic_id integer NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    appended_at timestamptz NOT NULL DEFAULT now(),
    key text NOT NULL,
    payload json NOT NULL,
    PRIMARY KEY (topic_id, partition, position)
);

-- How far a group came. A consumer holds the row's lock while it processes the partition, and moves the position in the same
-- transaction as the effect.
CREATE TABLE stream_positions (
    topic_id integer NOT NULL REFERENCES stream_topics,
    consumer_group text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    served_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, consumer_group, partition)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 1000);

-- For the migrations of services: topics and their groups are part of the schema. The number of partitions is for ever,
-- since a key must stay in its partition.
CREATE FUNCTION stream_create_topic(topic_name text, partition_count integer) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO stream_topics (name, partitions) VALUES (topic_name, partition_count);
    INSERT INTO stream_partitions (topic_id, partition)
    SELECT id, generate_series(0, partition_count - 1) FROM stream_topics WHERE name = topic_name;
$$;

-- A group begins with the oldest event that is still there.
CREATE FUNCTION stream_create_group(topic_name text, group_name text) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO stream_positions (topic_id, consumer_group, partition)
    SELECT p.topic_id, group_name, p.partition
    FROM stream_partitions p JOIN stream_topics t ON t.id = p.topic_id WHERE t.name = topic_name;
$$;
