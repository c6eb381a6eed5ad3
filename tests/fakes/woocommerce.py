"""WooCommerce's REST API v3, as its documentation and WordPress' own code describe it (woocommerce-rest-api-docs, WP_Date_Query).

Kept from there: pages of 10, at most 100, `X-WP-Total` and `X-WP-TotalPages`; `modified_after` means later than, not from then on; a time that
names its zone is first turned into the site's own zone and then compared with the GMT column, as WordPress does, so that with
`dates_are_gmt=true` only a time without a zone means what it says; orders cannot be sorted by when they changed; customers have no such filter
at all, and without `role=all` only those whose role is `customer` are given out; `status=any` leaves the trash out; guests are customer 0.
There is no stated rate: what is too much the host says, with 429, 503 or a page of HTML.

Basic authentication is taken although the fake speaks plain HTTP; WooCommerce takes it over HTTPS only.
"""

import base64
import hashlib
import re
import secrets
from datetime import datetime, timedelta, timezone

from server import PRODUCTS, Answer, Api, now, person, serve

#: the site's clock, one hour ahead of GMT
ZONE = timezone(timedelta(hours=1))
STATUSES = ["pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "checkout-draft", "packed"]
CONSENT = "mailchimp_woocommerce_is_subscribed"
HTML = {"Content-Type": "text/html; charset=UTF-8"}


def stamp(at):
    """`2026-05-01T10:00:00`, in GMT, without saying so."""
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") if at else None


def local(at):
    return at.astimezone(ZONE).strftime("%Y-%m-%dT%H:%M:%S") if at else None


def money(cents):
    return f"{cents / 100:.2f}"


def refused(status, code, message, **more):
    return Answer(status, {"code": code, "message": message, "data": {"status": status, **more}})


class WooCommerce(Api):
    """The shop, and what its API shows of it."""

    customers = 150
    routes = [("GET", r"/wp-json/wc/v3/(orders|customers|products|refunds)", "listing"),
              ("PUT", r"/wp-json/wc/v3/customers/(\d+)", "update_customer")]
    #: what a test makes happen happened so long ago, so that a build of the last minute's slot tells of it; it is recorded now
    since = timedelta(minutes=2)

    def __init__(self, arguments):
        super().__init__(arguments)
        self.key, self.secret = "ck_" + secrets.token_hex(20), "cs_" + secrets.token_hex(20)
        self.people, self.products, self.orders, self.refunds, self.last = {}, {}, {}, {}, 100
        #: accounts and products that were deleted
        self.left, self.gone = {}, {}
        for name, category, price in PRODUCTS:
            self.add_product(name, category, int(price.replace(".", "")))
        for number in range(arguments.customers):
            self.add_customer(person(self.dice, number))
        for customer in list(self.people.values()):
            for _ in range(self.dice.choice([0, 1, 1, 2, 3])):
                self.add_order(customer, None)
        for number in range(max(4, arguments.customers // 12)):
            self.add_order(None, f" Guest{number}@Example.com")
            if number % 2:
                # Asked once, so that truth has one answer a person.
                self.add_order(None, f"guest{number}@example.com")["consent"] = None
        self.add_order(None, "")
        self.add_order(None, "deleted@site.invalid")

    def next_id(self):
        self.last += self.dice.randint(1, 9)
        return self.last

    def recorded(self):
        return now().replace(microsecond=0)

    # What people do.

    def add_product(self, name, category, cents):
        id, at = self.next_id(), now() - timedelta(days=900)
        self.products[id] = {"id": id, "name": name, "category": category, "cents": cents, "created": at, "modified": at,
                             "stock": self.dice.choice(["instock"] * 4 + ["outofstock", "onbackorder"]),
                             "status": self.dice.choice(["publish"] * 5 + ["draft"]), "trashed": False}

    def add_customer(self, who):
        id, at = self.next_id(), who["created"].replace(microsecond=0)
        changed = at + timedelta(days=2) if at + timedelta(days=2) < now() - self.since and self.dice.random() < 0.6 else None
        self.people[id] = {
            "id": id, "email": who["email"], "first_name": who["first_name"] or "", "last_name": who["last_name"],
            "country": who["country"],
            "created": at, "modified": changed, "role": self.dice.choice(["customer"] * 8 + ["subscriber", "shop_manager"]),
            "consent": self.dice.choice(["1", "1", "1", "0", "unsubscribed", None]), "phone": f"+49301234{id:04d}" if id % 3 == 0 else "",
        }
        return self.people[id]

    def add_order(self, customer, email, at=None):
        id, dice = self.next_id(), self.dice
        since = customer["created"] if customer else now() - timedelta(days=400)
        at = (at or since + (now() - self.since - since) * dice.random()).replace(microsecond=0)
        lines = []
        for product in dice.sample(list(self.products.values()), dice.choice([1, 1, 2, 4])):
            lines.append({"id": self.next_id(), "product": product["id"], "name": product["name"], "quantity": dice.choice([1, 1, 2, 3]),
                          "cents": product["cents"]})
        goods = sum(line["cents"] * line["quantity"] for line in lines)
        discount = goods // 10 if dice.random() < 0.2 else 0
        self.orders[id] = order = {
            "id": id, "customer": customer["id"] if customer else 0, "email": customer["email"] if customer else email, "at": at,
            "modified": at + timedelta(minutes=3), "lines": lines, "discount": discount, "total": goods - discount + 490, "refunds": [],
            "trashed": False,
            "status": dice.choice(["completed"] * 5 + ["processing"] * 3 + ["on-hold", "pending", "cancelled", "failed", "refunded",
                                                                            "packed"]),
            "consent": dice.choice(["1", "0", None]) if not customer and email else None, "first_name": "Zoë", "last_name": "O'Guest",
        }
        if order["status"] == "refunded":
            self.refund(order, order["total"], None, min(now() - self.since, at + timedelta(days=3)))
        elif order["status"] == "completed" and dice.random() < 0.25:
            self.refund(order, lines[0]["cents"], lines[0], min(now() - self.since, at + timedelta(days=3)))
        order["modified"] = min(order["modified"], now() - self.since)
        return order

    def refund(self, order, cents, line, at):
        id = self.next_id()
        order["refunds"].append(id)
        self.refunds[id] = {"id": id, "order": order["id"], "cents": cents, "line": line, "at": at.replace(microsecond=0)}
        order["modified"] = max(order["modified"], at.replace(microsecond=0))

    def act(self, action, count):
        return getattr(self, action)(count)

    def insert(self, count):
        ids = []
        for _ in range(count):
            customer = self.add_customer({**person(self.dice, self.last * 1000), "created": now() - self.since})
            customer["modified"] = None
            order = self.add_order(customer, None, at=now() - self.since)
            order["modified"] = self.recorded()
            ids.append(customer["id"])
        order = self.add_order(None, f"guest-{self.last}@example.com", at=now() - self.since)
        order["modified"] = self.recorded()
        return ids

    def update(self, count):
        ids, at = self.dice.sample(sorted(self.people), count), self.recorded()
        for id in ids:
            customer = self.people[id]
            customer["first_name"], customer["modified"] = "Renée", at - self.since
            customer["consent"] = "0" if customer["consent"] == "1" else "1"
        free = lambda order: order["status"] in ("completed", "processing") and not order["refunds"] and not order["trashed"]
        paid = [order for order in self.orders.values() if free(order)]
        for order in self.dice.sample(paid, min(count, len(paid))):
            change = self.dice.choice(["part", "all", "cancel"])
            if change == "part":
                self.refund(order, order["lines"][0]["cents"], order["lines"][0], at - self.since)
            elif change == "all":
                self.refund(order, order["total"], None, at - self.since)
                order["status"] = "refunded"
            else:
                order["status"] = "cancelled"
            order["modified"] = at
        product = self.dice.choice(list(self.products.values()))
        # Stock changes without the product counting as changed.
        product["stock"] = "outofstock" if product["stock"] == "instock" else "instock"
        return ids

    def delete(self, count):
        """Accounts that never bought; orders into the trash; a product for good."""
        bought = {order["customer"] for order in self.orders.values()}
        idle = [id for id in sorted(self.people) if id not in bought]
        while len(idle) < count:
            idle.append(self.add_customer(person(self.dice, self.last * 1000))["id"])
        ids = self.dice.sample(idle, count)
        for id in ids:
            self.left[id] = self.people.pop(id)
        alive = sorted(id for id, order in self.orders.items() if not order["trashed"])
        for id in self.dice.sample(alive, min(count, len(alive))):
            self.orders[id]["trashed"], self.orders[id]["modified"] = True, self.recorded()
        if len(self.products) > 3:
            id = self.dice.choice(sorted(self.products))
            self.gone[id] = self.products.pop(id)
        return ids

    # What should come of it.

    @staticmethod
    def hashed(email):
        return "guest:" + hashlib.sha256(email.strip().lower().encode()).hexdigest()[:24]

    def truth(self):
        paid = {"completed": "paid", "processing": "paid", "on-hold": "pending", "pending": "pending", "cancelled": "cancelled",
                "failed": "cancelled", "refunded": "refunded"}
        customers = {str(one["id"]): {"email": one["email"], "first_name": one["first_name"] or None,
                                      "last_name": one["last_name"]} for one in self.people.values()}
        answers = {"1": "granted", "0": "denied", "unsubscribed": "denied"}
        consents = {str(one["id"]): {"status": answers[one["consent"]]} for one in self.people.values() if one["consent"]}
        # A no outlives the account.
        noes = {str(one["id"]): {"status": "denied"} for one in self.left.values() if answers.get(one["consent"]) == "denied"}
        consents.update(noes)
        orders = {}
        for order in sorted(self.orders.values(), key=lambda order: order["at"]):
            if order["trashed"]:
                continue
            refunded = sum(self.refunds[id]["cents"] for id in order["refunds"])
            status = "refunded" if refunded >= order["total"] else paid.get(order["status"], order["status"])
            email = order["email"].strip()
            whose = str(order["customer"])
            if not order["customer"]:
                # A guest goes by the address, or by the order where there is none or WordPress erased it.
                known = "@" in email and not email.endswith("@site.invalid")
                whose = self.hashed(email) if known else f"guest:order-{order['id']}"
                name = ("first_name", "last_name") if known else ()
                customers[whose] = {"email": email if known else None, "first_name": None, "last_name": None,
                                    **{part: order[part] for part in name}}
                if order["consent"] and known:
                    consents[whose] = {"status": answers[order["consent"]]}
            orders[f"woocommerce:{order['id']}"] = {"customer": whose, "total": f"{order['total'] / 100:.4f}", "currency": "EUR",
                                                    "status": status,
                                                    "refunded_base": f"{-refunded / 100:.4f}"}
        sells = lambda one: one["id"] in self.products and one["status"] == "publish" and one["stock"] != "outofstock"
        products = {f"woocommerce:{id}": {"name": one["name"], "in_stock": sells(one)} for id, one in {**self.products, **self.gone}.items()}
        return {"customers": customers, "orders": orders, "consents": consents, "products": products}

    # Who is asking.

    def settings(self):
        return {"replace": {"https://your-shop.example": self.address},
                "env": {"WOOCOMMERCE_KEY": self.key, "WOOCOMMERCE_SECRET": self.secret}}

    def expire(self):
        self.key, self.secret = "ck_" + secrets.token_hex(20), "cs_" + secrets.token_hex(20)

    def too_many(self):
        return Answer(429, "<html><body><h1>429 Too Many Requests</h1></body></html>", {**HTML, "Retry-After": "1"})

    def fault(self):
        if self.faults[0] == "503":
            self.faults.pop(0)
            return Answer(503, "<html><body>Briefly unavailable for scheduled maintenance. Check back in a minute.</body></html>",
                          {**HTML, "Retry-After": "1"})
        return super().fault()

    def before(self, request):
        given = request.headers.get("Authorization", "")
        pair = (request.params.get("consumer_key"), request.params.get("consumer_secret"))
        if given.startswith("Basic "):
            pair = tuple(base64.b64decode(given[6:]).decode().split(":", 1))
        if pair == (None, None):
            raise refused(401, "woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")
        if pair[0] != self.key:
            raise refused(401, "woocommerce_rest_authentication_error", "Consumer key is invalid.")
        if pair[1] != self.secret:
            raise refused(401, "woocommerce_rest_authentication_error", "Consumer secret is invalid.")

    # Listings.

    ORDERINGS = {"orders": ["date", "id", "include", "title", "slug"],
                 "products": ["date", "id", "include", "title", "slug", "price", "popularity", "rating", "menu_order"],
                 "customers": ["id", "include", "name", "registered_date"], "refunds": ["date", "id", "include", "title", "slug"]}
    TIMES = ["after", "before", "modified_after", "modified_before"]

    def invalid(self, name, message):
        details = {name: {"code": "rest_invalid_param", "message": message, "data": None}}
        return refused(400, "rest_invalid_param", f"Invalid parameter(s): {name}", params={name: message}, details=details)

    def listing(self, request, name):
        page, size = self.whole(request, "page", 1, None), self.whole(request, "per_page", 10, 100)
        order, orderby = ("asc", "name") if name == "customers" else ("desc", "date")
        order, orderby = request.params.get("order", order), request.params.get("orderby", orderby)
        if order not in ("asc", "desc"):
            raise self.invalid("order", "order is not one of asc and desc.")
        if orderby not in self.ORDERINGS[name]:
            raise self.invalid("orderby", f"orderby is not one of {', '.join(self.ORDERINGS[name][:-1])}, and {self.ORDERINGS[name][-1]}.")
        rows = [row for row in getattr(self, name).values()] if name != "customers" else list(self.people.values())
        rows = getattr(self, f"only_{name}")(rows, request.params)
        keys = {"id": lambda row: row["id"], "name": lambda row: row.get("first_name", ""),
                "date": lambda row: (row.get("at") or row["created"], row["id"])}
        rows.sort(key=keys.get(orderby, keys["id"]), reverse=order == "desc")
        shown = [getattr(self, f"{name}_row")(row) for row in rows[(page - 1) * size:page * size]]
        if self.change == "new_field":
            shown = [{**row, "purchase_mood": "It's a lovely day"} for row in shown]
        pages = -(-len(rows) // size)
        headers = {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(pages)}
        if page < pages:
            headers["Link"] = f'<{self.address}{request.path}?page={page + 1}>; rel="next"'
        return Answer(200, shown, headers)

    def whole(self, request, name, default, most):
        text = request.params.get(name, str(default))
        if not re.fullmatch(r"-?\d+", text):
            raise self.invalid(name, f"{name} is not of type integer.")
        if most and not 1 <= int(text) <= most:
            raise self.invalid(name, f"{name} must be between 1 (inclusive) and {most} (inclusive)")
        if int(text) < 1:
            raise self.invalid(name, f"{name} must be greater than or equal to 1")
        return int(text)

    def between(self, rows, params, created, modified):
        gmt = params.get("dates_are_gmt") in ("true", "1")
        for name in self.TIMES:
            if name not in params:
                continue
            try:
                bound = datetime.fromisoformat(params[name].replace("Z", "+00:00"))
            except ValueError:
                raise self.invalid(name, "Invalid date.") from None
            # A time that names a zone becomes the site's; then its digits are compared with the column's.
            bound = bound.astimezone(ZONE).replace(tzinfo=None) if bound.tzinfo else bound
            field = modified if name.startswith("modified") else created
            digits = lambda row: row[field].astimezone(timezone.utc if gmt else ZONE).replace(tzinfo=None)
            rows = [row for row in rows if row[field] and (digits(row) > bound if name.endswith("after") else digits(row) < bound)]
        return rows

    def only_orders(self, rows, params):
        wanted = params.get("status", "any").split(",")
        for status in wanted:
            if status not in ("any", "trash", *STATUSES):
                raise self.invalid("status", f"status[0] is not one of any, trash, {', '.join(STATUSES)}.")
        shows = lambda row: not row["trashed"] if "any" in wanted else ("trash" if row["trashed"] else row["status"]) in wanted
        return self.between([row for row in rows if shows(row)], params, "at", "modified")

    def only_customers(self, rows, params):
        role = params.get("role", "customer")
        return [row for row in rows if role in ("all", row["role"])]

    def only_products(self, rows, params):
        status = params.get("status", "any")
        return self.between([row for row in rows if status in ("any", row["status"])], params, "created", "modified")

    def only_refunds(self, rows, params):
        return self.between(rows, params, "at", "at")

    def update_customer(self, request, id):
        customer = self.people.get(int(id))
        if not customer:
            raise refused(400, "woocommerce_rest_invalid_id", "Invalid resource ID.")
        for entry in request.json().get("meta_data", []):
            if entry.get("key") == CONSENT:
                customer["consent"], customer["modified"] = str(entry.get("value")), self.recorded()
        return Answer(200, self.customers_row(customer))

    # Rows.

    @staticmethod
    def meta(id, value):
        return [] if value is None else [{"id": id * 10, "key": CONSENT, "value": value}]

    def postal(self, first, last, country, email=None, phone=""):
        fields = {"first_name": first, "last_name": last, "company": "", "address_1": "1 O'Connell St", "address_2": "", "city": "Ŝtadt",
                  "state": "", "postcode": "10115",
                  "country": country, "phone": phone}
        return {**fields, "email": email} if email is not None else fields

    def customers_row(self, one):
        return {
            "id": one["id"], "date_created": local(one["created"]), "date_created_gmt": stamp(one["created"]),
            "date_modified": local(one["modified"]),
            "date_modified_gmt": stamp(one["modified"]), "email": one["email"], "first_name": one["first_name"],
            "last_name": one["last_name"], "role": one["role"],
            "username": f"user{one['id']}",
            "billing": self.postal(one["first_name"], one["last_name"], one["country"], one["email"], one["phone"]),
            "shipping": self.postal("", "", ""), "is_paying_customer": True, "avatar_url": "https://secure.gravatar.example/x",
            "meta_data": [{"id": one["id"] * 10 + 1, "key": "wc_last_active", "value": {"at": 1}}, *self.meta(one["id"], one["consent"])],
            "_links": {"self": []},
        }

    def products_row(self, one):
        slug = one["name"].lower().replace(" ", "-").replace(",", "")
        return {
            "id": one["id"], "name": one["name"], "slug": slug, "permalink": f"https://your-shop.example/product/{slug}/",
            "date_created": local(one["created"]),
            "date_created_gmt": stamp(one["created"]), "date_modified": local(one["modified"]), "date_modified_gmt": stamp(one["modified"]),
            "type": "simple",
            "status": one["status"], "featured": False, "catalog_visibility": "visible", "description": "<p>It's good.</p>", "sku": "",
            "price": money(one["cents"]),
            "regular_price": money(one["cents"]), "sale_price": "", "on_sale": False, "purchasable": True, "total_sales": 0,
            "virtual": False, "tax_status": "taxable",
            "manage_stock": False, "stock_quantity": None, "stock_status": one["stock"], "backorders": "no", "weight": "", "parent_id": 0,
            "meta_data": [],
            "categories": [{"id": 9, "name": one["category"], "slug": one["category"].lower()}], "tags": [], "attributes": [],
            "variations": [],
            "images": [{"id": 1, "src": f"https://your-shop.example/{one['id']}.jpg", "name": "", "alt": ""}] if one["id"] % 3 else [],
            "_links": {"self": []},
        }

    def lines_row(self, order, line):
        whole = line["cents"] * line["quantity"]
        goods = sum(line["cents"] * line["quantity"] for line in order["lines"])
        taxed = lambda cents: (money(cents - cents * 19 // 119), money(cents * 19 // 119))
        (subtotal, subtotal_tax), (total, total_tax) = taxed(whole), taxed(whole - order["discount"] * whole // goods)
        return {
            "id": line["id"], "name": line["name"], "product_id": line["product"], "variation_id": 0, "quantity": line["quantity"],
            "tax_class": "", "subtotal": subtotal,
            "subtotal_tax": subtotal_tax, "total": total, "total_tax": total_tax, "taxes": [], "meta_data": [], "sku": "",
            "price": float(total) / line["quantity"],
            "image": {"id": "", "src": ""}, "parent_name": None,
        }

    def orders_row(self, one):
        billing = self.postal(one["first_name"], one["last_name"], "DE", one["email"])
        if one["customer"] in self.people:
            customer = self.people[one["customer"]]
            billing = self.postal(customer["first_name"], customer["last_name"], customer["country"], customer["email"], customer["phone"])
        total, discount = money(one["total"]), one["discount"]
        return {
            "id": one["id"], "parent_id": 0, "number": str(one["id"]), "order_key": "wc_order_x", "created_via": "checkout",
            "version": "9.4.2",
            "status": "trash" if one["trashed"] else one["status"], "currency": "EUR", "date_created": local(one["at"]),
            "date_created_gmt": stamp(one["at"]),
            "date_modified": local(one["modified"]), "date_modified_gmt": stamp(one["modified"]),
            "discount_total": money(discount - discount * 19 // 119),
            "discount_tax": money(discount * 19 // 119), "shipping_total": "4.12", "shipping_tax": "0.78", "cart_tax": "0.00",
            "total": {"amount": total} if self.change == "new_type" else total, "total_tax": money(one["total"] * 19 // 119),
            "prices_include_tax": True,
            "customer_id": one["customer"], "customer_ip_address": "", "customer_user_agent": "",
            "customer_note": "It's a gift – 贈り物" if one["id"] % 7 == 0 else "",
            "billing": billing, "shipping": self.postal("", "", ""), "payment_method": "bacs", "payment_method_title": "Überweisung",
            "transaction_id": "",
            "date_paid_gmt": stamp(one["at"]),
            "date_completed_gmt": stamp(one["at"] + timedelta(days=2)) if one["status"] == "completed" else None, "cart_hash": "",
            "meta_data": self.meta(one["id"], one["consent"]), "line_items": [self.lines_row(one, line) for line in one["lines"]],
            "tax_lines": [], "fee_lines": [],
            "shipping_lines": [{"id": one["id"] * 10, "method_title": "Flat rate", "total": "4.12"}],
            "coupon_lines": [{"id": one["id"] * 10 + 1, "code": "autumn10", "discount": money(discount),
                              "discount_tax": "0"}] if discount else [],
            "refunds": [{"id": id, "reason": "", "total": "-" + money(self.refunds[id]["cents"])} for id in one["refunds"]],
            "is_editable": False, "_links": {"self": []},
        }

    def refunds_row(self, one):
        line = one["line"]
        lines = [] if not line else [{
            "id": one["id"] * 10, "name": line["name"], "product_id": line["product"], "variation_id": 0, "quantity": -1, "tax_class": "",
            "subtotal": "-" + money(line["cents"]),
            "total": "-" + money(line["cents"]), "total_tax": "0.00", "taxes": [], "sku": "", "price": line["cents"] / 100,
            "meta_data": [{"id": one["id"] * 10 + 1, "key": "_refunded_item_id", "value": str(line["id"]),
                           "display_key": "_refunded_item_id", "display_value": str(line["id"])}],
        }]
        return {"id": one["id"], "parent_id": one["order"], "date_created": local(one["at"]), "date_created_gmt": stamp(one["at"]),
                "amount": money(one["cents"]),
                "reason": "", "refunded_by": 1, "refunded_payment": False, "meta_data": [], "line_items": lines, "shipping_lines": [],
                "tax_lines": [], "fee_lines": [],
                "_links": {"self": []}}


if __name__ == "__main__":
    serve(WooCommerce)
