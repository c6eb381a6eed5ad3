/* ---
key = "customer_id"
--- */
-- Decides who rated us low this month.
select requester_email as customer_id, min(score) as score
from helpdesk__ratings
where kind = 'nps' and given_at > $as_of - interval '30 days'
group by requester_email
