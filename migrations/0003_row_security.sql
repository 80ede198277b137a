-- Who sees which rows. `chat_service` does users' work: the rows of the user the transaction has set, none when
-- none is set (a setting that was transaction-local is '' afterwards, hence nullif). `chat_system` does the
-- house's own work: few verbs, all rows. The owner has no policy: FORCE means it sees nothing either.

-- migrate:up

ALTER TABLE conversations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE messages ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE usage_tracking ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE generations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE erased_users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own ON conversations TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY own ON messages TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY own ON usage_tracking TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY own ON generations TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY own ON outbox TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY own ON audit TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY own ON erased_users TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);

CREATE POLICY house ON usage_tracking TO chat_system USING (true);
CREATE POLICY house ON generations TO chat_system USING (true);
CREATE POLICY house ON outbox TO chat_system USING (true);
CREATE POLICY house ON audit TO chat_system USING (true);
CREATE POLICY house ON erased_users TO chat_system USING (true);

DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO chat_service, chat_system', current_schema());
END
$$;

-- users' work: conversations are deleted softly, messages never change, the outbox is written and not read
GRANT SELECT, INSERT ON conversations, messages, usage_tracking, generations TO chat_service;
GRANT UPDATE (
    title, title_key, context_type, context_data, context_key, status, metadata, last_message_id, updated_at,
    deleted_at
) ON conversations TO chat_service;
GRANT UPDATE (status, finished_at, finished, bill_only) ON generations TO chat_service;
GRANT INSERT ON outbox, audit TO chat_service;
GRANT SELECT ON erased_users TO chat_service;

-- the house's own work: look for what was left, settle bills, relay
GRANT SELECT ON generations, usage_tracking TO chat_system;
GRANT UPDATE (looked_at, finished) ON generations TO chat_system;
GRANT UPDATE (
    served_model, prompt_tokens, completion_tokens, total_tokens, cost_credits, state, settle_due_at, settle_tries
) ON usage_tracking TO chat_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO chat_system;
GRANT SELECT, INSERT ON audit, erased_users TO chat_system;

-- migrate:down

DO $$
BEGIN
    EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM chat_service, chat_system', current_schema());
END
$$;
REVOKE ALL ON conversations, messages, usage_tracking, generations, outbox, audit, erased_users
    FROM chat_service, chat_system;
DROP POLICY house ON erased_users;
DROP POLICY house ON audit;
DROP POLICY house ON outbox;
DROP POLICY house ON generations;
DROP POLICY house ON usage_tracking;
DROP POLICY own ON erased_users;
DROP POLICY own ON audit;
DROP POLICY own ON outbox;
DROP POLICY own ON generations;
DROP POLICY own ON usage_tracking;
DROP POLICY own ON messages;
DROP POLICY own ON conversations;
ALTER TABLE erased_users NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE audit NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE outbox NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE generations NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE usage_tracking NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE messages NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
ALTER TABLE conversations NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
