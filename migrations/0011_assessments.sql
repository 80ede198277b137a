-- The conversation of an assessment, the answer that nobody asked for which welcomes to it, and what is told of the
-- assessment's stages.

-- What is dropped only forbade more: whoever does not know of the new rows never meets them.
-- squawk-ignore-file ban-drop-constraint, ban-drop-not-null

-- migrate:up

-- An answer to nothing: the welcome of an assessment's conversation.
ALTER TABLE generations ALTER COLUMN reply_to DROP NOT NULL;

-- The one conversation of a user's result; the row stays when its conversation is deleted, so that an event that
-- comes again does not bring it back. `notice` is told under `notice_key` once the conversation waits for its user.
-- `link_due_at` is when the archive is next told which conversation it is (none, where it is deleted).
CREATE TABLE assessment_conversations (
    user_id uuid NOT NULL,
    result_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    notice jsonb NOT NULL,
    notice_key text NOT NULL,
    link_due_at timestamptz DEFAULT now(),
    link_tries integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT assessment_conversations_pkey PRIMARY KEY (user_id, result_id),
    CONSTRAINT assessment_conversations_one_result UNIQUE (conversation_id),
    CONSTRAINT assessment_conversations_conversation_fkey FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE
);
CREATE INDEX assessment_conversations_due ON assessment_conversations (link_due_at) WHERE link_due_at IS NOT NULL;

ALTER TABLE assessment_conversations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON assessment_conversations TO chat_service
    USING (user_id = nullif(current_setting('app.current_user_id', true), '')::uuid);
CREATE POLICY house ON assessment_conversations TO chat_system USING (true);
GRANT SELECT, INSERT ON assessment_conversations TO chat_service;
GRANT UPDATE (conversation_id, notice, notice_key, link_due_at, link_tries) ON assessment_conversations TO chat_service;
-- what of a message's metadata speaks of a person is sealed too, and again under newer keys
GRANT UPDATE (metadata) ON messages TO chat_system;
GRANT SELECT ON assessment_conversations TO chat_system;
GRANT UPDATE (link_due_at, link_tries) ON assessment_conversations TO chat_system;

-- A copy of what a user's channel is told, for the service that tells those who listen there.
ALTER TABLE outbox DROP CONSTRAINT outbox_destination_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_destination_check
    CHECK (destination IN ('channel', 'broker', 'webhook')) NOT VALID;

-- A stage of an assessment, once; false: it was told before, or there is no such user. All stages of an assessment
-- are one stream of the outbox, so they come in order. The conflict has no target, since that would have to be read.
CREATE FUNCTION add_notice(in_user uuid, in_assessment uuid, in_notice jsonb, in_key text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    added bigint;
BEGIN
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload, once_key)
    VALUES (uuid_v7(), 'channel', in_user, in_assessment, 'notification', in_notice, in_key)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS added = ROW_COUNT;
    IF added = 0 THEN
        RETURN false;
    END IF;
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'webhook', in_user, in_assessment, 'notification', in_notice || jsonb_build_object('key', in_key)
    );
    RETURN true;
END
$$;

CREATE FUNCTION tell_stage(
    in_user uuid, in_assessment uuid, in_notice jsonb, in_key text, in_actor text, in_origin text
) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT act_for_living(in_user) THEN
        RETURN 'no user';
    END IF;
    IF NOT add_notice(in_user, in_assessment, in_notice, in_key) THEN
        RETURN 'told before';
    END IF;
    PERFORM note_audit(in_actor, in_origin, 'notification.tell', 'assessment', in_assessment::text, in_user);
    RETURN 'told';
END
$$;

