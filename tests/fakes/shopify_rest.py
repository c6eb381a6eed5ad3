"""Shopify's legacy REST Admin API, as its documentation describes it (shopify.dev, admin-rest), over the shop of `shopify.py`.

Kept from the documentation: pages of 50, at most 250, and only a `Link` header leads on; beside `page_info` only `limit` and `fields` may
stand; without `status=any` orders that are closed or cancelled are left out; a bucket of 40 calls that empties by 2 a second, told in
`X-Shopify-Shop-Api-Call-Limit`, and status 429 with `Retry-After: 2.0` when it is full; times in the shop's own zone, money as text, tags in
one text; events that show a little late.
"""

import base64
import json
import re
from datetime import timedelta, timezone
from urllib.parse import urlencode

from server import Answer, Bucket, instant, now, serve
from shopify import SHOP_CURRENCY, Shop, in_currency

ZONE = timezone(timedelta(hours=1))
#: the parameters of each listing that compare a time
FILTERS = {
    "orders": {"updated_at_min", "updated_at_max", "created_at_min", "created_at_max", "processed_at_min", "processed_at_max"},
    "customers": {"updated_at_min", "updated_at_max", "created_at_min", "created_at_max"},
    "products": {"updated_at_min", "updated_at_max", "created_at_min", "created_at_max", "published_at_min", "published_at_max"},
    "events": {"created_at_min", "created_at_max"},
}


def stamp(at):
    """`2026-05-01T11:00:00+01:00`, in the shop's zone."""
    return at.astimezone(ZONE).isoformat(timespec="seconds") if at else None


