-- What a campaign does with ties beyond the order that everybody has: whether equal totals share a rank, and the prize.

ALTER TABLE campaigns
    ADD COLUMN ranks text NOT NULL DEFAULT 'strict' CHECK (ranks IN ('strict', 'shared')),
    ADD COLUMN prize_rule text NOT NULL DEFAULT 'first' CHECK (prize_rule IN ('first', 'shared'));