-- The conversation waits for its user: tell them, and the ecosystem.
CREATE FUNCTION tell_ready(in_user uuid, in_conversation uuid, in_more jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    known assessment_conversations;
BEGIN
    SELECT * INTO known FROM assessment_conversations WHERE conversation_id = in_conversation;
    IF FOUND AND add_notice(
        in_user, known.result_id,
        jsonb_set(known.notice, '{notification,timestamp}', to_jsonb(wire_time(clock_timestamp()))),
        known.notice_key
    ) THEN
        PERFORM tell_broker(
            'chatbot.ready', in_user, in_conversation, jsonb_build_object('assessmentId', known.result_id) || in_more
        );
    END IF;
END
$$;

-- In the transaction that writes the welcome down, so a node that dies in between leaves nobody uninformed.
CREATE FUNCTION welcome_is_there() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM tell_ready(
        NEW.user_id, NEW.conversation_id,
        jsonb_build_object('messageId', NEW.message_id, 'generationId', NEW.id)
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER generations_welcome AFTER UPDATE OF finished_at ON generations
    FOR EACH ROW
    WHEN (NEW.reply_to IS NULL AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NOT NEW.bill_only)
    EXECUTE FUNCTION welcome_is_there();

-- What the archive shows must not lead to what is gone.
CREATE FUNCTION unlink_deleted() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    UPDATE assessment_conversations SET link_due_at = clock_timestamp(), link_tries = 0
    WHERE conversation_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER conversations_unlink AFTER UPDATE OF status ON conversations
    FOR EACH ROW
    WHEN (NEW.status = 'deleted' AND OLD.status <> 'deleted')
    EXECUTE FUNCTION unlink_deleted();

-- The conversation of a result: the one there is, or a new one. With a plan it gets a welcome, unless anything was
-- said or promised in it; without one it waits for its user at once. `in_again`: where it was deleted there may be
-- another one, since it is its user who asks. The user's orders come one after the other, as in begin_order. No
-- limit counts here: nobody asked for this answer, and nobody would ask again.
CREATE FUNCTION begin_assessment(
    in_user uuid, in_result uuid, in_title text, in_title_key text, in_context_data jsonb, in_context_key text,
    in_metadata jsonb, in_notice jsonb, in_notice_key text, in_plan jsonb, in_request jsonb, in_again boolean,
    in_actor text, in_origin text, in_id uuid
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    place conversations;
    welcome generations;
    created boolean := false;
    begun boolean := false;
BEGIN
    PERFORM act_for(in_user);
    PERFORM pg_advisory_xact_lock(hashtextextended(in_user::text, 0));
    IF EXISTS (SELECT FROM erased_users WHERE user_id = in_user) THEN
        RETURN json_build_object('outcome', 'no user');
    END IF;

    SELECT c.* INTO place
    FROM assessment_conversations AS a
    JOIN conversations AS c ON c.id = a.conversation_id
    WHERE a.user_id = in_user AND a.result_id = in_result
    FOR NO KEY UPDATE OF c;
    IF place.status = 'deleted' AND NOT in_again THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    IF place.id IS NULL OR place.status = 'deleted' THEN
        IF in_id IS NOT NULL AND NOT may_be_id(in_id, NULL) THEN
            RETURN json_build_object('outcome', 'other ids', 'clock', uuid_v7(), 'conversation_id', uuid_v7());
        END IF;
        INSERT INTO conversations (
            id, user_id, title, title_key, context_type, context_data, context_key, metadata
        ) VALUES (
            coalesce(in_id, uuid_v7()), in_user, in_title, in_title_key, 'assessment', in_context_data,
            in_context_key, in_metadata
        )
        RETURNING * INTO place;
        INSERT INTO assessment_conversations (user_id, result_id, conversation_id, notice, notice_key)
        VALUES (in_user, in_result, place.id, in_notice, in_notice_key)
        ON CONFLICT ON CONSTRAINT assessment_conversations_pkey DO UPDATE SET
            conversation_id = EXCLUDED.conversation_id,
            notice = EXCLUDED.notice,
            notice_key = EXCLUDED.notice_key,
            link_due_at = clock_timestamp(),
            link_tries = 0;
        created := true;
        PERFORM tell_broker(
            'chat.conversation.created', in_user, place.id,
            jsonb_build_object('contextType', place.context_type, 'assessmentId', in_result)
        );
        PERFORM note_audit(in_actor, in_origin, 'conversation.create', 'conversation', place.id::text, in_user);
    END IF;

    IF in_plan IS NOT NULL AND place.last_message_id IS NULL THEN
        UPDATE conversations SET
            last_message_id = uuid_v7(id),
            updated_at = greatest(clock_timestamp(), updated_at)
        WHERE id = place.id
        RETURNING * INTO place;
        INSERT INTO generations (
            id, user_id, conversation_id, message_id, client_message_id, request, plan, created_conversation
        ) VALUES (
            uuid_v7(), in_user, place.id, place.last_message_id, gen_random_uuid(),
            in_request || jsonb_build_object('created', created), in_plan, created
        )
        RETURNING * INTO welcome;
        begun := true;
    ELSE
        SELECT * INTO welcome FROM generations
        WHERE conversation_id = place.id AND reply_to IS NULL
        ORDER BY id
        LIMIT 1;
        IF created THEN
            INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
            VALUES (
                uuid_v7(), 'channel', in_user, place.id, 'conversation.created',
                jsonb_build_object('type', 'conversation.created', 'conversation', conversation_event(place))
            );
            PERFORM tell_ready(in_user, place.id, '{}');
        END IF;
    END IF;

    RETURN json_build_object(
        'outcome', CASE WHEN created THEN 'created' ELSE 'there' END, 'begun', begun,
        'conversation', row_to_json(place),
        'generation', CASE WHEN welcome.id IS NOT NULL THEN row_to_json(welcome) END
    );
END
$$;

-- Results whose conversation the archive is to be told: tries 5, 10, 20 ... 600 seconds apart, about a day long.
-- `conversation` is null where it is deleted.
CREATE FUNCTION claim_links(in_limit integer)
RETURNS TABLE (owner_id uuid, result uuid, conversation uuid, tries integer)
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    WITH claimed AS (
        UPDATE assessment_conversations SET
            link_tries = link_tries + 1,
            link_due_at = CASE
                WHEN link_tries < 150
                    THEN clock_timestamp() + least(interval '5 seconds' * 2 ^ least(link_tries, 7), interval '10 minutes')
            END
        WHERE conversation_id = ANY (ARRAY(
            SELECT conversation_id FROM assessment_conversations
            WHERE link_due_at <= clock_timestamp()
            ORDER BY link_due_at
            LIMIT in_limit
            FOR UPDATE SKIP LOCKED
        ))
        RETURNING *
    )
    SELECT claimed.user_id, claimed.result_id, place.id, claimed.link_tries
    FROM claimed
    LEFT JOIN conversations AS place ON place.id = claimed.conversation_id AND place.status <> 'deleted'
$$;

-- The archive knows. `in_tries` are those of the claim: what has changed since is told again.
CREATE FUNCTION link_done(in_user uuid, in_result uuid, in_tries integer) RETURNS void
LANGUAGE sql VOLATILE SET search_path FROM CURRENT
AS $$
    UPDATE assessment_conversations SET link_due_at = NULL
    WHERE user_id = in_user AND result_id = in_result AND link_tries = in_tries
$$;

-- migrate:down

REVOKE UPDATE (metadata) ON messages FROM chat_system;
DROP FUNCTION link_done(uuid, uuid, integer);
DROP FUNCTION claim_links(integer);
DROP FUNCTION begin_assessment(
    uuid, uuid, text, text, jsonb, text, jsonb, jsonb, text, jsonb, jsonb, boolean, text, text, uuid
);
DROP TRIGGER conversations_unlink ON conversations;
DROP FUNCTION unlink_deleted();
DROP TRIGGER generations_welcome ON generations;
DROP FUNCTION welcome_is_there();
DROP FUNCTION tell_ready(uuid, uuid, jsonb);
DROP FUNCTION tell_stage(uuid, uuid, jsonb, text, text, text);
DROP FUNCTION add_notice(uuid, uuid, jsonb, text);
-- the owner sees rows only where row security is not forced on it
ALTER TABLE outbox NO FORCE ROW LEVEL SECURITY;
DELETE FROM outbox WHERE destination = 'webhook';
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
ALTER TABLE outbox DROP CONSTRAINT outbox_destination_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_destination_check CHECK (destination IN ('channel', 'broker'));
DROP TABLE assessment_conversations;
ALTER TABLE generations NO FORCE ROW LEVEL SECURITY;
DELETE FROM generations WHERE reply_to IS NULL;
ALTER TABLE generations FORCE ROW LEVEL SECURITY;
ALTER TABLE generations ALTER COLUMN reply_to SET NOT NULL;
