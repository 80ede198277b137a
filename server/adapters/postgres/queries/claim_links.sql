SELECT owner_id, result, conversation, tries FROM claim_links($1)