class ShopifyRest(Shop):
    """REST."""

    source = "shopify_rest"
    routes = [("GET", r"/admin/api/(\d{4}-\d\d|unstable)/(orders|customers|products|events)\.json", "listing"),
              ("PUT", r"/admin/api/(\d{4}-\d\d|unstable)/customers/(\d+)\.json", "update_customer")]
    #: of Shopify Plus, so that tests need not wait; a standard plan has 40, and 2 leave a second
    calls, leak = 400, 20

    def __init__(self, arguments):
        super().__init__(arguments)
        self.bucket = Bucket(self.calls, self.leak)

    def truth(self):
        truth = super().truth()
        for order in truth["orders"].values():
            # In REST a refund is told in the customer's currency only, so that in the shop's it is right to the cent, not exact.
            del order["refunded_base"]
        return truth

    def used(self):
        return {"X-Shopify-Shop-Api-Call-Limit": f"{min(self.calls, int(self.bucket.level) + 1)}/{self.calls}"}

    def too_many(self):
        error = "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service."
        return Answer(429, {"errors": error}, {"Retry-After": "2.0", "X-Shopify-Shop-Api-Call-Limit": f"{self.calls}/{self.calls}"})

    def before(self, request):
        super().before(request)
        room, _ = self.bucket.pour()
        if not room:
            raise self.too_many()

    def listing(self, request, version, name):
        limit = request.params.get("limit", "50")
        if not re.fullmatch(r"\d+", limit) or not 1 <= int(limit) <= 250:
            raise Answer(400, {"errors": {"limit": "Limit must be between 1 and 250."}}, self.used())
        limit = int(limit)
        params = {key: value for key, value in request.params.items() if key not in ("limit", "fields")}
        if "page_info" in params:
            others = sorted(params.keys() - {"page_info"})
            if others:
                raise Answer(400, {"errors": {others[0]: f"{others[0]} cannot be passed when page_info is present."}}, self.used())
            try:
                place = json.loads(base64.urlsafe_b64decode(params["page_info"]))
                params, after = place["asked"], place["after"]
            except (ValueError, KeyError, TypeError):
                raise Answer(400, {"errors": {"page_info": "Invalid value."}}, self.used()) from None
        else:
            after = None
        rows = self.rows(name, params)
        field, _, way = params.get("order", "id").partition(" ")
        down = way.lower() == "desc"
        if field not in ("id", "created_at", "updated_at", "processed_at"):
            raise Answer(400, {"errors": {"order": f"unknown order: {field}"}}, self.used())
        key = lambda row: [instant(row[field]).timestamp() if field != "id" else row["id"], row["id"]]
        rows.sort(key=key, reverse=down)
        if after is not None:
            rows = [row for row in rows if (key(row) < after if down else key(row) > after)]
        page, headers = rows[:limit], self.used()
        if len(rows) > limit:
            info = base64.urlsafe_b64encode(json.dumps({"asked": params, "after": key(page[-1])}).encode()).decode()
            query = urlencode({"limit": limit, "page_info": info,
                               **({"fields": request.params["fields"]} if "fields" in request.params else {})})
            headers["Link"] = f'<{self.address}{request.path}?{query}>; rel="next"'
        if request.params.get("fields"):
            wanted = request.params["fields"].split(",")
            page = [{field: row[field] for field in wanted if field in row} for row in page]
        if self.change == "new_field":
            page = [{**row, "purchase_mood": "It's a lovely day"} for row in page]
        return Answer(200, {name: page}, {**headers, "X-Shopify-API-Version": version})

    def rows(self, name, params):
        rows = getattr(self, f"{name}_rows")()
        for key, value in params.items():
            if key in FILTERS[name]:
                field, bound = key[:-4], instant(value)
                rows = [row for row in rows if row[field] and (instant(row[field]) >= bound if key.endswith("_min") else instant(row[field]) <= bound)]
            elif key == "since_id":
                rows = [row for row in rows if row["id"] > int(value)]
        # Parameters it does not know are ignored, as Shopify does.
        if name == "orders" and params.get("status", "open") != "any":
            wanted = params.get("status", "open")
            rows = [row for row in rows if ("cancelled" if row["cancelled_at"] else "closed" if row["closed_at"] else "open") == wanted]
        if name == "events":
            kinds = params.get("filter", "").split(",") if "filter" in params else None
            rows = [row for row in rows if (not kinds or row["subject_type"] in kinds) and params.get("verb", row["verb"]) == row["verb"]]
        return rows

    def update_customer(self, request, version, id):
        customer = self.people.get(int(id))
        if not customer:
            raise Answer(404, {"errors": "Not Found"}, self.used())
        given = request.json().get("customer", {}).get("email_marketing_consent") or {}
        if given.get("state") not in (None, "subscribed", "unsubscribed", "pending"):
            raise Answer(422, {"errors": {"email_marketing_consent.state": ["is not included in the list"]}}, self.used())
        if given:
            customer["state"], customer["updated"] = given["state"].upper(), now().replace(microsecond=0)
            customer["answered"] = instant(given["consent_updated_at"]) if given.get("consent_updated_at") else customer["updated"]
        return Answer(200, {"customer": self.customer_row(customer)}, {**self.used(), "X-Shopify-API-Version": version})

    # Rows, as REST writes them.

    @staticmethod
    def money(cents, currency):
        shop = {"amount": f"{cents / 100:.2f}", "currency_code": SHOP_CURRENCY}
        return {"shop_money": shop, "presentment_money": {"amount": in_currency(cents, currency), "currency_code": currency}}

    def customer_row(self, one):
        state = one["state"]
        consent = state and {"state": state.lower(), "opt_in_level": "single_opt_in" if state == "SUBSCRIBED" else "unknown",
                             "consent_updated_at": stamp(one["answered"])}
        address = {"id": one["id"] + 1, "customer_id": one["id"], "first_name": one["first_name"], "last_name": one["last_name"],
                   "company": None,
                   "address1": "1 O'Connell St", "address2": None, "city": "Ŝtadt", "zip": "10115", "phone": None,
                   "country_code": one["country"], "default": True}
        return {
            "id": one["id"], "admin_graphql_api_id": f"gid://shopify/Customer/{one['id']}", "email": one["email"],
            "first_name": one["first_name"],
            "last_name": one["last_name"], "phone": one["phone"], "created_at": stamp(one["created"]), "updated_at": stamp(one["updated"]),
            "orders_count": 0,
            "state": "disabled", "total_spent": "0.00", "last_order_id": None, "note": None, "verified_email": True,
            "multipass_identifier": None,
            "tax_exempt": False, "tags": ", ".join(one["tags"]), "currency": SHOP_CURRENCY, "email_marketing_consent": consent,
            "sms_marketing_consent": None,
            "addresses": [address] if one["email"] else [], "default_address": address if one["email"] else None,
        }

    def customers_rows(self):
        return [self.customer_row(one) for one in self.people.values()]

    def products_rows(self):
        rows = []
        for one in self.products.values():
            handle = one["name"].lower().replace(" ", "-").replace(",", "")
            counted = "shopify" if one["tracked"] else None
            price = f"{one['cents'] / 100:.2f}"
            variants = [{"id": one["id"] + 5, "product_id": one["id"], "title": "Default Title", "price": price, "sku": None, "position": 1,
                         "inventory_policy": "deny", "inventory_management": counted, "inventory_quantity": one["stock"], "barcode": None}]
            rows.append({
                "id": one["id"], "title": one["name"], "body_html": "<p>It's good.</p>", "vendor": "Fernwood",
                "product_type": one["category"], "handle": handle,
                "created_at": stamp(one["created"]), "updated_at": stamp(one["updated"]), "published_at": stamp(one["created"]),
                "template_suffix": None,
                "status": one["status"].lower(), "tags": "", "admin_graphql_api_id": f"gid://shopify/Product/{one['id']}",
                "variants": variants, "options": [],
                "image": {"id": 1, "src": f"https://cdn.shopify.example/{one['id']}.jpg", "width": 1200,
                          "height": 800} if one["id"] % 3 else None,
            })
        return rows

    def orders_rows(self):
        return [self.order_row(one) for one in self.orders.values()]

    def order_row(self, one):
        shown = lambda cents: in_currency(cents, one["currency"])
        customer = self.people.get(one["customer"])
        gone = sum(refund["cents"] for refund in one["refunds"])
        sent = [] if not one["sent"] else [{
            "id": one["id"] + 2, "order_id": one["id"], "status": "success", "created_at": stamp(one["sent"]), "service": "manual",
            "tracking_company": "DHL",
            "updated_at": stamp(one["delivered"] or one["sent"]), "shipment_status": "delivered" if one["delivered"] else "in_transit",
            "tracking_number": "JJD01",
        }]
        refunds = [{
            "id": refund["id"], "order_id": one["id"], "created_at": stamp(refund["at"]), "processed_at": stamp(refund["at"]), "note": None,
            "restock": True,
            "order_adjustments": [], "transactions": [
                {"id": refund["id"] + 1, "kind": "refund", "status": "success", "amount": shown(refund["cents"]),
                 "currency": one["currency"], "gateway": "shopify_payments"},
                {"id": refund["id"] + 2, "kind": "refund", "status": "failure", "amount": shown(refund["cents"]),
                 "currency": one["currency"], "gateway": "shopify_payments"},
            ],
            "refund_line_items": [{"id": refund["id"] + 3, "line_item_id": refund["line"], "quantity": 1,
                                   "restock_type": "return"}] if refund["line"] else [],
        } for refund in one["refunds"]]
        lines = [{
            "id": line["id"], "product_id": line["product"] if line["product"] in self.products else None,
            "variant_id": line["product"] + 5, "title": line["name"],
            "name": line["name"], "quantity": line["quantity"], "current_quantity": line["left"], "fulfillable_quantity": 0,
            "price": f"{line['cents'] / 100:.2f}",
            "price_set": self.money(line["cents"], one["currency"]), "total_discount": "0.00", "sku": None, "vendor": "Fernwood",
            "taxable": True, "gift_card": False,
            "product_exists": line["product"] in self.products, "properties": [], "tax_lines": [], "discount_allocations": [],
        } for line in one["lines"]]
        processed = stamp(one["at"])
        return {
            "id": one["id"], "admin_graphql_api_id": f"gid://shopify/Order/{one['id']}", "name": f"#{one['id'] % 100000}",
            "order_number": one["id"] % 100000,
            "email": one["email"] or "", "phone": None, "created_at": processed,
            "processed_at": {"at": processed} if self.change == "new_type" else processed,
            "updated_at": stamp(one["updated"]), "closed_at": stamp(one["delivered"]), "cancelled_at": stamp(one["cancelled"]),
            "cancel_reason": "customer" if one["cancelled"] else None, "test": one["test"], "currency": SHOP_CURRENCY,
            "presentment_currency": one["currency"],
            "financial_status": one["paid"].lower(), "fulfillment_status": "fulfilled" if sent else None,
            "customer_locale": customer["locale"] if customer else "en",
            "total_price": f"{one['total'] / 100:.2f}", "total_price_set": self.money(one["total"], one["currency"]),
            "current_total_price_set": self.money(one["total"] - gone, one["currency"]), "total_discounts": f"{one['discount'] / 100:.2f}",
            "total_discounts_set": self.money(one["discount"], one["currency"]), "taxes_included": True, "total_tax": "0.00",
            "total_weight": 900,
            "discount_codes": [{"code": one["code"], "amount": f"{one['discount'] / 100:.2f}",
                                "type": "percentage"}] if one["code"] else [],
            "source_name": one["source"], "note": "It's a gift – 贈り物" if one["id"] % 7 == 0 else None, "tags": "", "landing_site": "/",
            "referring_site": "",
            "customer": self.customer_row(customer) if customer else None, "line_items": lines, "refunds": refunds, "fulfillments": sent,
            "shipping_lines": [{"id": one["id"] + 3, "title": "Standard", "price": "4.90"}], "billing_address": None,
            "shipping_address": None,
        }

    def events_rows(self):
        return [{
            "id": one["id"], "subject_id": one["subject"], "created_at": stamp(one["at"]), "subject_type": one["kind"].capitalize(),
            "verb": one["action"],
            "arguments": [], "body": None, "message": f"{one['kind'].capitalize()} was destroyed.", "author": "Fernwood", "description": "",
            "path": None,
        } for one in self.shown_events()]


if __name__ == "__main__":
    serve(ShopifyRest)
