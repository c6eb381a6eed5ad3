```sql
select customer_id, email
from customer_features
where quiet_days > 90
```
