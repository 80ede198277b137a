-- {schema} is a quoted identifier, {schema_name} the same as a literal. `schema_migrations` is dbmate's own table,
-- so its command can be used too; the checksums are ours.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = {schema_name}) THEN
        CREATE SCHEMA {schema} AUTHORIZATION chat_owner;
    ELSIF NOT has_schema_privilege('chat_owner', {schema_name}, 'CREATE') THEN
        GRANT USAGE, CREATE ON SCHEMA {schema} TO chat_owner; -- somebody made it beforehand
    END IF;
END
$$;
SET LOCAL ROLE chat_owner;
CREATE TABLE IF NOT EXISTS {schema}.schema_migrations (version varchar(128) PRIMARY KEY);
CREATE TABLE IF NOT EXISTS {schema}.migration_checksums (
    version varchar(128) PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
