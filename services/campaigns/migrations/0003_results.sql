-- Totals (RCC): what each user has spent in each campaign, exactly, and since when.

CREATE TABLE campaign_totals (
    campaign_id bigint NOT NULL,
    user_id bigint NOT NULL,
    total numeric NOT NULL,
    reached_at timestamptz NOT NULL,
    arrival bigint NOT NULL,
    PRIMARY KEY (campaign_id, user_id)
) WITH (fillfactor = 80);
-- The order of the leaderboard: see the domain's ranking.
CREATE INDEX campaign_totals_ranking ON campaign_totals (campaign_id, total DESC, reached_at, arrival, user_id);

-- Grows with every change of a campaign's totals.
CREATE TABLE campaign_results (
    campaign_id bigint PRIMARY KEY REFERENCES campaigns,
    version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

SELECT stream_create_topic('qualified_purchase_events', 16);
SELECT stream_create_group('qualified_purchase_events', 'results');
SELECT stream_create_topic('results_calculation_update_events', 4);
