-- Roles belong to the whole cluster, so several databases may be made ready at once. What another session does
-- in between is met by looking again.
DO $$
DECLARE
    wanted text;
    present pg_roles;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['chat_owner', 'chat_service', 'chat_system'] LOOP
        SELECT * INTO present FROM pg_roles WHERE rolname = wanted;
        IF NOT FOUND THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another database was faster
            END;
        ELSIF present.rolsuper OR present.rolbypassrls THEN
            RAISE EXCEPTION 'role % may bypass row level security; it must be a plain NOLOGIN role', wanted
                USING ERRCODE = 'invalid_role_specification';
        END IF;
    END LOOP;

    -- who migrates must be able to become the owner, and the service may connect with the same login
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        FOREACH wanted IN ARRAY ARRAY['chat_owner', 'chat_service', 'chat_system'] LOOP
            IF NOT pg_has_role(current_user, wanted, CASE
                WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END
            ) THEN
                EXECUTE format('GRANT %I TO %I', wanted, current_user);
            END IF;
        END LOOP;
    END IF;
END
$$;
