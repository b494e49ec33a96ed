-- What was accepted, by the caller's event id: the same id counts once.

CREATE TABLE purchases (
    event_id text COLLATE "C" PRIMARY KEY,
    -- The order of acceptance.
    arrival bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    item_id bigint NOT NULL,
    amount numeric NOT NULL CHECK (amount > 0),
    currency text NOT NULL,
    purchased_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT now()
);

SELECT stream_create_topic('purchase_events', 16);
SELECT stream_create_group('purchase_events', 'qualification');
