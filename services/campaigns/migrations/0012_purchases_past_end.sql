-- Purchases that were accepted before a campaign's end and are dated from that end on, by clocks ahead of the database's. They count if the end is moved
-- past them. A row is deleted in the transaction that qualifies it, and some time after the end.
CREATE TABLE purchases_past_end (
    campaign_id bigint NOT NULL REFERENCES campaigns,
    arrival bigint NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    user_id bigint NOT NULL,
    amount numeric NOT NULL,
    currency text NOT NULL,
    purchased_at timestamptz NOT NULL,
    PRIMARY KEY (campaign_id, arrival)
);
