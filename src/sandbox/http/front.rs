//! The page at `/`: what there is, for whoever looks at the practice shop with a browser.

use axum::{extract::State, response::Html};

use super::{
    super::TRUTH,
    Desk, Shared,
    manners::{TOKEN, USER},
};

pub(super) async fn page(State(desk): Shared) -> Html<String> {
    let Desk { settings, world, .. } = &*desk;
    let (as_of, customers, seed) = (world.as_of(), settings.customers, settings.seed);
    Html(format!(
        r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Fernwood: PRACTICE DATA</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }}
  b.practice {{ background: #fd6; padding: .1em .4em }}
  code {{ background: #f2f2f2; padding: .1em .3em; overflow-wrap: anywhere }}
</style>
<h1>Fernwood <b class="practice">PRACTICE DATA</b></h1>
<p>A shop for coffee, tea, plants and kitchen things that does not exist, with about {customers} customers who do not exist either.
It stands still at <code>{as_of}</code>; seed <code>{seed}</code>. Nobody here can be written to: all addresses end in
example.com, example.net or example.org.</p>
<h2>The CRM</h2>
<p><code>Authorization: Bearer {TOKEN}</code>; <code>updated_since</code>, <code>limit</code> up to 200, <code>cursor</code>.</p>
<ul><li><code>/crm/contacts</code><li><code>/crm/consents</code></ul>
<h2>The shop</h2>
<p><code>X-Shop-Token: {TOKEN}</code>; <code>updated_since</code>, <code>limit</code> up to 250, and the <code>Link</code> header names the next page.</p>
<ul><li><code>/shop/customers</code><li><code>/shop/orders?status=any</code> (without it only open ones)<li><code>/shop/products</code><li><code>/shop/fx_rates</code></ul>
<h2>The help desk</h2>
<p>Basic authentication as <code>{USER}</code> with <code>{TOKEN}</code>; <code>updated_since</code>, <code>page</code>, <code>per_page</code> up to 100.</p>
<ul><li><code>/helpdesk/tickets</code><li><code>/helpdesk/ratings</code></ul>
<p>Records are ordered by the time of their last change, then by id. Now and then an answer is 429, 503 or slow: that is part of the practice.</p>
<h2>The truth</h2>
<p>Buying follows a Pareto/NBD process in {unit}s: order rates are gamma distributed with r = {r} and alpha = {alpha}, dropout rates with
s = {s} and beta = {beta}. Who has been quiet for {kept:.0} weeks is erased.</p>
</html>
"#,
        unit = TRUTH.unit,
        r = TRUTH.r,
        alpha = TRUTH.alpha,
        s = TRUTH.s,
        beta = TRUTH.beta,
        kept = TRUTH.kept_weeks,
    ))
}
