"""Stripe as its API shows it: customers, charges, refunds, balance transactions, checkout sessions and events.

Kept, by docs.stripe.com (Pagination, Events, Errors, Rate limits, Currencies, Versioning):

- Lists are newest first, 10 rows unless asked for more, at most 100; `starting_after` and `has_more`; `created[gt|gte|lt|lte]`. No list can
  be asked for what changed. An unknown parameter is refused.
- Every change is an event with the object as it was then; events are kept for 30 days. Deleted customers are in no list.
- Amounts are integers of the smallest unit: cents, yen, a thousandth of a dinar. Money is settled in euro.
- 25 requests a second (`--per-second`), 429 with the code `rate_limit` and no `Retry-After`.
"""

import copy
import hashlib
import re
import string
from datetime import timedelta
from decimal import Decimal

from server import Answer, Api, now, person, serve

#: What one unit is worth in euro, and how many of the smallest unit it has.
CURRENCIES = {"eur": (Decimal(1), 100), "usd": (Decimal("0.92"), 100), "jpy": (Decimal("0.0061"), 1), "kwd": (Decimal("2.98"), 1000)}
VERSIONS = ("2020-08-27", "2022-11-15", "2023-10-16", "2024-06-20", "2025-03-31.basil")


def unix(at):
    return int(at.timestamp())


def ago(**time):
    return unix(now() - timedelta(**time))


