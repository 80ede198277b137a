-- Conversations, messages, usage, generations, and what tells of them.

-- migrate:up

-- `*_key` names the key a column's content is encrypted with; null: it is plain. A title still at its default
-- stays plain, so that it can be recognised.
-- `last_message_id` is the greatest message id given out, also to an answer that is not written yet.
CREATE TABLE conversations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    title text NOT NULL,
    title_key text,
    context_type text NOT NULL DEFAULT 'general',
    context_data jsonb,
    context_key text,
    status text NOT NULL DEFAULT 'active',
    metadata jsonb NOT NULL DEFAULT '{}',
    last_message_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT conversations_status_check CHECK (status IN ('active', 'archived', 'deleted')),
    CONSTRAINT conversations_context_type_check
        CHECK (context_type IN ('general', 'assessment', 'career_guidance')),
    CONSTRAINT conversations_title_check CHECK (title_key IS NOT NULL OR char_length(title) <= 255),
    -- what messages, usage and generations refer to: a row of theirs is always of the conversation's own user
    CONSTRAINT conversations_id_user_key UNIQUE (id, user_id)
);
CREATE INDEX conversations_newest ON conversations (user_id, status, updated_at DESC, id DESC);
CREATE INDEX conversations_updated_at ON conversations (updated_at);

-- A parent is a message of the same conversation and older. It is no foreign key: dropping a partition would
-- fail on one.
CREATE TABLE messages (
    id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    user_id uuid NOT NULL,
    sender_type text NOT NULL,
    content text NOT NULL,
    content_key text,
    content_type text NOT NULL DEFAULT 'text',
    metadata jsonb NOT NULL DEFAULT '{}',
    parent_message_id uuid,
    token_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_conversation_fkey FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE,
    CONSTRAINT messages_sender_type_check CHECK (sender_type IN ('user', 'assistant', 'system')),
    CONSTRAINT messages_content_type_check CHECK (content_type IN ('text', 'image', 'file')),
    CONSTRAINT messages_parent_check CHECK (parent_message_id < id),
    CONSTRAINT messages_token_count_check CHECK (token_count >= 0)
) PARTITION BY RANGE (id);
CREATE INDEX messages_of_conversation ON messages (conversation_id, id);

-- One row per attempt of a generation, `id` = usage_id(generation_id, attempt). `conversation_id` is null where
-- the conversation was gone before the bill came. `settle_due_at` is when the upstream is next asked for it.
CREATE TABLE usage_tracking (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    conversation_id uuid,
    message_id uuid,
    generation_id uuid NOT NULL,
    attempt integer NOT NULL,
    model_used text NOT NULL,
    served_model text,
    prompt_tokens integer NOT NULL DEFAULT 0,
    completion_tokens integer NOT NULL DEFAULT 0,
    total_tokens integer NOT NULL DEFAULT 0,
    cost_credits numeric(20, 12) NOT NULL DEFAULT 0,
    is_free_model boolean NOT NULL DEFAULT false,
    processing_time_ms integer,
    state text NOT NULL,
    reached boolean NOT NULL,
    failure text,
    upstream_id text,
    upstream_key text,
    settle_due_at timestamptz,
    settle_tries integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT usage_tracking_pkey PRIMARY KEY (id),
    CONSTRAINT usage_tracking_conversation_fkey FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE,
    CONSTRAINT usage_tracking_state_check CHECK (state IN ('settled', 'estimated', 'unknown')),
    CONSTRAINT usage_tracking_counts_check
        CHECK (prompt_tokens >= 0 AND completion_tokens >= 0 AND cost_credits >= 0),
    CONSTRAINT usage_tracking_settle_check CHECK (settle_due_at IS NULL OR upstream_id IS NOT NULL)
) PARTITION BY RANGE (id);
CREATE INDEX usage_tracking_of_user ON usage_tracking (user_id, id);
CREATE INDEX usage_tracking_of_conversation ON usage_tracking (conversation_id, id);
CREATE INDEX usage_tracking_due ON usage_tracking (settle_due_at) WHERE settle_due_at IS NOT NULL;

-- Not partitioned: the unique client_message_id of a user could not be said of a partitioned table.
-- `finished` is the public end without the message's content, which stands in `messages` alone.
-- `bill_only`: it ended when its conversation was gone, so no message was written. `created_conversation` and
-- `retitled_conversation` are what accepting it did beside: whoever begins it has to tell.
CREATE TABLE generations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    conversation_id uuid NOT NULL,
    reply_to uuid NOT NULL,
    message_id uuid NOT NULL,
    client_message_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'accepted',
    request jsonb NOT NULL,
    plan jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    looked_at timestamptz,
    finished_at timestamptz,
    finished jsonb,
    bill_only boolean NOT NULL DEFAULT false,
    created_conversation boolean NOT NULL DEFAULT false,
    retitled_conversation boolean NOT NULL DEFAULT false,
    CONSTRAINT generations_client_message_key UNIQUE (user_id, client_message_id),
    CONSTRAINT generations_conversation_fkey FOREIGN KEY (conversation_id, user_id)
        REFERENCES conversations (id, user_id) ON DELETE CASCADE,
    CONSTRAINT generations_status_check
        CHECK (status IN ('accepted', 'completed', 'cancelled', 'failed', 'interrupted')),
    CONSTRAINT generations_end_check CHECK ((status = 'accepted') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX generations_one_running ON generations (conversation_id) WHERE status = 'accepted';
CREATE INDEX generations_running_of_user ON generations (user_id) WHERE status = 'accepted';
CREATE INDEX generations_unstarted ON generations (looked_at NULLS FIRST, created_at) WHERE status = 'accepted';
CREATE INDEX generations_of_conversation ON generations (conversation_id, id);

-- What is to be told, written in the transaction it tells of. `stream` keeps the order: rows of a stream are
-- delivered one after the other. A row with a `once_key` stays after its delivery, so that it is told once.
CREATE TABLE outbox (
    id uuid PRIMARY KEY,
    destination text NOT NULL,
    user_id uuid NOT NULL,
    conversation_id uuid,
    stream uuid NOT NULL GENERATED ALWAYS AS (coalesce(conversation_id, id)) STORED,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    once_key text,
    attempts integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    CONSTRAINT outbox_destination_check CHECK (destination IN ('channel', 'broker')),
    CONSTRAINT outbox_once UNIQUE (once_key)
);
CREATE INDEX outbox_in_order ON outbox (destination, stream, id) WHERE delivered_at IS NULL;
CREATE INDEX outbox_due ON outbox (destination, due_at) WHERE delivered_at IS NULL;
CREATE INDEX outbox_of_user ON outbox (user_id);

-- Who did what to which thing, when, from where; never content.
CREATE TABLE audit (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    subject_kind text NOT NULL,
    subject_id text,
    user_id uuid,
    origin text
);
CREATE INDEX audit_of_user ON audit (user_id, at);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit rows are never changed or removed' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- A tombstone: nothing of this user is written any more, however late it comes.
CREATE TABLE erased_users (
    user_id uuid PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down

DROP TABLE erased_users;
DROP TABLE audit;
DROP FUNCTION audit_is_append_only();
DROP TABLE outbox;
DROP TABLE generations;
DROP TABLE usage_tracking;
DROP TABLE messages;
DROP TABLE conversations;
