-- Payments of prizes: which message of the queue pays which winner, and when that was done. A winner without a row is not paid until
-- somebody asks for it: so are all from before this migration.

SELECT queue_create('prize_payments');

CREATE TABLE prize_payments (
    campaign_id bigint NOT NULL,
    user_id bigint NOT NULL,
    -- For ever, through dead letters and back: towards the receiver, the idempotency key.
    message_id uuid NOT NULL UNIQUE,
    paid_at timestamptz,
    PRIMARY KEY (campaign_id, user_id),
    FOREIGN KEY (campaign_id, user_id) REFERENCES campaign_winners
);

-- A winner whose payment were forgotten would be paid again.
CREATE FUNCTION prize_payments_stay() RETURNS trigger
LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'payments of prizes are kept for ever'; END $$;
CREATE TRIGGER prize_payments_stay BEFORE DELETE OR TRUNCATE ON prize_payments
    FOR EACH STATEMENT EXECUTE FUNCTION prize_payments_stay();

ALTER TABLE campaigns ADD COLUMN payments_enqueued_at timestamptz;
COMMENT ON COLUMN campaigns.payments_enqueued_at IS 'When the payments of its winners were enqueued; until then they are held';
CREATE INDEX campaigns_with_held_prizes ON campaigns (id) WHERE completed_at IS NOT NULL AND payments_enqueued_at IS NULL;

CREATE INDEX prize_payments_unpaid ON prize_payments (message_id) WHERE paid_at IS NULL;
