-- What a campaign does with ties beyond the order that everybody has: whether equal totals share a rank, and the prize.

ALTER TABLE campaigns
    ADD COLUMN ranks text NOT NULL DEFAULT 'strict' CHECK (ranks IN ('strict', 'shared')),
    ADD COLUMN prize_rule text NOT NULL DEFAULT 'first' CHECK (prize_rule IN ('first', 'shared'));

-- Of which version of the results there are marks, and how many users it has.
ALTER TABLE campaign_results
    ADD COLUMN settled_version bigint,
    ADD COLUMN settled_users bigint;

-- The keys of every thousandth place of a campaign whose standings have left memory, in the order of the leaderboard: positions are counted from there.
CREATE TABLE campaign_marks (
    campaign_id bigint NOT NULL REFERENCES campaigns,
    minus_total numeric NOT NULL,
    reached_at timestamptz NOT NULL,
    arrival bigint NOT NULL,
    user_id bigint NOT NULL,
    place bigint NOT NULL,
    PRIMARY KEY (campaign_id, minus_total, reached_at, arrival, user_id)
);
