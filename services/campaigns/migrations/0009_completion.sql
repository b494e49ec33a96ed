-- Completion: who won a campaign, fixed once, when nothing that could change it is left.

ALTER TABLE campaigns ADD COLUMN completed_at timestamptz;
COMMENT ON COLUMN campaigns.completed_at IS 'When the winners were fixed, if there were any; never, of a campaign that was cancelled';
CREATE INDEX campaigns_to_complete ON campaigns (ends_at) WHERE completed_at IS NULL AND cancelled_at IS NULL;

CREATE TABLE campaign_winners (
    campaign_id bigint NOT NULL REFERENCES campaigns,
    user_id bigint NOT NULL,
    -- Counted from 0, as on the leaderboard.
    position integer NOT NULL,
    total numeric NOT NULL,
    prize numeric NOT NULL CHECK (prize > 0),
    prize_currency text NOT NULL,
    PRIMARY KEY (campaign_id, user_id)
);

CREATE FUNCTION campaign_winners_stay() RETURNS trigger
LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the winners of a campaign are fixed for ever'; END $$;
CREATE TRIGGER campaign_winners_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON campaign_winners
    FOR EACH STATEMENT EXECUTE FUNCTION campaign_winners_stay();
