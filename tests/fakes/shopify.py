"""Shopify's Admin API, GraphQL, as its documentation describes it (shopify.dev, version 2026-07).

A query is read, checked against the schema, priced, and answered with the fields it asks for. Kept from the documentation: pages of at most
250, opaque cursors, the search syntax (a time without quotes counts as its day), single queries of at most 1,000 points, a bucket of points
that runs full, errors under status 200, access tokens by client credentials for 24 hours, events that show a little late. Shopify does not
publish what a connection costs; here it is the older, stricter rule: 2, and each row times what is asked of it.

The shop itself (`Shop`) is shared with the fake of the REST API, which sells the same things.
"""

import base64
import hashlib
import json
import re
import secrets
from datetime import timedelta

from server import PRODUCTS, Answer, Api, Bucket, instant, iso, now, person, serve

SHOP_CURRENCY = "EUR"
#: what one euro was worth, and how many decimals the currency has
CURRENCIES = {"EUR": ("1", 2), "GBP": ("0.86", 2), "USD": ("1.08", 2), "JPY": ("160", 0)}
CONSENTS = ["SUBSCRIBED"] * 5 + ["NOT_SUBSCRIBED"] * 2 + ["UNSUBSCRIBED"] * 2 + ["PENDING", "INVALID"]
LOCALES = {"DE": "de", "GB": "en-GB", "FR": "fr", "US": "en-US", "NL": "nl"}
#: an amount in cents; customers pay the unit prices of `server.PRODUCTS`
SHIPPING = 490


