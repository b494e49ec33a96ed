-- Campaigns that are changed and cancelled, and the history of those that have ended.

ALTER TABLE campaigns
    -- Grows with every change that a caller makes.
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN cancelled_at timestamptz;
COMMENT ON COLUMN campaigns.start_announced_at IS
    'When Start was appended to campaigns_lifecycle; of a campaign that was cancelled before it started, when that was decided: it has no events';
COMMENT ON COLUMN campaigns.end_announced_at IS 'Likewise of End';

-- The history's order. A campaign that is cancelled before it starts ends when it is cancelled.
CREATE INDEX campaigns_by_ending ON campaigns (least(ends_at, cancelled_at) DESC, id DESC);

-- What came of a campaign, as of a version of its results: counting millions of participants is done once for each version that is asked for.
CREATE TABLE campaign_outcomes (
    campaign_id bigint PRIMARY KEY REFERENCES campaigns,
    results_version bigint NOT NULL,
    participants bigint NOT NULL,
    total numeric NOT NULL,
    top_user_id bigint,
    top_total numeric
);
