-- Exchange rates by day, and what waits for one.

-- Units of the currency for one euro. A rate that is changed converts what is converted from then on, and nothing anew.
CREATE TABLE exchange_rates (
    currency text COLLATE "C" NOT NULL,
    date date NOT NULL,
    per_euro numeric NOT NULL CHECK (per_euro > 0),
    changed_at timestamptz NOT NULL DEFAULT tenantry_now(),
    PRIMARY KEY (currency, date)
);

-- Qualified purchases for whose day there is no rate yet. A row is deleted in the transaction that adds it to a total.
CREATE TABLE parked_purchases (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id bigint NOT NULL REFERENCES campaigns,
    user_id bigint NOT NULL,
    event_id text,
    amount numeric NOT NULL,
    currency text COLLATE "C" NOT NULL,
    -- The campaign's currency, and the purchase's day in UTC: what a rate is needed for.
    campaign_currency text COLLATE "C" NOT NULL,
    date date NOT NULL,
    purchased_at timestamptz NOT NULL,
    arrival bigint NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT tenantry_now()
);
CREATE INDEX parked_purchases_by_need ON parked_purchases (currency, campaign_currency, date, id);
CREATE INDEX parked_purchases_by_campaign ON parked_purchases (campaign_id);

-- Purchases that do not count for a campaign although its item was bought while it ran, and why.
CREATE TABLE purchase_dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason text COLLATE "C" NOT NULL,
    detail text NOT NULL,
    campaign_id bigint NOT NULL REFERENCES campaigns,
    user_id bigint NOT NULL,
    event_id text,
    amount numeric NOT NULL,
    currency text NOT NULL,
    purchased_at timestamptz NOT NULL,
    arrival bigint NOT NULL,
    dead_lettered_at timestamptz NOT NULL DEFAULT tenantry_now()
);
CREATE INDEX purchase_dead_letters_by_reason ON purchase_dead_letters (reason, id);
