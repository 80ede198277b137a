-- {login} is a quoted identifier. From 16 on the login can become the roles without being able to do by itself
-- what they can.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 160000 THEN
        GRANT chat_service, chat_system TO {login} WITH INHERIT FALSE, SET TRUE;
    ELSE
        GRANT chat_service, chat_system TO {login};
    END IF;
END
$$;
