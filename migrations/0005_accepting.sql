-- A message is accepted by one call: who asks, whether it was asked before, where it belongs, what it follows,
-- the rows, and the history for the prompt. Outcomes are words in the answer, since an exception would cost
-- more and tell less; nothing has been written when the outcome is a refusal.

-- migrate:up

-- Whose rows this transaction may see from here on.
CREATE FUNCTION act_for(in_user uuid) RETURNS void
LANGUAGE sql VOLATILE
AS $$ SELECT set_config('app.current_user_id', in_user::text, true) $$;

-- The branch that ends with a message, walked up from parent to parent and stopped at the first message that
-- does not fit. LATERAL with LIMIT makes it one look-up by key per message, whatever the planner believes of
-- the table; `id <` ends the walk even on bad data and prunes the partitions.
CREATE FUNCTION branch(in_message uuid, in_tokens integer, in_messages integer)
RETURNS TABLE (
    id uuid, conversation_id uuid, sender_type text, content text, content_key text, content_type text,
    parent_message_id uuid, created_at timestamptz, metadata jsonb, token_count integer
)
LANGUAGE sql STABLE SET search_path FROM CURRENT
AS $$
    WITH RECURSIVE walked AS (
        SELECT newest.*, newest.token_count::bigint AS tokens, 1 AS steps
        FROM messages AS newest
        WHERE newest.id = in_message
        UNION ALL
        SELECT elder.*, walked.tokens + elder.token_count, walked.steps + 1
        FROM walked
        CROSS JOIN LATERAL (
            SELECT m.*
            FROM messages AS m
            WHERE m.id = walked.parent_message_id
                AND m.id < walked.id
                AND m.conversation_id = walked.conversation_id
            LIMIT 1
        ) AS elder
        WHERE walked.tokens + elder.token_count <= in_tokens AND walked.steps < in_messages
    )
    SELECT
        walked.id, walked.conversation_id, walked.sender_type, walked.content, walked.content_key,
        walked.content_type, walked.parent_message_id, walked.created_at, walked.metadata, walked.token_count
    FROM walked
    ORDER BY walked.id
$$;

-- What an earlier order with this client_message_id became, or null.
CREATE FUNCTION earlier_order(in_user uuid, in_client_message uuid) RETURNS json
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
AS $$
DECLARE
    earlier generations;
    place conversations;
    question messages;
BEGIN
    SELECT * INTO earlier FROM generations
    WHERE user_id = in_user AND client_message_id = in_client_message;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT * INTO place FROM conversations WHERE id = earlier.conversation_id AND status <> 'deleted';
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    SELECT * INTO question FROM messages WHERE id = earlier.reply_to;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no message');
    END IF;
    RETURN json_build_object(
        'outcome', 'duplicate', 'conversation', row_to_json(place), 'message', row_to_json(question),
        'generation', row_to_json(earlier)
    );
END
$$;

CREATE FUNCTION find_order(in_user uuid, in_client_message uuid) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM act_for(in_user);
    RETURN earlier_order(in_user, in_client_message);
END
$$;

-- Begin an order: the user is set, and the user's orders come one after the other from here to the commit. So
-- of several with one id the first is accepted and the others find it, and the count of running generations
-- is true. The answer is what ends the order already here, or null.
CREATE FUNCTION begin_order(in_user uuid, in_client_message uuid) RETURNS json
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM act_for(in_user);
    PERFORM pg_advisory_xact_lock(hashtextextended(in_user::text, 0));
    IF EXISTS (SELECT FROM erased_users WHERE user_id = in_user) THEN
        RETURN json_build_object('outcome', 'no user');
    END IF;
    RETURN earlier_order(in_user, in_client_message);
END
$$;

-- Why no generation may begin, or null. A limit of 0 is none.
CREATE FUNCTION refuse_generation(in_user uuid, in_conversation uuid, in_max_generations integer) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    IF EXISTS (SELECT FROM generations WHERE conversation_id = in_conversation AND status = 'accepted') THEN
        RETURN 'in progress';
    END IF;
    IF in_max_generations > 0 AND in_max_generations <= (
        SELECT count(*) FROM generations WHERE user_id = in_user AND status = 'accepted'
    ) THEN
        RETURN 'too many';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION conversation_event(place conversations) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
    SELECT jsonb_build_object(
        'id', place.id, 'title', place.title, 'context_type', place.context_type, 'status', place.status,
        'created_at', wire_time(place.created_at), 'updated_at', wire_time(place.updated_at)
    )
