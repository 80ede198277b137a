-- Where the ecosystem's own table of users stands in this database, conversations belong to it: a user removed
-- there takes everything here along. The runner grants the owner what that needs, where it can.

-- migrate:up

DO $$
BEGIN
    -- to_regclass would fail where the schema may not be used
    IF NOT EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'auth' AND relname = 'users'
    ) THEN
        RETURN;
    END IF;
    IF NOT has_schema_privilege('auth', 'USAGE') OR NOT has_table_privilege('auth.users', 'REFERENCES') THEN
        RAISE WARNING 'conversations are not tied to auth.users: % may not refer to it', current_user;
        RETURN;
    END IF;
    ALTER TABLE conversations ADD CONSTRAINT conversations_user_fkey
        FOREIGN KEY (user_id) REFERENCES auth.users (id) ON DELETE CASCADE;
END
$$;

-- migrate:down

ALTER TABLE conversations DROP CONSTRAINT IF EXISTS conversations_user_fkey;