class Stripe(Api):
    routes = [
        ("GET", r"/v1/(customers|charges|refunds|balance_transactions|events|checkout/sessions)", "list"),
        ("GET", r"/v1/(customers|charges|refunds|balance_transactions|events|checkout/sessions)/(\w+)", "one"),
    ]

    @staticmethod
    def options(parser):
        parser.add_argument("--per-second", type=int, default=25)

    def __init__(self, arguments):
        super().__init__(arguments)
        self.key, self.asked, self.made = "rk_test_stripe1", [], 0
        self.objects = {name: {} for name in ("customers", "charges", "refunds", "balance_transactions", "events", "checkout/sessions")}
        for number in range(1, arguments.customers + 1):
            someone = person(self.dice, number)
            customer = self.add_customer(someone, unix(someone["created"]))
            for _ in range(self.dice.choice([0, 1, 1, 2, 4])):
                self.add_payment(self.dice.randint(customer["created"], ago(minutes=20)), someone, customer)
        for number in range(1, arguments.customers // 5):  # guests
            someone = person(self.dice, 90_000 + number) | {"email": f"guest{number}@example.com"}
            for _ in range(self.dice.choice([1, 1, 2])):
                self.add_payment(ago(minutes=self.dice.randint(20, 500_000)), someone, None)
        self.add_payment(ago(days=3), {"first_name": None, "last_name": "", "email": None}, None)  # paid at a terminal
        customers = list(self.objects["customers"].values())
        for customer in self.dice.sample(customers, len(customers) // 25):
            self.remove(customer, ago(days=self.dice.randint(1, 25)))

    # Objects.

    def id(self, prefix):
        self.made += 1
        return f"{prefix}_1Q{self.made:05d}" + "".join(self.dice.choices(string.ascii_letters + string.digits, k=16))

    def keep(self, kind, row):
        self.objects[kind][row["id"]] = row
        return row

    def tell(self, kind, row, at, before=None):
        """An event; the object in it is a copy."""
        data = {"object": copy.deepcopy(row), **({"previous_attributes": before} if before else {})}
        request = {"id": None, "idempotency_key": None}
        id = self.id("evt")
        self.keep("events", {
            "id": id, "object": "event", "api_version": "2020-08-27", "created": at, "data": data, "livemode": False,
            "pending_webhooks": 0, "request": request, "type": kind,
        })

    def add_customer(self, someone, at):
        first, last = someone["first_name"], someone["last_name"]
        east = any("぀" <= letter <= "鿿" for letter in last)  # there the family's name stands first
        names = [last, first] if east else [first, last]
        id = self.id("cus").replace("_1Q", "_")
        customer = self.keep("customers", {
            "id": id, "object": "customer", "balance": 0, "created": at, "currency": None, "default_source": None, "delinquent": False,
            "address": {"city": None, "country": someone["country"], "line1": None, "line2": None, "postal_code": None, "state": None},
            "description": None, "discount": None, "email": someone["email"] if self.dice.random() < 0.97 else None,
            "invoice_prefix": id[-8:].upper(), "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None},
            "livemode": False, "metadata": {"shop_id": str(someone["number"])}, "name": " ".join(name for name in names if name),
            "next_invoice_sequence": 1, "phone": None, "preferred_locales": self.dice.choice([[], ["de"], ["en-GB", "en"]]),
            "shipping": None, "tax_exempt": "none", "test_clock": None,
        })
        self.tell("customer.created", customer, at)
        return customer

    def add_payment(self, at, someone, customer):
        """A payment, with refused attempts before it, and what may follow: a capture, a refund, letting go."""
        currency = self.dice.choice(["eur"] * 6 + ["usd", "jpy", "kwd"])
        rate, unit = CURRENCIES[currency]
        amount = max(1, int(Decimal(self.dice.randint(500, 20_000)) / 100 / rate * unit))
        amount = amount // 10 * 10 if currency == "kwd" else amount  # the last digit of a dinar is always 0
        intent, how = self.id("pi"), self.dice.choice(["paid"] * 12 + ["part", "part", "all", "failed", "reserved", "let go", "less", "pending"])
        if customer is None and self.dice.random() < 0.1:
            intent = None  # an old integration
        for _ in range(self.dice.choice([0, 0, 0, 1, 2]) if intent else 0):
            self.add_charge(max(at - 60, 0), amount, currency, intent, someone, customer, "failed")
        status = {"failed": "failed", "pending": "pending"}.get(how, "succeeded")
        charge = self.add_charge(at, amount, currency, intent, someone, customer, status, how not in ("reserved", "let go", "less"))
        later = min(at + self.dice.randint(60, 86_400 * 20), ago(minutes=3))
        later = max(later, at)
        if how in ("part", "all"):
            self.refund(charge, amount if how == "all" else max(1, amount // 3), later)
        elif how == "let go":
            self.let_go(charge, later)
        elif how == "less":
            self.capture(charge, max(1, amount * 3 // 4), later)
        self.add_session(at - 30, intent, someone, customer)
        return charge

    def add_session(self, at, intent, someone, customer):
        if any(session["customer_details"]["email"] == someone["email"] for session in self.objects["checkout/sessions"].values()):
            return
        promotions = self.dice.choice(["opt_in", "opt_in", "opt_out", None])
        done = self.dice.random() < 0.9
        consent = {"promotions": promotions, "terms_of_service": None} if promotions else None
        self.keep("checkout/sessions", {
            "id": self.id("cs_test"), "object": "checkout.session", "amount_subtotal": 100, "amount_total": 100, "consent": consent,
            "consent_collection": {"promotions": "auto"} if promotions else None, "created": at, "currency": "eur",
            "customer": customer["id"] if customer else None, "expires_at": at + 86_400, "livemode": False, "locale": None,
            "customer_details": {"address": None, "email": someone["email"], "name": None, "phone": None, "tax_exempt": "none"},
            "metadata": {}, "mode": "payment", "payment_intent": intent, "payment_status": "paid" if done else "unpaid",
            "status": "complete" if done else "expired", "success_url": "https://shop.example/thanks", "url": None,
        })

    def add_charge(self, at, amount, currency, intent, someone, customer, status, captured=True):
        name = " ".join(part for part in (someone["first_name"], someone["last_name"]) if part) or None
        captured = captured and status == "succeeded"
        address = {"city": None, "country": someone.get("country"), "line1": None, "line2": None, "postal_code": None, "state": None}
        charge = self.keep("charges", {
            "id": self.id("ch"), "object": "charge", "amount": amount, "amount_captured": amount if captured else 0, "amount_refunded": 0,
            "application": None, "application_fee": None, "application_fee_amount": None, "balance_transaction": None,
            "billing_details": {"address": address, "email": None if customer else someone["email"], "name": name, "phone": None},
            "calculated_statement_descriptor": "SHOP", "captured": captured, "created": at, "currency": currency,
            "customer": customer["id"] if customer else None, "description": "Order", "destination": None, "dispute": None,
            "disputed": False, "failure_balance_transaction": None, "failure_code": "card_declined" if status == "failed" else None,
            "failure_message": "Your card was declined." if status == "failed" else None, "fraud_details": {}, "invoice": None,
            "livemode": False, "metadata": {"order_no": f"N°{self.made}"}, "on_behalf_of": None,
            "outcome": {"network_status": "approved_by_network", "reason": None, "risk_level": "normal", "type": "authorized"},
            "paid": status == "succeeded", "payment_intent": intent, "payment_method": "pm_card_visa",
            "payment_method_details": {"card": {"brand": "visa", "country": "DE", "last4": "4242"}, "type": "card"},
            "receipt_email": None, "receipt_number": None, "receipt_url": None, "refunded": False, "review": None, "shipping": None,
            "source": None, "source_transfer": None, "statement_descriptor": None, "status": status, "transfer_data": None,
            "transfer_group": None,
        })
        if captured:
            self.settle(charge, amount, "charge", at)
        self.tell(f"charge.{status}", charge, at)
        return charge

    def settle(self, row, amount, kind, at):
        """Money moves: in euro, whatever was charged."""
        rate, unit = CURRENCIES[row["currency"]]
        cents = int((Decimal(amount) / unit * rate * 100).to_integral_value())
        moved = self.keep("balance_transactions", {
            "id": self.id("txn"), "object": "balance_transaction", "amount": cents, "available_on": at + 172_800, "created": at,
            "currency": "eur", "description": None, "exchange_rate": None if row["currency"] == "eur" else float(rate), "fee": 30,
            "fee_details": [], "net": cents - 30, "reporting_category": kind, "source": row["id"], "status": "available", "type": kind,
        })
        row["balance_transaction"] = moved["id"]

    def refund(self, charge, amount, at, status="succeeded"):
        refund = self.keep("refunds", {
            "id": self.id("re"), "object": "refund", "amount": amount, "balance_transaction": None, "charge": charge["id"], "created": at,
            "currency": charge["currency"], "destination_details": {"type": "card"}, "metadata": {}, "reason": "requested_by_customer",
            "payment_intent": charge["payment_intent"], "receipt_number": None, "source_transfer_reversal": None, "status": status,
            "transfer_reversal": None,
        })
        if charge["captured"]:
            self.settle(refund, -amount, "refund", at)
        before = {"amount_refunded": charge["amount_refunded"]}
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] >= charge["amount"]
        self.tell("charge.refunded", charge, at, before)
        return refund

    def capture(self, charge, amount, at):
        charge.update(captured=True, amount_captured=amount)
        self.settle(charge, amount, "charge", at)
        if amount < charge["amount"]:  # the rest is let go, as a refund that moves no money
            rest = charge["amount"] - amount
            charge["amount_refunded"] += rest
            self.keep("refunds", {
                "id": self.id("re"), "object": "refund", "amount": rest, "balance_transaction": None, "charge": charge["id"],
                "created": at, "currency": charge["currency"], "destination_details": None, "metadata": {}, "reason": None,
                "payment_intent": charge["payment_intent"], "receipt_number": None, "status": "succeeded",
            })
        self.tell("charge.captured", charge, at, {"captured": False, "amount_captured": 0})

    def let_go(self, charge, at):
        self.refund(charge, charge["amount"], at)
        self.tell("charge.expired", charge, at)

    def remove(self, customer, at):
        del self.objects["customers"][customer["id"]]
        self.tell("customer.deleted", customer, at)

    # What the API answers.

    def settings(self):
        return {"replace": {"https://api.stripe.com": self.address}, "env": {"STRIPE_KEY": self.key}}

    def expire(self):
        self.key = "rk_test_stripe2"

    def refuse(self, status, message, **more):
        return Answer(status, {"error": {"message": message, "type": "invalid_request_error", **more}}, {"Request-Id": self.id("req")})

    def too_many(self):
        answer = self.refuse(429, "Request rate limit exceeded. You can learn more about rate limits here …", code="rate_limit")
        answer.headers["Stripe-Rate-Limited-Reason"] = "global-rate"
        return answer

    def before(self, request):
        given = re.fullmatch(r"Bearer (\w+)", request.headers.get("Authorization", ""))
        if not given:
            raise self.refuse(401, "You did not provide an API key.")
        if given[1] != self.key:
            raise self.refuse(401, f"Expired API Key provided: rk_test_****{given[1][-4:]}", code="api_key_expired")
        version = request.headers.get("Stripe-Version", VERSIONS[0])
        if version not in VERSIONS:
            raise self.refuse(400, f"Invalid Stripe API version: {version}")
        at = now()
        self.asked = [then for then in self.asked if then > at - timedelta(seconds=1)]
        if len(self.asked) >= self.arguments.per_second:
            raise self.too_many()
        self.asked.append(at)

    def one(self, request, kind, id):
        row = self.objects[kind].get(id)
        if row is None:
            raise self.refuse(404, f"No such {kind.rstrip('s')}: '{id}'", code="resource_missing", param="id")
        raise Answer(200, row)

    def list(self, request, kind):
        rows = sorted(self.objects[kind].values(), key=lambda row: (row["created"], row["id"]), reverse=True)
        if kind == "events":
            rows = [row for row in rows if row["created"] >= ago(days=30)]
        size, after, types, filters = 10, None, [], {"gt": 0, "gte": 0, "lt": 0, "lte": 0}
        for name, value in request.params.items():
            if name == "limit":
                size = int(value) if value.isdigit() else 0
                if not 1 <= size <= 100:
                    raise self.refuse(400, "Invalid limit: must be between 1 and 100", param="limit")
            elif name == "starting_after":
                after = value
            elif found := re.fullmatch(r"created\[(gt|gte|lt|lte)\]", name):
                if not value.isdigit():
                    raise self.refuse(400, f"Invalid timestamp: {value}", param="created")
                edge, end = int(value), found[1]
                keeps = {"gt": lambda at: at > edge, "gte": lambda at: at >= edge, "lt": lambda at: at < edge, "lte": lambda at: at <= edge}
                rows = [row for row in rows if keeps[end](row["created"])]
            elif kind == "events" and re.fullmatch(r"types\[\d*\]", name):
                types += request.lists[name]
            elif kind == "events" and name == "type":
                types.append(value)
            elif kind == "checkout/sessions" and name == "status":
                rows = [row for row in rows if row["status"] == value]
            elif kind in ("charges", "refunds") and name in ("customer", "charge", "payment_intent"):
                rows = [row for row in rows if row.get(name) == value]
            else:
                raise self.refuse(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
        if len(types) > 20:
            raise self.refuse(400, "You may pass at most 20 event types", param="types")
        if types:
            rows = [row for row in rows if row["type"] in types]
        if after:
            place = [position for position, row in enumerate(rows) if row["id"] == after]
            if not place:
                raise self.refuse(400, f"No such object: '{after}'", code="resource_missing", param="starting_after")
            rows = rows[place[0] + 1 :]
        shown = rows[:size]
        if self.change == "new_field":
            shown = [{**row, "radar_options": {}} for row in shown]
        if self.change == "new_type":
            shown = copy.deepcopy(shown)
            for charge in [row["data"]["object"] if kind == "events" else row for row in shown]:
                if charge["object"] == "charge":
                    charge["amount"] = {"value": charge["amount"], "decimals": 2}
        raise Answer(200, {"object": "list", "data": shown, "has_more": len(rows) > size, "url": f"/v1/{kind}"})

    # What people do in it.

    def act(self, action, count):
        at, customers = ago(minutes=2), list(self.objects["customers"].values())  # so that tables of this minute hold it
        if action == "insert":
            ids = []
            for number in range(count):
                someone = person(self.dice, 50_000 + self.made + number)
                customer = self.add_customer(someone, at) if number % 3 else None
                if customer is None:
                    someone["email"] = f"guest{self.made}@example.com"
                ids.append(self.add_charge(at, 4_900, "eur", self.id("pi"), someone, customer, "succeeded")["id"])
                self.add_session(at, None, someone, customer)
            return ids
        chosen = self.dice.sample(customers, min(count, len(customers)))
        if action == "delete":
            for customer in chosen:
                self.remove(customer, at)
            return [customer["id"] for customer in chosen]
        for customer in chosen:
            before = {"email": customer["email"]}
            customer["email"] = f"new{self.made}@example.com"
            self.tell("customer.updated", customer, at, before)
        paid = [charge for charge in self.objects["charges"].values() if charge["captured"] and not charge["amount_refunded"]]
        for number, charge in enumerate(self.dice.sample(paid, min(count, len(paid)))):
            self.refund(charge, charge["amount"] if number % 2 == 0 else max(1, charge["amount"] // 2), at)
        for charge in [charge for charge in self.objects["charges"].values() if charge["status"] == "pending"][:2]:
            charge.update(status="succeeded", paid=True, captured=True, amount_captured=charge["amount"])
            self.settle(charge, charge["amount"], "charge", at)
            self.tell("charge.succeeded", charge, at)
        for charge in [charge for charge in self.objects["charges"].values() if charge["paid"] and not charge["captured"]][:3]:
            if not charge["refunded"]:
                self.capture(charge, charge["amount"], at)
        for refund in [refund for refund in self.objects["refunds"].values() if refund["status"] == "succeeded"][:1]:
            refund.update(status="failed", failure_reason="expired_or_canceled_card")
            charge = self.objects["charges"][refund["charge"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self.tell("refund.failed", refund, at, {"status": "succeeded"})
            self.tell("charge.updated", charge, at)
        return [customer["id"] for customer in chosen]

    # What should come of it.

    def truth(self):
        customers, orders, consents = {}, {}, {}
        for id, customer in self.objects["customers"].items():
            customers[id] = {"email": customer["email"], **named(customer["name"])}
        attempts = {}
        for charge in sorted(self.objects["charges"].values(), key=lambda charge: charge["created"]):
            attempts.setdefault(charge["payment_intent"] or charge["id"], []).append(charge)
            email, name = charge["billing_details"]["email"], charge["billing_details"]["name"]
            if not charge["customer"] and email:
                customers[guest(email)] = {"email": email, **named(name)}
        back = {}
        for refund in self.objects["refunds"].values():
            if refund["balance_transaction"] and refund["status"] == "succeeded":
                back[refund["charge"]] = back.get(refund["charge"], 0) + refund["amount"]
        order = {"succeeded": 0, "pending": 1, "failed": 2}
        for id, charges in attempts.items():
            charge = min(charges, key=lambda charge: order[charge["status"]])
            unit = CURRENCIES[charge["currency"]][1]
            gone = back.get(charge["id"], 0)
            if charge["status"] == "failed" or (charge["refunded"] and not charge["captured"]):
                status = "cancelled"
            elif not charge["captured"]:
                status = "pending"
            else:
                status = "refunded" if gone >= charge["amount_captured"] else "paid"
            total = charge["amount_captured"] if charge["captured"] else charge["amount"]
            email = charge["billing_details"]["email"]
            who = charge["customer"] or (guest(email) if email else f"guest:order-{id}")
            if who.startswith("guest:order-"):
                customers[who] = {"email": None, "first_name": None, "last_name": None}
            orders[f"stripe:{id}"] = {
                "customer": who, "total": f"{Decimal(total) / unit:.4f}", "currency": charge["currency"].upper(), "status": status,
            }
        for session in self.objects["checkout/sessions"].values():
            if session["status"] == "complete" and session["consent"] and session["customer_details"]["email"]:
                who = session["customer"] or guest(session["customer_details"]["email"])
                status = "granted" if session["consent"]["promotions"] == "opt_in" else "denied"
                consents[who] = {"channel": "email", "purpose": "marketing", "status": status}
        return {"customers": customers, "orders": orders, "consents": consents}


def guest(email):
    return "guest:" + hashlib.sha256(email.lower().encode()).hexdigest()[:24]


def named(name):
    """Stripe has one field for a name: split where it is plain which part is which."""
    name = name or None
    if name and " " in name and not any("぀" <= letter <= "鿿" for letter in name):
        first, last = name.split(" ", 1)
        return {"first_name": first, "last_name": last}
    return {"first_name": None, "last_name": name}


if __name__ == "__main__":
    serve(Stripe)