class Shop(Api):
    """What both fakes sell from: people, products, orders, and the events that remain of what was deleted."""

    customers = 120
    #: how much later an event shows; a few seconds, in rare cases minutes, at Shopify
    lag = 1.0
    #: what a test makes happen happened so long ago, so that a build of the last minute's slot tells of it; it is recorded now
    since = timedelta(minutes=2)
    #: how ids begin in the canonical tables
    source = "shopify"

    def __init__(self, arguments):
        super().__init__(arguments)
        self.client = {"client_id": secrets.token_hex(16), "client_secret": "shpss_" + secrets.token_hex(16)}
        self.token, self.granted = "shpat_" + secrets.token_hex(16), set()
        self.people, self.products, self.orders, self.events = {}, {}, {}, []
        #: customers and products that were deleted
        self.left, self.gone = {}, {}
        self.last = 5400000000000
        for name, category, price in PRODUCTS:
            self.add_product(name, category, int(price.replace(".", "")))
        for number in range(arguments.customers):
            self.add_customer(person(self.dice, number))
        for customer in list(self.people.values()):
            for _ in range(self.dice.choice([0, 1, 1, 2, 3])):
                self.add_order(customer)
        for number in range(max(3, arguments.customers // 20)):
            self.add_order(None, email=f"Guest{number}@Example.com")
            self.add_order(None, email=None)

    def next_id(self):
        self.last += self.dice.randint(1, 40)
        return self.last

    # What people do.

    def add_product(self, name, category, cents):
        id, at = self.next_id(), now() - timedelta(days=900)
        stock = self.dice.choice([0, 3, 40, 200])
        self.products[id] = {
            "id": id, "name": name, "category": category, "cents": cents, "created": at, "updated": at, "stock": stock,
            "tracked": self.dice.random() < 0.8, "status": self.dice.choice(["ACTIVE"] * 5 + ["DRAFT"]),
        }
        return self.products[id]

    def add_customer(self, who):
        id, at = self.next_id(), who["created"].replace(microsecond=0)
        # Somebody who bought in a store and left a telephone number has no address.
        email = None if self.dice.random() < 0.04 else who["email"]
        state = self.dice.choice(CONSENTS) if email else None
        answered = None
        if state in ("SUBSCRIBED", "UNSUBSCRIBED", "PENDING") and self.dice.random() < 0.9:
            answered = min(at + timedelta(days=1), now() - self.since).replace(microsecond=0)
        self.people[id] = {
            "id": id, "first_name": who["first_name"], "last_name": who["last_name"], "email": email, "country": who["country"],
            "phone": f"+49301234{id % 10000:04d}" if self.dice.random() < 0.3 else None, "locale": LOCALES[who["country"]], "created": at,
            "updated": at + timedelta(days=1), "state": state, "answered": answered,
            "tags": self.dice.choice([[], ["VIP"], ["wholesale", "B2B"]]),
        }
        return self.people[id]

    def add_order(self, customer, email=None, at=None):
        """An order with one to four lines, at any stage of its life."""
        id, dice = self.next_id(), self.dice
        since = customer["created"] if customer else now() - timedelta(days=400)
        at = at or since + (now() - self.since - since) * dice.random()
        at = at.replace(microsecond=0)
        lines = []
        for product in dice.sample(list(self.products.values()), dice.choice([1, 1, 2, 4])):
            quantity = dice.choice([1, 1, 2, 3])
            lines.append({"id": self.next_id(), "product": product["id"], "name": product["name"], "quantity": quantity, "left": quantity,
                          "cents": product["cents"]})
        goods = sum(line["cents"] * line["quantity"] for line in lines)
        discount = goods // 10 if dice.random() < 0.2 else 0
        self.orders[id] = order = {
            "id": id, "customer": customer["id"] if customer else None, "email": customer["email"] if customer else email, "at": at,
            "updated": at + timedelta(minutes=3), "lines": lines, "discount": discount, "code": "AUTUMN10" if discount else None,
            "total": goods - discount + SHIPPING, "refunds": [], "paid": "PAID", "cancelled": None, "delivered": None, "sent": None,
            "test": dice.random() < 0.03, "currency": dice.choice(["EUR"] * 4 + ["GBP", "USD", "JPY"]),
            "source": "web" if email or customer else "pos",
        }
        for change in dice.choice([[], [], [], ["send"], ["send"], ["send", "part"], ["all"], ["cancel"], ["pending"], ["authorize"],
                                   ["void"]]):
            self.change_order(order, change, min(now() - self.since, at + timedelta(days=4)))
        return order

    def change_order(self, order, change, at):
        at = at.replace(microsecond=0)
        if change == "send":
            order["sent"], order["delivered"] = at, at + timedelta(days=2) if self.dice.random() < 0.7 else None
        elif change == "part":
            line = order["lines"][0]
            line["left"] = max(0, line["left"] - 1)
            order["refunds"].append({"id": self.next_id(), "at": at, "cents": line["cents"], "line": line["id"]})
            order["paid"] = "PARTIALLY_REFUNDED"
        elif change in ("all", "cancel"):
            gone = sum(refund["cents"] for refund in order["refunds"])
            order["refunds"].append({"id": self.next_id(), "at": at, "cents": order["total"] - gone, "line": None})
            order["paid"] = "REFUNDED"
            for line in order["lines"]:
                line["left"] = 0
            order["cancelled"] = at if change == "cancel" else None
        else:
            order["paid"] = {"pending": "PENDING", "authorize": "AUTHORIZED", "void": "VOIDED"}[change]
        order["updated"] = max(order["updated"], at)

    def act(self, action, count):
        return getattr(self, action)(count)

    def insert(self, count):
        ids = []
        for _ in range(count):
            who = person(self.dice, len(self.people) + self.last % 1000 * 1000)
            customer = self.add_customer({**who, "created": now() - self.since})
            order = self.add_order(customer, at=now() - self.since)
            customer["updated"] = order["updated"] = now().replace(microsecond=0)
            ids.append(customer["id"])
        return ids

    def update(self, count):
        at, ids = now().replace(microsecond=0), []
        for customer in self.dice.sample([one for one in self.people.values() if one["email"]], count):
            customer["first_name"], customer["updated"] = "Renée", at
            customer["state"] = "UNSUBSCRIBED" if customer["state"] == "SUBSCRIBED" else "SUBSCRIBED"
            customer["answered"] = at - self.since
            ids.append(customer["id"])
        paid = [order for order in self.orders.values() if order["paid"] == "PAID" and not order["test"]]
        for order in self.dice.sample(paid, min(count, len(paid))):
            self.change_order(order, self.dice.choice(["part", "all", "cancel"]), at - self.since)
            order["updated"] = at
        product = self.dice.choice(list(self.products.values()))
        product["stock"], product["updated"] = product["stock"] + 5, at
        return ids

    def delete(self, count):
        """Customers without orders, as Shopify allows; orders, which leave an event; and a product, which does, too."""
        bought = {order["customer"] for order in self.orders.values()}
        idle = [id for id in self.people if id not in bought]
        while len(idle) < count:
            idle.append(self.add_customer(person(self.dice, self.last))["id"])
        ids = self.dice.sample(idle, count)
        for id in ids:
            self.left[id] = self.people.pop(id)
        for id in self.dice.sample(sorted(self.orders), min(count, len(self.orders))):
            del self.orders[id]
            self.event("ORDER", id)
        if len(self.products) > 3:
            id = self.dice.choice(sorted(self.products))
            self.gone[id] = self.products.pop(id)
            self.event("PRODUCT", id)
        return ids

    def event(self, kind, id, action="destroy"):
        self.events.append({"id": self.next_id(), "at": now().replace(microsecond=0),
                            "shows": now() + timedelta(seconds=self.arguments.lag),
                            "kind": kind, "subject": id, "action": action})

    def shown_events(self):
        return [event for event in self.events if event["shows"] <= now()]

    # What should come of it.

    def truth(self):
        answers = {"SUBSCRIBED": "granted", "UNSUBSCRIBED": "denied", "INVALID": "denied"}
        customers = {str(one["id"]): {"email": one["email"], "first_name": one["first_name"], "last_name": one["last_name"]}
                     for one in self.people.values()}
        orders = {}
        for order in self.orders.values():
            if order["test"]:
                continue
            refunded = sum(refund["cents"] for refund in order["refunds"])
            status = {"PENDING": "pending", "AUTHORIZED": "pending", "VOIDED": "cancelled"}.get(order["paid"], "paid")
            status = "cancelled" if order["cancelled"] else "refunded" if refunded >= order["total"] else status
            if order["customer"]:
                whose = str(order["customer"])
            else:
                # A guest goes by the address, or by the order where there is none.
                address = (order["email"] or "").lower()
                whose = "guest:" + (hashlib.sha256(address.encode()).hexdigest()[:24] if address else f"order-{order['id']}")
                customers[whose] = {"email": order["email"], "first_name": None, "last_name": None}
            orders[f"{self.source}:{order['id']}"] = {
                "customer": whose, "total": f"{order['total'] / 100:.4f}", "currency": SHOP_CURRENCY, "status": status,
                "refunded_base": f"{-refunded / 100:.4f}",
            }
        consents = {str(one["id"]): {"status": answers[one["state"]]} for one in self.people.values() if one["state"] in answers}
        # A no outlives the customer.
        consents.update({str(one["id"]): {"status": "denied"} for one in self.left.values() if answers.get(one["state"]) == "denied"})
        return {
            "customers": customers,
            "orders": orders,
            "consents": consents,
            # Old orders still name what is sold no more.
            "products": {f"{self.source}:{id}": {"name": one["name"], "in_stock": id in self.products and self.sells(one)}
                         for id, one in {**self.products, **self.gone}.items()},
        }

    @staticmethod
    def sells(product):
        return product["status"] == "ACTIVE" and (not product["tracked"] or product["stock"] > 0)

    # Who is asking.

    def expire(self):
        self.token, self.granted = "shpat_" + secrets.token_hex(16), set()

    def grant(self, request):
        """Client credentials, for apps made in the Dev Dashboard."""
        form = request.form() if b"{" not in request.body[:1] else request.json()
        if form.get("grant_type") != "client_credentials" or any(form.get(name) != value for name, value in self.client.items()):
            self.counts["refused"] += 1
            return Answer(400, {"error": "invalid_client", "error_description": "Client authentication failed"})
        token = "shpat_" + secrets.token_hex(16)
        self.granted.add(token)
        return Answer(200,
                      {"access_token": token, "scope": "read_all_orders,read_orders,read_customers,read_products", "expires_in": 86399})

    def answer(self, request):
        if request.method == "POST" and request.path == "/admin/oauth/access_token":
            with self.lock:
                self.counts["requests"] += 1
                return self.grant(request)
        return super().answer(request)

    def before(self, request):
        token = request.headers.get("X-Shopify-Access-Token")
        if token != self.token and token not in self.granted:
            raise Answer(401, {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"})

    def settings(self):
        env = {"SHOPIFY_TOKEN": self.token, "SHOPIFY_CLIENT_ID": self.client["client_id"],
               "SHOPIFY_CLIENT_SECRET": self.client["client_secret"]}
        return {"replace": {"https://your-shop.myshopify.com": self.address}, "env": env}


def in_currency(cents, currency):
    """An amount of the shop's money as the customer saw it."""
    rate, decimals = CURRENCIES[currency]
    return f"{cents * float(rate) / 100:.{decimals}f}"


# The schema, as far as it is here: `Order` an object, `Order*` a connection, `Order[]` a list; what has no type is a value.
SCHEMA = {
    "QueryRoot": {"orders": "Order*", "customers": "Customer*", "products": "Product*", "events": "Event*", "shop": "Shop"},
    "Mutation": {"customerEmailMarketingConsentUpdate": "ConsentPayload"},
    "ConsentPayload": {"customer": "Customer", "userErrors": "UserError[]"},
    "UserError": dict.fromkeys(["field", "message", "code"]),
    "Shop": dict.fromkeys(["id", "name", "currencyCode", "ianaTimezone"]),
    "MoneyBag": {"shopMoney": "MoneyV2", "presentmentMoney": "MoneyV2"},
    "MoneyV2": dict.fromkeys(["amount", "currencyCode"]),
    "Order": {
        **dict.fromkeys("id legacyResourceId name createdAt processedAt updatedAt cancelledAt cancelReason closedAt test email phone note tags "
                        "displayFinancialStatus displayFulfillmentStatus currencyCode presentmentCurrencyCode customerLocale discountCodes "
                        "sourceName confirmed fullyPaid taxesIncluded".split()),
        "customer": "Customer", "shippingAddress": "MailingAddress", "totalPriceSet": "MoneyBag", "currentTotalPriceSet": "MoneyBag",
        "totalDiscountsSet": "MoneyBag", "totalRefundedSet": "MoneyBag", "lineItems": "LineItem*", "refunds": "Refund[]",
        "fulfillments": "Fulfillment[]", "transactions": "OrderTransaction[]",
    },
    "LineItem": {
        **dict.fromkeys("id title name sku quantity currentQuantity refundableQuantity variantTitle vendor requiresShipping taxable".split()),
        "product": "Product", "originalUnitPriceSet": "MoneyBag", "discountedTotalSet": "MoneyBag",
    },
    "Refund": {**dict.fromkeys("id legacyResourceId createdAt updatedAt note".split()), "totalRefundedSet": "MoneyBag"},
    "Fulfillment": dict.fromkeys("id createdAt updatedAt deliveredAt inTransitAt displayStatus status".split()),
    "OrderTransaction": {**dict.fromkeys("id kind status gateway processedAt test".split()), "amountSet": "MoneyBag"},
    "MailingAddress": dict.fromkeys("city zip countryCodeV2 address1 firstName lastName".split()),
    "Customer": {
        **dict.fromkeys("id legacyResourceId firstName lastName displayName locale createdAt updatedAt tags state note numberOfOrders "
                        "verifiedEmail taxExempt multipassIdentifier".split()),
        "defaultEmailAddress": "CustomerEmailAddress", "defaultPhoneNumber": "CustomerPhoneNumber", "defaultAddress": "MailingAddress",
        "amountSpent": "MoneyV2",
    },
    "CustomerEmailAddress": dict.fromkeys("emailAddress marketingState marketingOptInLevel marketingUpdatedAt validFormat".split()),
    "CustomerPhoneNumber": dict.fromkeys("phoneNumber marketingState".split()),
    "Product": {
        **dict.fromkeys("id legacyResourceId title handle productType vendor status tags createdAt updatedAt publishedAt onlineStoreUrl "
                        "totalInventory tracksInventory hasOutOfStockVariants".split()),
        "priceRangeV2": "ProductPriceRangeV2", "featuredMedia": "MediaImage",
    },
    "ProductPriceRangeV2": {"minVariantPrice": "MoneyV2", "maxVariantPrice": "MoneyV2"},
    "MediaImage": {"preview": "MediaPreviewImage"},
    "MediaPreviewImage": {"image": "Image", "status": None},
    "Image": dict.fromkeys("url altText width height".split()),
    "Event": dict.fromkeys("id action createdAt message".split()),
    "BasicEvent": dict.fromkeys("id action createdAt message subjectId subjectType hasAdditionalContent".split()),
}
SORTS = {
    "orders": {"default": "PROCESSED_AT", "PROCESSED_AT": "processedAt", "CREATED_AT": "createdAt", "UPDATED_AT": "updatedAt",
               "ID": "number"},
    "customers": {"default": "ID", "CREATED_AT": "createdAt", "UPDATED_AT": "updatedAt", "ID": "number"},
    "products": {"default": "ID", "CREATED_AT": "createdAt", "UPDATED_AT": "updatedAt", "TITLE": "title", "ID": "number"},
    "events": {"default": "ID", "CREATED_AT": "createdAt", "ID": "number"},
}
#: the fields a search may name, and what they mean in a row
SEARCHES = {
    "orders": {"updated_at": "updatedAt", "created_at": "createdAt", "processed_at": "processedAt", "id": "number", "test": "test"},
    "customers": {"updated_at": "updatedAt", "customer_date": "createdAt", "id": "number"},
    "products": {"updated_at": "updatedAt", "created_at": "createdAt", "id": "number", "status": "status"},
    "events": {"created_at": "createdAt", "action": "action", "subject_type": "subjectType", "id": "number"},
}


class GraphError(Exception):
    """An error that is answered with status 200."""

    def __init__(self, message, code=None, **more):
        super().__init__(message)
        self.body = {"message": message}
        if code:
            self.body["extensions"] = {"code": code, **more}


class Selection:
    """A field, its arguments, and what is selected in it."""

    def __init__(self, name, alias, arguments, inner, on):
        self.name, self.alias, self.arguments, self.inner, self.on = name, alias, arguments, inner, on


class Document:
    """A GraphQL document with one operation: its kind, and what it selects. Named fragments are not read."""

    TOKEN = re.compile(r'\s+|,|#[^\n]*|("""(?:.|\n)*?"""|"(?:\\.|[^"\\])*"|\.\.\.|[A-Za-z_]\w*|-?\d+(?:\.\d+)?|[{}()\[\]:!$=@])')

    def __init__(self, text, variables):
        self.tokens, place = [], 0
        while place < len(text):
            found = self.TOKEN.match(text, place)
            if not found:
                raise GraphError(f"syntax error, unexpected invalid token ({text[place]!r})", "PARSE_ERROR")
            if found.group(1):
                self.tokens.append(found.group(1))
            place = found.end()
        self.place, self.variables, self.declared = 0, variables, {}
        self.kind = self.take() if self.peek() in ("query", "mutation") else "query"
        if self.peek() not in ("{", "("):
            self.take()
        if self.peek() == "(":
            self.declare()
        self.selections = self.block()

    def peek(self):
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, wanted=None):
        token = self.peek()
        if token is None or (wanted and token != wanted):
            raise GraphError(f"syntax error, unexpected {token or 'end of file'}" + (f", expecting {wanted}" if wanted else ""),
                             "PARSE_ERROR")
        self.place += 1
        return token

    def declare(self):
        self.take("(")
        while self.peek() != ")":
            self.take("$")
            name = self.take()
            self.take(":")
            kind = ""
            while self.peek() not in ("$", ")", "="):
                kind += self.take()
            if self.peek() == "=":
                self.take()
                self.variables.setdefault(name, self.value())
            if kind.endswith("!") and self.variables.get(name) is None:
                raise GraphError(f"Variable ${name} of type {kind} was provided invalid value", "INVALID_VARIABLE")
            given = self.variables.get(name)
            if kind.startswith("Int") and given is not None and (isinstance(given, bool) or not isinstance(given, int)):
                raise GraphError(f"Variable ${name} of type {kind} was provided invalid value", "INVALID_VARIABLE")
            self.declared[name] = kind
        self.take(")")

    def value(self):
        token = self.take()
        if token == "$":
            name = self.take()
            if name not in self.declared:
                raise GraphError(f"Variable ${name} is used but not declared", "variableNotDefined")
            return self.variables.get(name)
        if token == "{":
            fields = {}
            while self.peek() != "}":
                name = self.take()
                self.take(":")
                fields[name] = self.value()
            self.take("}")
            return fields
        if token.startswith('"""'):
            return token[3:-3]
        if token.startswith('"'):
            return json.loads(token)
        if re.fullmatch(r"-?\d+", token):
            return int(token)
        return {"true": True, "false": False, "null": None}.get(token, token)

    def block(self, on=None):
        self.take("{")
        found = []
        while self.peek() != "}":
            if self.peek() == "...":
                self.take()
                self.take("on")
                found += self.block(self.take())
                continue
            name = self.take()
            alias = name
            if self.peek() == ":":
                self.take()
                name = self.take()
            arguments = {}
            if self.peek() == "(":
                self.take()
                while self.peek() != ")":
                    key = self.take()
                    self.take(":")
                    arguments[key] = self.value()
                self.take(")")
            inner = self.block() if self.peek() == "{" else None
            found.append(Selection(name, alias, arguments, inner, on))
        self.take("}")
        return found


class Search:
    """The search syntax: terms side by side or joined by AND and OR, in parentheses where wanted."""

    TERM = re.compile(r"""\s*(\(|\)|AND\b|OR\b|NOT\b|-|(\w+):(>=|<=|>|<|)('[^']*'|"[^"]*"|[^\s()]+)|[^\s()]+)""")

    def __init__(self, text, fields):
        self.fields, self.warnings = fields, []
        self.tokens = [found for found in self.TERM.finditer(text or "")]
        self.place = 0
        self.test = self.either() if self.tokens else lambda row: True

    def word(self):
        return self.tokens[self.place].group(1) if self.place < len(self.tokens) else None

    def either(self):
        tests = [self.all()]
        while self.word() == "OR":
            self.place += 1
            tests.append(self.all())
        return lambda row: any(test(row) for test in tests)

    def all(self):
        tests = []
        while self.word() not in (None, ")", "OR"):
            if self.word() == "AND":
                self.place += 1
                continue
            tests.append(self.term())
        return lambda row: all(test(row) for test in tests)

    def term(self):
        found = self.tokens[self.place]
        self.place += 1
        if found.group(1) in ("NOT", "-"):
            test = self.term()
            return lambda row: not test(row)
        if found.group(1) == "(":
            test = self.either()
            self.place += 1
            return test
        name, comparison, value = found.group(2), found.group(3), found.group(4)
        field = self.fields.get(name)
        if not field:
            # A field the search does not know is left out of it, and a warning says so.
            self.warnings.append({"field": name or "default", "message": "Invalid search field for this query.", "code": "invalid_field"})
            return lambda row: True
        quoted = value[0] in "'\""
        value = value[1:-1] if quoted else value
        return lambda row: self.compare(row[field], comparison, value, quoted)

    @staticmethod
    def compare(have, comparison, value, quoted):
        if isinstance(have, bool):
            return str(have).lower() == value.lower()
        if isinstance(have, int):
            have, value = have, int(value)
        elif re.match(r"\d{4}-\d\d-\d\d", value):
            # Without quotes the time of day is not looked at.
            value = instant(value) if quoted else instant(value[:10])
            have = instant(have)
        elif not comparison:
            return str(have).lower() == value.lower()
        return {"": have == value, ">=": have >= value, "<=": have <= value, ">": have > value, "<": have < value}[comparison]


class Shopify(Shop):
    """GraphQL."""

    routes = [("POST", r"/admin/api/(\d{4}-\d\d|unstable)/graphql\.json", "graphql")]
    #: of Shopify Plus, so that tests need not wait; a standard plan has 2,000 and gets back 100 a second
    points, restored, most = 20000, 1000, 1000

    def __init__(self, arguments):
        super().__init__(arguments)
        self.bucket = Bucket(self.points, self.restored)

    def throttle_status(self):
        self.bucket.pour(0)
        return {"maximumAvailable": float(self.points), "currentlyAvailable": int(self.points - self.bucket.level),
                "restoreRate": float(self.restored)}

    def too_many(self, cost=982):
        error = {"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": "https://shopify.dev/api/usage/rate-limits"}}
        cost = {"requestedQueryCost": cost, "actualQueryCost": None, "throttleStatus": self.throttle_status()}
        return Answer(200, {"errors": [error], "extensions": {"cost": cost}})

    def graphql(self, request, version):
        asked = request.json()
        if not isinstance(asked, dict) or not isinstance(asked.get("query"), str):
            raise Answer(400, {"errors": {"query": "Required parameter missing or invalid"}})
        try:
            document = Document(asked["query"], dict(asked.get("variables") or {}))
            root = "Mutation" if document.kind == "mutation" else "QueryRoot"
            price = self.price(root, document.selections) + (10 if root == "Mutation" else 0)
            if price > self.most:
                raise GraphError(f"Query cost is {price}, which exceeds the single query max cost limit ({self.most}).\n\nSee "
                                 "https://shopify.dev/concepts/about-apis/rate-limits for more information on how the\ncost of a query is calculated.",
                                 "MAX_COST_EXCEEDED", cost=price, maxCost=self.most)
            room, _ = self.bucket.pour(price)
            if not room:
                self.counts["throttled"] += 1
                return self.too_many(price)
            self.warnings, self.spent = [], 0
            data = {one.alias: self.run(root, one) for one in document.selections}
            # What the answer did not need flows back.
            self.bucket.level -= max(0, price - self.spent)
            cost = {"requestedQueryCost": price, "actualQueryCost": self.spent, "throttleStatus": self.throttle_status()}
            body = {"data": data, "extensions": {"cost": cost, **({"search": self.warnings} if self.warnings else {})}}
            return Answer(200, body, {"X-Shopify-API-Version": version})
        except GraphError as error:
            self.counts["refused"] += 1
            return Answer(200, {"errors": [error.body]})

    # Prices.

    def price(self, kind, selections):
        total = 0
        for one in selections:
            if one.name == "__typename":
                continue
            fields = SCHEMA[one.on or kind]
            if one.name not in fields:
                raise GraphError(f"Field '{one.name}' doesn't exist on type '{one.on or kind}'", "undefinedField",
                                 typeName=one.on or kind, fieldName=one.name)
            inner = fields[one.name]
            if (inner is None) != (one.inner is None):
                what = "must have a selection of subfields" if inner else "can't have selections"
                raise GraphError(f"Field '{one.name}' {what}", "selectionMismatch", fieldName=one.name)
            if inner is None:
                continue
            if inner.endswith("*"):
                first = one.arguments.get("first", one.arguments.get("last"))
                if first is None:
                    raise GraphError(f"you must provide one of first or last for '{one.name}'", "BAD_REQUEST")
                if not 0 < first <= 250:
                    raise GraphError(f"Argument 'first' on Field '{one.name}' has an invalid value ({first}). It must be between 1 and 250.", "BAD_REQUEST")
                total += 2 + first * (1 + self.price(inner[:-1], self.of_nodes(one)))
            elif inner.endswith("[]"):
                total += one.arguments.get("first", 10) * (1 + self.price(inner[:-2], one.inner))
            else:
                total += 1 + self.price(inner, one.inner)
        return total

    @staticmethod
    def of_nodes(connection):
        found = []
        for one in connection.inner:
            if one.name == "nodes":
                found += one.inner
            elif one.name == "edges":
                found += [deeper for edge in one.inner if edge.name == "node" for deeper in edge.inner]
            elif one.name != "pageInfo":
                raise GraphError(f"Field '{one.name}' doesn't exist on type 'Connection'", "undefinedField", fieldName=one.name)
        return found

    # Answers.

    def run(self, root, one):
        if one.name == "shop":
            return self.project("Shop",
                                {"id": "gid://shopify/Shop/1", "name": "Fernwood", "currencyCode": SHOP_CURRENCY,
                                 "ianaTimezone": "Europe/Berlin"}, one.inner)
        if root == "Mutation":
            return self.project("ConsentPayload", self.consent_update(one.arguments.get("input") or {}), one.inner)
        rows = getattr(self, f"{one.name}_rows")()
        search = Search(one.arguments.get("query"), SEARCHES[one.name])
        if search.warnings:
            self.warnings.append({"path": [one.name], "query": one.arguments["query"], "warnings": search.warnings})
        sorts = SORTS[one.name]
        sort = sorts.get(one.arguments.get("sortKey", sorts["default"]))
        if sort is None:
            raise GraphError(f"Argument 'sortKey' on Field '{one.name}' has an invalid value", "argumentLiteralsIncompatible")
        rows = sorted((row for row in rows if search.test(row)), key=lambda row: (row[sort], row["number"]),
                      reverse=bool(one.arguments.get("reverse")))
        kind = SCHEMA["QueryRoot"][one.name][:-1]
        return self.connection(kind, rows, one, sort)

    def connection(self, kind, rows, one, sort="number"):
        after = one.arguments.get("after")
        if after is not None:
            try:
                place = json.loads(base64.b64decode(after))
                place = (place["last_value"], place["last_id"])
            except (ValueError, KeyError, TypeError):
                raise GraphError(f"`{after}` is not a valid cursor.", "INVALID_CURSOR") from None
            rows = [row for row in rows if (row[sort], row["number"]) > place]
        page = rows[:one.arguments["first"]]
        cursors = [base64.b64encode(json.dumps({"last_id": row["number"], "last_value": row[sort]}).encode()).decode() for row in page]
        self.spent += 2 + len(page)
        answer = {}
        for part in one.inner:
            if part.name == "pageInfo":
                info = {"hasNextPage": len(rows) > len(page), "hasPreviousPage": after is not None,
                        "startCursor": cursors[0] if page else None, "endCursor": cursors[-1] if page else None}
                answer[part.alias] = {inner.alias: info[inner.name] for inner in part.inner}
            elif part.name == "nodes":
                answer[part.alias] = [self.project(kind, row, part.inner) for row in page]
            else:
                parts = {"cursor": lambda row, cursor, inner: cursor, "node": lambda row, cursor,
                         inner: self.project(kind, row, inner.inner)}
                answer[part.alias] = [{inner.alias: parts[inner.name](row, cursor, inner) for inner in part.inner} for row,
                                      cursor in zip(page, cursors)]
        return answer

    def project(self, kind, row, selections):
        if row is None:
            return None
        answer = {}
        for one in selections:
            if one.name == "__typename":
                answer[one.alias] = row.get("__typename", kind)
                continue
            if one.on and one.on != row.get("__typename", kind):
                continue
            inner, value = SCHEMA[one.on or kind][one.name], row[one.name]
            value = value() if callable(value) else value
            if inner is None:
                answer[one.alias] = value
            elif inner.endswith("*"):
                answer[one.alias] = self.connection(inner[:-1], value, one)
            elif inner.endswith("[]"):
                value = value[:one.arguments.get("first", len(value))]
                self.spent += len(value)
                answer[one.alias] = [self.project(inner[:-2], item, one.inner) for item in value]
            else:
                self.spent += value is not None
                answer[one.alias] = self.project(inner, value, one.inner)
        return answer

    def consent_update(self, given):
        """The customer's own word, from somewhere else: SUBSCRIBED, UNSUBSCRIBED or PENDING."""
        customer = self.people.get(int(str(given.get("customerId", "0")).rsplit("/", 1)[-1]))
        consent = given.get("emailMarketingConsent") or {}
        error = None
        if not customer:
            error = {"field": ["input", "customerId"], "message": "Customer not found", "code": "CUSTOMER_DOES_NOT_EXIST"}
        elif not customer["email"]:
            error = {"field": ["input", "customerId"], "message": "Customer must have an email address", "code": "MISSING_EMAIL"}
        elif consent.get("marketingState") not in ("SUBSCRIBED", "UNSUBSCRIBED", "PENDING"):
            error = {"field": ["input", "emailMarketingConsent", "marketingState"], "message": "Marketing state is invalid",
                     "code": "INCLUSION"}
        if error:
            return {"customer": None, "userErrors": [error]}
        customer["state"], customer["updated"] = consent["marketingState"], now().replace(microsecond=0)
        customer["answered"] = instant(consent["consentUpdatedAt"]) if consent.get("consentUpdatedAt") else customer["updated"]
        return {"customer": self.customer_row(customer), "userErrors": []}

    # Rows, whole; a query takes from them what it asks for, and only then is it worked out where that takes time.

    @staticmethod
    def money(cents, currency):
        amounts = [(cents / 100, SHOP_CURRENCY), (float(in_currency(cents, currency)), currency)]
        shop, shown = ({"amount": str(round(amount, 2)), "currencyCode": code} for amount, code in amounts)
        return {"shopMoney": shop, "presentmentMoney": shown}

    def customer_row(self, one):
        email = one["email"] and {
            "emailAddress": one["email"], "marketingState": one["state"], "validFormat": True,
            "marketingOptInLevel": "SINGLE_OPT_IN" if one["state"] == "SUBSCRIBED" else "UNKNOWN",
            "marketingUpdatedAt": iso(one["answered"]) if one["answered"] else None,
        }
        return {
            "number": one["id"], "id": f"gid://shopify/Customer/{one['id']}", "legacyResourceId": str(one["id"]),
            "firstName": one["first_name"],
            "lastName": one["last_name"], "displayName": " ".join(filter(None, [one["first_name"], one["last_name"]])) or one["email"],
            "locale": one["locale"], "createdAt": iso(one["created"]), "updatedAt": iso(one["updated"]), "tags": one["tags"],
            "state": "DISABLED",
            "note": None, "numberOfOrders": lambda: str(sum(order["customer"] == one["id"] for order in self.orders.values())),
            "verifiedEmail": True,
            "taxExempt": False, "multipassIdentifier": None, "defaultEmailAddress": email or None,
            "defaultPhoneNumber": one["phone"] and {"phoneNumber": one["phone"], "marketingState": "NOT_SUBSCRIBED"},
            "defaultAddress": {"city": "Ŝtadt", "zip": "10115", "countryCodeV2": one["country"], "address1": "1 O'Connell St",
                               "firstName": one["first_name"],
                               "lastName": one["last_name"]} if one["email"] else None,
            "amountSpent": {"amount": "0.0", "currencyCode": SHOP_CURRENCY},
        }

    def customers_rows(self):
        return [self.customer_row(one) for one in self.people.values()]

    def product_row(self, one):
        price = {"amount": str(one["cents"] / 100), "currencyCode": SHOP_CURRENCY}
        image = {"url": f"https://cdn.shopify.example/{one['id']}.jpg", "altText": None, "width": 1200, "height": 800}
        handle = one["name"].lower().replace(" ", "-").replace(",", "")
        return {
            "number": one["id"], "id": f"gid://shopify/Product/{one['id']}", "legacyResourceId": str(one["id"]), "title": one["name"],
            "handle": handle,
            "productType": one["category"], "vendor": "Fernwood", "status": one["status"], "tags": [], "createdAt": iso(one["created"]),
            "updatedAt": iso(one["updated"]), "publishedAt": iso(one["created"]), "totalInventory": one["stock"],
            "tracksInventory": one["tracked"],
            "onlineStoreUrl": f"https://shop.example/products/{handle}" if one["status"] == "ACTIVE" else None,
            "hasOutOfStockVariants": one["stock"] == 0,
            "priceRangeV2": {"minVariantPrice": price, "maxVariantPrice": price},
            "featuredMedia": {"preview": {"image": image, "status": "READY"}} if one["id"] % 3 else None,
        }

    def products_rows(self):
        return [self.product_row(one) for one in self.products.values()]

    def order_row(self, one):
        bag = lambda cents: self.money(cents, one["currency"])
        refunded = sum(refund["cents"] for refund in one["refunds"])
        processed = iso(one["at"])
        lines = lambda: [{
            "number": line["id"], "id": f"gid://shopify/LineItem/{line['id']}", "title": line["name"], "name": line["name"], "sku": None,
            "quantity": line["quantity"], "currentQuantity": line["left"], "refundableQuantity": line["left"], "variantTitle": None,
            "vendor": "Fernwood",
            "requiresShipping": True, "taxable": True, "originalUnitPriceSet": bag(line["cents"]),
            "discountedTotalSet": bag(line["cents"] * line["quantity"]),
            "product": self.product_row(self.products[line["product"]]) if line["product"] in self.products else None,
        } for line in one["lines"]]
        sent = one["sent"] and {
            "id": f"gid://shopify/Fulfillment/{one['id']}", "createdAt": iso(one["sent"]), "updatedAt": iso(one["sent"]),
            "inTransitAt": iso(one["sent"]),
            "deliveredAt": iso(one["delivered"]) if one["delivered"] else None,
            "displayStatus": "DELIVERED" if one["delivered"] else "IN_TRANSIT", "status": "SUCCESS",
        }
        customer = self.people.get(one["customer"])
        return {
            "number": one["id"], "id": f"gid://shopify/Order/{one['id']}", "legacyResourceId": str(one["id"]),
            "name": f"#{one['id'] % 100000}",
            "createdAt": iso(one["at"]), "processedAt": one["at"].timestamp() if self.change == "new_type" else processed,
            "updatedAt": iso(one["updated"]),
            "cancelledAt": iso(one["cancelled"]) if one["cancelled"] else None, "cancelReason": "CUSTOMER" if one["cancelled"] else None,
            "closedAt": None,
            "test": one["test"], "email": one["email"], "phone": None, "note": "It's a gift – 贈り物" if one["id"] % 7 == 0 else None,
            "tags": [],
            "displayFinancialStatus": one["paid"], "displayFulfillmentStatus": "FULFILLED" if sent else "UNFULFILLED",
            "currencyCode": SHOP_CURRENCY,
            "presentmentCurrencyCode": one["currency"], "customerLocale": customer["locale"] if customer else "en",
            "sourceName": one["source"],
            "discountCodes": [one["code"]] if one["code"] else [], "confirmed": True, "fullyPaid": one["paid"] == "PAID",
            "taxesIncluded": True,
            "customer": lambda: self.customer_row(customer) if customer else None, "shippingAddress": None,
            "totalPriceSet": bag(one["total"]),
            "currentTotalPriceSet": bag(one["total"] - refunded), "totalDiscountsSet": bag(one["discount"]),
            "totalRefundedSet": bag(refunded), "lineItems": lines,
            "refunds": lambda: [{"id": f"gid://shopify/Refund/{refund['id']}", "legacyResourceId": str(refund["id"]),
                                 "createdAt": iso(refund["at"]),
                         "updatedAt": iso(refund["at"]), "note": None,
                         "totalRefundedSet": bag(refund["cents"])} for refund in one["refunds"]],
            "fulfillments": [sent] if sent else [],
            "transactions": lambda: [{"id": f"gid://shopify/OrderTransaction/{one['id']}", "kind": "SALE", "status": "SUCCESS",
                                      "gateway": "shopify_payments",
                              "processedAt": processed, "test": one["test"], "amountSet": bag(one["total"])}],
        }

    def orders_rows(self):
        return [self.order_row(one) for one in self.orders.values()]

    def events_rows(self):
        rows = []
        for one in self.shown_events():
            subject = one["kind"].capitalize()
            rows.append({"__typename": "BasicEvent", "number": one["id"], "id": f"gid://shopify/BasicEvent/{one['id']}",
                         "action": one["action"],
                         "createdAt": iso(one["at"]), "message": f"{subject} was destroyed.",
                         "subjectId": f"gid://shopify/{subject}/{one['subject']}",
                         "subjectType": one["kind"], "hasAdditionalContent": False})
        for order in self.orders.values():
            rows.append({"__typename": "BasicEvent", "number": order["id"] + 1, "id": f"gid://shopify/BasicEvent/{order['id'] + 1}",
                         "action": "placed",
                         "createdAt": iso(order["at"]), "message": "Order was placed.", "subjectId": f"gid://shopify/Order/{order['id']}",
                         "subjectType": "ORDER", "hasAdditionalContent": False})
        return rows


if __name__ == "__main__":
    serve(Shopify)
