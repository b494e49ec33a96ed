-- What `migrate` finished, for the operator: see tenantry_contract::paths::SCHEMA_VERSION_TABLE.
CREATE TABLE tenantry_schema_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version integer NOT NULL CHECK (version > 0),
    completed_at timestamptz NOT NULL DEFAULT now()
);
