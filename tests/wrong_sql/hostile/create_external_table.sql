/* ---
key = "customer_id"
--- */
-- Reads a list somebody sent by mail.
create external table friends stored as csv location '/tmp/friends.csv'
