-- Lets the owner tie conversations to the ecosystem's users, where their table is here and this login may grant it.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'auth' AND relname = 'users'
    ) THEN
        GRANT USAGE ON SCHEMA auth TO chat_owner;
        GRANT REFERENCES ON auth.users TO chat_owner;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    NULL; -- the migration that needs it says so
END
$$;
