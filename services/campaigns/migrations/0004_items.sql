-- Items of the shop's catalogue, to which campaigns refer. They are never deleted.

CREATE TABLE items (
    id bigint PRIMARY KEY CHECK (id > 0),
    name text NOT NULL CHECK (name <> ''),
    version bigint NOT NULL DEFAULT 1
);

-- The items of campaigns that there are: their names are not known, and can be put.
INSERT INTO items (id, name) SELECT DISTINCT item_id, 'Item ' || item_id FROM campaigns;

-- The release before this one knows no items: while it still runs, its campaigns bring theirs with them. Newer code checks first. To be dropped
-- with the first release that need not run beside that one.
CREATE FUNCTION campaigns_bring_their_item() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO items (id, name) VALUES (NEW.item_id, 'Item ' || NEW.item_id) ON CONFLICT (id) DO NOTHING;
    RETURN NEW;
END
$$;
CREATE TRIGGER campaigns_bring_their_item BEFORE INSERT ON campaigns
FOR EACH ROW EXECUTE FUNCTION campaigns_bring_their_item();

ALTER TABLE campaigns ADD CONSTRAINT campaigns_item FOREIGN KEY (item_id) REFERENCES items;
