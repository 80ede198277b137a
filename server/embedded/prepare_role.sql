-- The role the server logs in as, made once. It owns nothing and may do nothing until the migrations
-- grant it the service's roles. A password cannot be a parameter of CREATE ROLE, so it comes as a
-- session setting.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chat_app') THEN
        EXECUTE format('CREATE ROLE chat_app LOGIN PASSWORD %L', current_setting('embedded.app_password'));
    END IF;
END
$$;
