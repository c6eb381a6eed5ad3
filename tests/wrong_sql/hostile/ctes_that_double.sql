/* ---
key = "customer_id"
--- */
-- Makes more rows than anybody can count.
with
t0 as (select customer_id from customer_features),
t1 as (select a.customer_id from t0 a join t0 b on b.customer_id = a.customer_id),
t2 as (select a.customer_id from t1 a join t1 b on b.customer_id = a.customer_id),
t3 as (select a.customer_id from t2 a join t2 b on b.customer_id = a.customer_id),
t4 as (select a.customer_id from t3 a join t3 b on b.customer_id = a.customer_id),
t5 as (select a.customer_id from t4 a join t4 b on b.customer_id = a.customer_id),
t6 as (select a.customer_id from t5 a join t5 b on b.customer_id = a.customer_id),
t7 as (select a.customer_id from t6 a join t6 b on b.customer_id = a.customer_id),
t8 as (select a.customer_id from t7 a join t7 b on b.customer_id = a.customer_id),
t9 as (select a.customer_id from t8 a join t8 b on b.customer_id = a.customer_id),
t10 as (select a.customer_id from t9 a join t9 b on b.customer_id = a.customer_id),
t11 as (select a.customer_id from t10 a join t10 b on b.customer_id = a.customer_id),
t12 as (select a.customer_id from t11 a join t11 b on b.customer_id = a.customer_id),
t13 as (select a.customer_id from t12 a join t12 b on b.customer_id = a.customer_id),
t14 as (select a.customer_id from t13 a join t13 b on b.customer_id = a.customer_id),
t15 as (select a.customer_id from t14 a join t14 b on b.customer_id = a.customer_id),
t16 as (select a.customer_id from t15 a join t15 b on b.customer_id = a.customer_id),
t17 as (select a.customer_id from t16 a join t16 b on b.customer_id = a.customer_id),
t18 as (select a.customer_id from t17 a join t17 b on b.customer_id = a.customer_id),
t19 as (select a.customer_id from t18 a join t18 b on b.customer_id = a.customer_id),
t20 as (select a.customer_id from t19 a join t19 b on b.customer_id = a.customer_id),
t21 as (select a.customer_id from t20 a join t20 b on b.customer_id = a.customer_id),
t22 as (select a.customer_id from t21 a join t21 b on b.customer_id = a.customer_id),
t23 as (select a.customer_id from t22 a join t22 b on b.customer_id = a.customer_id),
t24 as (select a.customer_id from t23 a join t23 b on b.customer_id = a.customer_id)
select customer_id
from t24
