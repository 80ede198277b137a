-- What the house does with everybody's rows: seal them again under a newer key, remove what is too old, remove
-- everything of a user.

-- migrate:up

-- The day of a UUIDv7 in UTC, by whole ticks: through a float the last moment of a day would be the next one's.
CREATE FUNCTION uuid_day(id uuid) RETURNS date
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN date '1970-01-01' + (uuid_ticks(id) / 353894400000)::integer;

CREATE POLICY house ON conversations TO chat_system USING (true);
CREATE POLICY house ON messages TO chat_system USING (true);

GRANT SELECT, DELETE ON conversations, messages TO chat_system;
GRANT DELETE ON usage_tracking, generations TO chat_system;
GRANT UPDATE (title, title_key, context_data, context_key) ON conversations TO chat_system;
GRANT UPDATE (content, content_key) ON messages TO chat_system;

-- What comes too late for a user who was erased. Writers that know of tombstones never get here; the others
-- are told that there is no such user, and what would be told to nobody is not kept.
CREATE FUNCTION refuse_erased() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM erased_users WHERE user_id = NEW.user_id) THEN
        RETURN NEW;
    END IF;
    IF TG_TABLE_NAME = 'outbox' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'there is no such user' USING ERRCODE = 'foreign_key_violation';
END
$$;
CREATE TRIGGER conversations_of_the_living BEFORE INSERT ON conversations
    FOR EACH ROW EXECUTE FUNCTION refuse_erased();
CREATE TRIGGER outbox_of_the_living BEFORE INSERT ON outbox
    FOR EACH ROW EXECUTE FUNCTION refuse_erased();

-- The tombstone, and the generations that run. Whoever was writing has committed when this has the lock.
CREATE FUNCTION bury_user(in_user uuid, in_actor text, in_origin text) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM pg_advisory_xact_lock(hashtextextended(in_user::text, 0));
    INSERT INTO erased_users (user_id) VALUES (in_user) ON CONFLICT (user_id) DO NOTHING;
    PERFORM note_audit(in_actor, in_origin, 'user.erase', 'user', in_user::text, in_user);
    RETURN (
        SELECT coalesce(json_agg(id ORDER BY id), '[]')
        FROM generations
        WHERE user_id = in_user AND status = 'accepted'
    );
END
$$;

-- Up to `in_limit` rows of each kind; how many went. Generations before usage, as settling locks them, and the
-- outbox last: what the others' writers still told is in it by then.
CREATE FUNCTION erase_rows(in_user uuid, in_limit integer) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    gone_generations bigint;
    gone_usage bigint;
    gone_messages bigint;
    gone_conversations bigint := 0;
    gone_outbox bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    DELETE FROM generations
    WHERE id = ANY (ARRAY(SELECT id FROM generations WHERE user_id = in_user LIMIT in_limit));
    GET DIAGNOSTICS gone_generations = ROW_COUNT;
    DELETE FROM usage_tracking
    WHERE id = ANY (ARRAY(SELECT id FROM usage_tracking WHERE user_id = in_user LIMIT in_limit));
    GET DIAGNOSTICS gone_usage = ROW_COUNT;
    DELETE FROM messages
    WHERE id = ANY (ARRAY(
        SELECT m.id
        FROM conversations AS place
        JOIN messages AS m ON m.conversation_id = place.id
        WHERE place.user_id = in_user
        LIMIT in_limit
    ));
    GET DIAGNOSTICS gone_messages = ROW_COUNT;
    -- not before nothing hangs on them: a cascade has no limit
    IF greatest(gone_generations, gone_usage, gone_messages) < in_limit THEN
        DELETE FROM conversations
        WHERE id = ANY (ARRAY(SELECT id FROM conversations WHERE user_id = in_user LIMIT in_limit));
        GET DIAGNOSTICS gone_conversations = ROW_COUNT;
    END IF;
    DELETE FROM outbox
    WHERE id = ANY (ARRAY(SELECT id FROM outbox WHERE user_id = in_user LIMIT in_limit));
    GET DIAGNOSTICS gone_outbox = ROW_COUNT;
    RETURN json_build_object(
        'conversations', gone_conversations, 'messages', gone_messages, 'generations', gone_generations,
        'usage', gone_usage, 'outbox', gone_outbox
    );
END
$$;

REVOKE EXECUTE ON FUNCTION bury_user(uuid, text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION erase_rows(uuid, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bury_user(uuid, text, text) TO chat_system;
GRANT EXECUTE ON FUNCTION erase_rows(uuid, integer) TO chat_system;

-- migrate:down

DROP FUNCTION erase_rows(uuid, integer);
DROP FUNCTION bury_user(uuid, text, text);
DROP TRIGGER outbox_of_the_living ON outbox;
DROP TRIGGER conversations_of_the_living ON conversations;
DROP FUNCTION refuse_erased();
REVOKE UPDATE (content, content_key) ON messages FROM chat_system;
REVOKE UPDATE (title, title_key, context_data, context_key) ON conversations FROM chat_system;
REVOKE DELETE ON usage_tracking, generations FROM chat_system;
REVOKE SELECT, DELETE ON conversations, messages FROM chat_system;
DROP POLICY house ON messages;
DROP POLICY house ON conversations;
DROP FUNCTION uuid_day(uuid);
