/* ---
key = "ticket_id"
--- */
-- What stands about a person beside their name, word for word: a ticket is a place for free text.
select
  customer_id              as ticket_id,
  customer_id,
  customer_id              as product_id,
  created_at               as opened_at,
  created_at               as resolved_at,
  created_at               as updated_at,
  'solved'                 as status,
  'question'               as kind,
  topic                    as subject,
  opening                  as agent_name,
  note                     as summary_fix
from csv__customers