$$;

-- Something for the broker; never message text. `in_more` are further fields of the event.
CREATE FUNCTION tell_broker(in_kind text, in_user uuid, in_conversation uuid, in_more jsonb) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'broker', in_user, in_conversation, in_kind,
        jsonb_build_object(
            'eventType', in_kind, 'timestamp', wire_time(clock_timestamp()),
            'userId', in_user, 'conversationId', in_conversation
        ) || in_more
    )
$$;

CREATE FUNCTION accept_message(
    in_user uuid, in_conversation uuid, in_client_message uuid,
    in_content text, in_content_key text, in_content_type text, in_parent uuid, in_token_count integer,
    in_title text, in_title_key text, in_default_title text, in_plan jsonb, in_request jsonb,
    in_max_generations integer, in_history_tokens integer, in_history_messages integer
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    ended json;
    refusal text;
    place conversations;
    question messages;
    answering generations;
    retitled boolean := false;
    follows uuid := in_parent;
BEGIN
    ended := begin_order(in_user, in_client_message);
    IF ended IS NOT NULL THEN
        RETURN ended;
    END IF;

    IF in_conversation IS NOT NULL THEN
        SELECT * INTO place FROM conversations
        WHERE id = in_conversation AND status <> 'deleted'
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN json_build_object('outcome', 'no conversation');
        END IF;
    ELSE
        place.id := uuid_v7();
    END IF;

    IF in_parent IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM messages WHERE id = in_parent AND conversation_id = place.id) THEN
            RETURN json_build_object('outcome', 'no parent');
        END IF;
    ELSIF in_conversation IS NOT NULL THEN
        -- the newest message: where an answer was made again, its newest sibling
        SELECT id INTO follows FROM messages
        WHERE conversation_id = place.id AND id > place.id AND id <= place.last_message_id
        ORDER BY id DESC
        LIMIT 1;
    END IF;

    refusal := refuse_generation(in_user, place.id, in_max_generations);
    IF refusal IS NOT NULL THEN
        RETURN json_build_object('outcome', refusal);
    END IF;

    question.id := uuid_v7(greatest(place.last_message_id, place.id));
    answering.message_id := uuid_v7(question.id);
    IF in_conversation IS NULL THEN
        INSERT INTO conversations (id, user_id, title, title_key, last_message_id)
        VALUES (place.id, in_user, in_title, in_title_key, answering.message_id)
        RETURNING * INTO place;
        PERFORM tell_broker(
            'chat.conversation.created', in_user, place.id,
            jsonb_build_object('contextType', place.context_type)
        );
    ELSE
        retitled := place.title_key IS NULL AND place.title = in_default_title AND in_title <> in_default_title;
        UPDATE conversations SET
            last_message_id = answering.message_id,
            updated_at = greatest(clock_timestamp(), updated_at),
            title = CASE WHEN retitled THEN in_title ELSE title END,
            title_key = CASE WHEN retitled THEN in_title_key ELSE title_key END
        WHERE id = place.id
        RETURNING * INTO place;
    END IF;

    INSERT INTO messages (
        id, conversation_id, user_id, sender_type, content, content_key, content_type, parent_message_id,
        token_count, created_at
    ) VALUES (
        question.id, place.id, in_user, 'user', in_content, in_content_key, in_content_type, follows,
        in_token_count, clock_timestamp()
    )
    RETURNING * INTO question;

    INSERT INTO generations (
        id, user_id, conversation_id, reply_to, message_id, client_message_id, request, plan,
        created_conversation, retitled_conversation
    ) VALUES (
        uuid_v7(), in_user, place.id, question.id, answering.message_id, in_client_message, in_request, in_plan,
        in_conversation IS NULL, retitled
    )
    RETURNING * INTO answering;

    RETURN json_build_object(
        'outcome', 'accepted', 'conversation', row_to_json(place),
        'message', row_to_json(question), 'generation', row_to_json(answering),
        'history', (
            SELECT json_agg(row_to_json(told) ORDER BY told.id)
            FROM branch(question.id, in_history_tokens, in_history_messages) AS told
        )
    );
END
$$;

