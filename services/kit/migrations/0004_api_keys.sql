-- API keys of machines, by what their secrets hash to. See tenantry_kit::auth.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (length(secret_sha256) = 32),
    scopes text[] NOT NULL,
    made_by text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT tenantry_now(),
    expires_at timestamptz
);
