-- The first items of a conversation.
-- KEYS: order, items
-- ARGV: position that all of them are below
return read_items(KEYS[1], KEYS[2], ARGV[1])