-- Answer again: an assistant message's question, or a user message. The new answer's parent is the question,
-- as the old one's is, so they are siblings.
CREATE FUNCTION accept_again(
    in_user uuid, in_message uuid, in_conversation uuid, in_client_message uuid, in_plan jsonb, in_request jsonb,
    in_max_generations integer, in_history_tokens integer, in_history_messages integer
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    ended json;
    refusal text;
    place conversations;
    question messages;
    answering generations;
BEGIN
    ended := begin_order(in_user, in_client_message);
    IF ended IS NOT NULL THEN
        RETURN ended;
    END IF;

    SELECT * INTO question FROM messages WHERE id = in_message;
    IF NOT FOUND OR question.sender_type = 'system' OR question.conversation_id <> in_conversation THEN
        RETURN json_build_object('outcome', 'no message');
    END IF;
    SELECT * INTO place FROM conversations
    WHERE id = question.conversation_id AND status <> 'deleted'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'no conversation');
    END IF;
    IF question.sender_type = 'assistant' THEN
        SELECT * INTO question FROM messages
        WHERE id = question.parent_message_id AND conversation_id = place.id AND sender_type = 'user';
        IF NOT FOUND THEN
            RETURN json_build_object('outcome', 'no parent');
        END IF;
    END IF;

    refusal := refuse_generation(in_user, place.id, in_max_generations);
    IF refusal IS NOT NULL THEN
        RETURN json_build_object('outcome', refusal);
    END IF;

    INSERT INTO generations (
        id, user_id, conversation_id, reply_to, message_id, client_message_id, request, plan
    ) VALUES (
        uuid_v7(), in_user, place.id, question.id, uuid_v7(greatest(place.last_message_id, question.id)),
        in_client_message, in_request, in_plan
    )
    RETURNING * INTO answering;
    UPDATE conversations SET
        last_message_id = answering.message_id,
        updated_at = greatest(clock_timestamp(), updated_at)
    WHERE id = place.id
    RETURNING * INTO place;

    RETURN json_build_object(
        'outcome', 'accepted', 'conversation', row_to_json(place),
        'message', row_to_json(question), 'generation', row_to_json(answering),
        'history', (
            SELECT json_agg(row_to_json(told) ORDER BY told.id)
            FROM branch(question.id, in_history_tokens, in_history_messages) AS told
        )
    );
END
$$;

-- A conversation without a message yet. The channel hears of it through the outbox, so also after a crash.
CREATE FUNCTION create_conversation(
    in_user uuid, in_title text, in_title_key text, in_context_type text, in_context_data jsonb,
    in_context_key text
) RETURNS json
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT
AS $$
DECLARE
    place conversations;
BEGIN
    PERFORM act_for(in_user);
    IF EXISTS (SELECT FROM erased_users WHERE user_id = in_user) THEN
        RETURN json_build_object('outcome', 'no user');
    END IF;
    INSERT INTO conversations (id, user_id, title, title_key, context_type, context_data, context_key)
    VALUES (uuid_v7(), in_user, in_title, in_title_key, in_context_type, in_context_data, in_context_key)
    RETURNING * INTO place;
    INSERT INTO outbox (id, destination, user_id, conversation_id, kind, payload)
    VALUES (
        uuid_v7(), 'channel', in_user, place.id, 'conversation.created',
        jsonb_build_object('type', 'conversation.created', 'conversation', conversation_event(place))
    );
    PERFORM tell_broker(
        'chat.conversation.created', in_user, place.id,
        jsonb_build_object('contextType', place.context_type)
    );
    RETURN json_build_object('outcome', 'created', 'conversation', row_to_json(place));
END
$$;

-- migrate:down

DROP FUNCTION create_conversation(uuid, text, text, text, jsonb, text);
DROP FUNCTION accept_again(uuid, uuid, uuid, uuid, jsonb, jsonb, integer, integer, integer);
DROP FUNCTION accept_message(
    uuid, uuid, uuid, text, text, text, uuid, integer, text, text, text, jsonb, jsonb, integer, integer, integer
);
DROP FUNCTION tell_broker(text, uuid, uuid, jsonb);
DROP FUNCTION conversation_event(conversations);
DROP FUNCTION refuse_generation(uuid, uuid, integer);
DROP FUNCTION begin_order(uuid, uuid);
DROP FUNCTION find_order(uuid, uuid);
DROP FUNCTION earlier_order(uuid, uuid);
DROP FUNCTION branch(uuid, integer, integer);
DROP FUNCTION act_for(uuid);
