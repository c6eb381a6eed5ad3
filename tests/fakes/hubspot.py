"""A fake of HubSpot's CRM: contacts, orders, tickets, deals, their archive, and who subscribed when.

Its rules are those of HubSpot's public documentation (CRM search, objects, pipelines, communication preferences): a search gives at
most 200 rows a page and 10,000 in all, five a second, sees changes late and never what is archived; a list gives 100 a page, 10 unless
asked, and knows no times; whoever is erased for good is in neither. Values of properties are text or null. Too many requests are
answered with 429 and without `Retry-After`.
"""

import hashlib
import re
from collections import deque
from datetime import timedelta
from urllib.parse import unquote

import server
from server import Answer, PRODUCTS, iso, now

TOKEN = "pat-eu1-6f1e2d3c-0000-4000-8000-000000000001"
REFRESH = "refresh-token-of-the-fake"
OPEN, PROCESSED, SHIPPED, DELIVERED, CANCELLED = (
    "4b27b500-f031-4927-9811-68a0b525cbae", "937ea84d-0a4f-4dcf-9028-3f9c2aafbf03", "aa99e8d0-c1d5-4071-b915-d240bbb1aed9",
    "3725360f-519b-4b18-a593-494d60a29c9f", "3c85a297-e9ce-400b-b42e-9f16853d69d6",
)
PIPELINES = {
    "orders": [("14a2e10e-5471-408a-906e-c51f3b04369e", "Order pipeline", [
        (OPEN, "Open", {"state": "OPEN"}), (PROCESSED, "Processed", {"state": "CLOSED"}), (SHIPPED, "Shipped", {"state": "CLOSED"}),
        (DELIVERED, "Delivered", {"state": "CLOSED"}), (CANCELLED, "Cancelled", {"state": "CLOSED"})])],
    "tickets": [("0", "Support pipeline", [
        ("1", "New", {"ticketState": "OPEN", "isClosed": "false"}), ("2", "Waiting on contact", {"ticketState": "OPEN", "isClosed": "false"}),
        ("3", "Waiting on us", {"ticketState": "OPEN", "isClosed": "false"}),
        ("4", "Closed", {"ticketState": "CLOSED", "isClosed": "true"})])],
}
# What a row carries where nobody names properties.
DEFAULTS = {
    "contacts": ["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"],
    "orders": ["hs_createdate", "hs_object_id", "hs_lastmodifieddate"],
    "tickets": ["content", "createdate", "hs_lastmodifieddate", "hs_object_id", "hs_pipeline", "hs_pipeline_stage", "hs_ticket_category",
                "hs_ticket_priority", "subject"],
    "deals": ["amount", "closedate", "createdate", "dealname", "dealstage", "hs_lastmodifieddate", "hs_object_id", "pipeline"],
}
OPERATORS = {"EQ", "NEQ", "LT", "LTE", "GT", "GTE", "BETWEEN", "IN", "NOT_IN", "HAS_PROPERTY", "NOT_HAS_PROPERTY", "CONTAINS_TOKEN"}


def millis(at):
    return int(at.timestamp() * 1000)


def wrong(message):
    return Answer(400, {"status": "error", "message": message, "correlationId": "d1b2", "category": "VALIDATION_ERROR"})


class HubSpot(server.Api):
    lag = 1.0
    routes = [
        ("POST", r"/crm/v3/objects/(\w+)/search", "search"),
        ("GET", r"/crm/v3/objects/(\w+)", "list"),
        ("GET", r"/crm/v3/pipelines/(\w+)", "pipelines"),
        ("GET", r"/email/public/v1/subscriptions/timeline", "timeline"),
        ("POST", r"/communication-preferences/v4/statuses/([^/]+)/unsubscribe-all", "unsubscribe_all"),
        ("POST", r"/oauth/v1/token", "token"),
    ]

    @staticmethod
    def options(parser):
        parser.add_argument("--currencies", default="EUR", help="what orders are paid in, such as EUR,GBP")

    def __init__(self, arguments):
        super().__init__(arguments)
        self.erased = {}
        self.token_valid, self.oauth, self.given = True, set(), 0
        self.asked = {"search": deque(), "other": deque()}
        self.next_id = 100
        self.objects = {kind: {} for kind in DEFAULTS}
        self.index = {kind: {} for kind in DEFAULTS}
        self.waiting = deque()
        self.changes = []
        for number in range(1, arguments.customers + 1):
            self.newcomer(number, now() - timedelta(days=self.dice.randint(2, 50)))
        self.see(everything=True)

    # The people who work in it.

    def newcomer(self, number, changed):
        dice, person = self.dice, server.person(self.dice, number)
        id = self.new_id()
        email = None if number % 29 == 0 else person["email"].title() if number % 11 == 0 else person["email"]
        created = min(person["created"], changed)
        spoke = changed - timedelta(minutes=3)  # the record is written when somebody gets round to it
        consent = dice.choice(["granted", "granted", "denied", "never", "again"]) if email else "never"
        self.put("contacts", id, changed, created, {
            "email": email, "firstname": person["first_name"], "lastname": person["last_name"], "phone": None, "mobilephone": "+49 30 901820",
            "salutation": dice.choice([None, "", "Dr"]), "hs_language": dice.choice([None, "de", "en-gb", "ja"]),
            "hs_timezone": dice.choice([None, "europe_slash_berlin", "america_slash_new_york"]), "hs_country_region_code": person["country"],
            "country": "Germany", "hs_additional_emails": f"also{number}@example.net;old{number}@example.net" if number % 17 == 0 else None,
            "lifecyclestage": "customer", "hs_email_optout": "true" if consent == "denied" else "" if consent == "again" else None,
            "hs_marketable_status": "true", "num_notes": "0", "hs_is_unworked": "true",
        })
        if consent != "never":
            agreed = created if changed < now() - timedelta(days=1) else spoke - timedelta(minutes=1)
            self.said(email, agreed, "SUBSCRIBED", "SUBSCRIPTION_STATUS", 4711)
        if consent in ("denied", "again"):
            self.said(email, spoke, "UNSUBSCRIBED", "PORTAL_STATUS")
        if consent == "again":
            self.said(email, spoke + timedelta(seconds=1), "SUBSCRIBED", "PORTAL_STATUS")
        for _ in range(dice.choice([0, 0, 1, 1, 2])):
            self.order(id, email, changed)
        if dice.random() < 0.3:
            self.ticket(id, email, changed)
        if number % 40 == 0:  # somebody whom the CRM does not know
            self.order(None, f"guest{number}@example.org", changed)
            self.said(f"stranger{number}@example.org", spoke, "UNSUBSCRIBED", "PORTAL_STATUS")
        if number % 25 == 0:
            self.put("deals", self.new_id(), changed, created, {
                "dealname": f"Deal {number}", "amount": "1200.50", "deal_currency_code": "EUR", "closedate": iso(changed, True),
                "dealstage": "closedwon", "pipeline": "default", "hs_is_closed_won": "true",
            }, contacts=[id])
        return id

    def order(self, contact, email, at):
        dice, id = self.dice, self.new_id()
        placed = at - timedelta(days=dice.randint(0, 30), minutes=3)
        currency = dice.choice(self.arguments.currencies.split(","))
        total = f"{sum(float(product[2]) for product in dice.sample(PRODUCTS, 2)):.2f}"
        status = dice.choice(["paid", "paid", "paid", "pending", "refunded", None])
        stage = dice.choice([OPEN, PROCESSED, SHIPPED, DELIVERED, DELIVERED, CANCELLED])
        self.put("orders", id, at, placed, {
            "hs_order_name": f"#{1000 + int(id)}", "hs_external_order_id": f"gid-{id}", "hs_source_store": "shop.example",
            "hs_pipeline": PIPELINES["orders"][0][0],
            "hs_pipeline_stage": stage, "hs_total_price": total, "hs_subtotal_price": total,
            "hs_order_discount": dice.choice([None, "", "5.00"]),
            "hs_tax": "0", "hs_currency_code": currency, "hs_billing_address_email": email, "hs_shipping_address_city": "Köln",
            "hs_external_order_status": status, "hs_external_created_date": dice.choice([iso(placed, True), iso(placed, True), None]),
            "hs_external_canceled_date": iso(at, True) if stage == CANCELLED else dice.choice([None, ""]),
            "hs_refund_amount": total if status == "refunded" else dice.choice([None, "0", "1.50"]),
            "hs_discount_codes": dice.choice([None, "SPRING"]),
        }, contacts=[contact] if contact else [], created_name="hs_createdate")
        return id

    def ticket(self, contact, email, at):
        dice, id = self.dice, self.new_id()
        opened = at - timedelta(days=dice.randint(1, 20))
        stage = dice.choice(["1", "2", "3", "4", "4"])
        self.put("tickets", id, at, opened, {
            "subject": dice.choice(["It came broken", "Wo bleibt mein Stuhl?", "It's the wrong size", "返品したいです", ""]), "content": "…",
            "hs_pipeline": "0", "hs_pipeline_stage": stage,
            "hs_ticket_category": dice.choice([None, "PRODUCT_ISSUE", "BILLING_ISSUE", "GENERAL_INQUIRY"]),
            "hs_ticket_priority": None, "first_agent_reply_date": dice.choice([None, iso(opened + timedelta(hours=5), True)]),
            "closed_date": iso(at, True) if stage == "4" else dice.choice([None, ""]), "source_type": "EMAIL",
            "hs_all_associated_contact_emails": f"{email};second@example.org" if email and int(id) % 3 == 0 else email,
        }, contacts=[contact])
        return id

    def new_id(self):
        self.next_id += self.dice.randint(1, 40)
        return str(self.next_id)

    def put(self, kind, id, changed, created, properties, contacts=(), created_name="createdate"):
        modified = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
        properties = {**properties, created_name: iso(created, True), modified: iso(changed, True), "hs_object_id": id}
        self.objects[kind][id] = {"properties": properties, "created": created, "changed": changed, "archived": None,
                                  "contacts": list(contacts)}
        self.touched(kind, id)

    def edit(self, kind, id, **properties):
        row, at = self.objects[kind][id], now()
        modified = "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"
        row["properties"] = {**row["properties"], **properties, modified: iso(at, True)}
        row["changed"] = at
        self.touched(kind, id)

    def touched(self, kind, id):
        row = self.objects[kind].get(id)
        self.waiting.append((now() + timedelta(seconds=self.arguments.lag), kind, id, dict(row) if row and not row["archived"] else None))

    def see(self, everything=False):
        """What the index of the search has come to know by now. HubSpot's own takes seconds as a rule, and up to an hour."""
        while self.waiting and (everything or self.waiting[0][0] <= now()):
            _, kind, id, row = self.waiting.popleft()
            self.index[kind][id] = row
            if row is None:
                del self.index[kind][id]

    def said(self, email, at, change, kind, subscription=None):
        item = {"change": change, "source": "SOURCE_RECIPIENT", "portalId": 62515, "changeType": kind,
                "causedByEvent": {"id": "0d813e2c-ce7f-4510-9250-839cd08c967a", "created": millis(at)}}
        if subscription:
            item["subscriptionId"] = subscription
        self.changes.append({"timestamp": millis(at), "portalId": 62515, "recipient": email.lower(), "changes": [item]})

    def living(self):
        return [id for id, row in self.objects["contacts"].items() if not row["archived"]]

    def act(self, action, count):
        if action == "insert":
            return [self.newcomer(len(self.objects["contacts"]) + 1, now()) for _ in range(count)]
        ids = self.dice.sample(self.living(), count)
        for id in ids:
            if action == "delete":
                self.objects["contacts"][id]["archived"] = now()
                self.touched("contacts", id)
            elif action == "erase":
                self.erased[id] = {**self.objects["contacts"].pop(id), "archived": now()}
                self.touched("contacts", id)
            else:
                self.work_on(id)
        return ids

    def work_on(self, id):
        email = self.objects["contacts"][id]["properties"]["email"]
        out = bool(email) and self.dice.random() < 0.5
        self.edit("contacts", id, lastname=self.dice.choice(server.LAST) + "-Neu", **({"hs_email_optout": "true"} if out else {}))
        if out:
            self.said(email, now() - timedelta(minutes=3), "UNSUBSCRIBED", "PORTAL_STATUS")
        for kind, properties in [
            ("orders", {"hs_pipeline_stage": CANCELLED, "hs_external_canceled_date": iso(now(), True)}),
            ("tickets", {"hs_pipeline_stage": "4", "closed_date": iso(now(), True)}),
        ]:
            for other, row in self.objects[kind].items():
                if id in row["contacts"]:
                    self.edit(kind, other, **properties)

    def control(self, request):
        if request.path.endswith("/erase"):  # for good, as the data protection laws ask: there is no trace in the archive either
            with self.lock:
                return Answer(200, {"ids": self.act("erase", request.json().get("count", 1))})
        return super().control(request)

    # Who may ask, and how often.

    def expire(self):
        self.token_valid = False
        self.oauth.clear()

    def too_many(self, policy="SECONDLY"):
        message = f"You have reached your {policy.lower()} limit."
        return Answer(429, {"status": "error", "message": message, "errorType": "RATE_LIMIT", "correlationId": "f00d",
                            "policyName": policy, "requestId": "0000"})

    def before(self, request):
        if request.path == "/oauth/v1/token":
            return
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not (token in self.oauth or (token == TOKEN and self.token_valid)):
            raise Answer(401, {"status": "error", "message": "Authentication credentials not found. This API supports OAuth 2.0 "
                               "authentication and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
                               "correlationId": "a8aca888", "category": "INVALID_AUTHENTICATION"})
        search = request.path.endswith("/search")
        asked, most, span = (self.asked["search"], 5, 1) if search else (self.asked["other"], 100, 10)
        while asked and (now() - asked[0]).total_seconds() >= span:
            asked.popleft()
        if len(asked) >= most:
            raise self.too_many("SECONDLY" if search else "TEN_SECONDLY_ROLLING")
        asked.append(now())

    def token(self, request):
        form = request.form()
        if form.get("grant_type") != "refresh_token" or form.get("refresh_token") != REFRESH or form.get("client_secret") != "secret":
            raise Answer(400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token", "correlationId": "beef"})
        self.given += 1
        self.oauth.add(f"oauth-{self.given}")
        return Answer(200, {"token_type": "bearer", "refresh_token": REFRESH, "access_token": f"oauth-{self.given}", "expires_in": 1800})

    # What it answers.

    def shown(self, kind, id, row, names):
        names = dict.fromkeys(["hs_object_id", *names, *([] if kind == "orders" else ["createdate"]),
                               "lastmodifieddate" if kind == "contacts" else "hs_lastmodifieddate"])
        properties = {name: row["properties"].get(name) for name in names}
        if self.change == "new_type" and kind == "contacts":
            properties["email"] = {"value": properties.get("email")}
        shown = {"id": id, "properties": properties, "createdAt": iso(row["created"], True), "updatedAt": iso(row["changed"], True),
                 "archived": bool(row["archived"]), "url": f"https://app.hubspot.com/contacts/62515/record/{kind}/{id}"}
        if row["archived"]:
            shown["archivedAt"] = iso(row["archived"], True)
        if self.change == "new_field":
            shown["objectWriteTraceId"] = f"trace-{id}"
        return shown

    def search(self, request, kind):
        if kind not in self.index:
            raise Answer(404, {"status": "error", "message": f"Unable to infer object type from: {kind}", "correlationId": "d1b2"})
        self.see()
        body = request.json()
        limit, after = body.get("limit", 10), body.get("after") or "0"
        if not isinstance(limit, int) or not 1 <= limit <= 200:
            raise wrong("Request limit must be between 1 and 200")
        if not re.fullmatch(r"\d+", str(after)):
            raise wrong(f"Invalid input JSON: 'after' is no number: {after}")
        start = int(after)
        if start + limit > 10000:
            raise wrong("The maximum number of results that can be paged through with the search API is 10,000")
        groups, sorts = body.get("filterGroups") or [], body.get("sorts") or []
        if len(groups) > 5 or any(len(group.get("filters", [])) > 10 for group in groups) or sum(len(g["filters"]) for g in groups) > 25:
            raise wrong("too many filters or filterGroups")
        if len(sorts) > 1:
            raise wrong("Only one sort is supported")
        found = [(id, row) for id, row in self.index[kind].items()
                 if not groups or any(all(self.fits(row["properties"], rule) for rule in group["filters"]) for group in groups)]
        name, down = (sorts[0]["propertyName"], sorts[0].get("direction") == "DESCENDING") if sorts else ("createdate", False)
        found.sort(key=lambda pair: self.comparable(pair[1]["properties"].get(name)), reverse=down)
        answer = {"total": len(found), "results": [
            self.shown(kind, id, row, body.get("properties") or DEFAULTS[kind]) for id, row in found[start:start + limit]]}
        if start + limit < len(found):
            answer["paging"] = {"next": {"after": str(start + limit)}}
        return Answer(200, answer)

    def comparable(self, value):
        """Numbers and instants compare by size, texts by letter."""
        text = str(value or "")
        if re.fullmatch(r"\d{4}-\d\d-\d\dT.*", text):
            return (0, float(millis(server.instant(text))), "")
        return (0, float(text), "") if re.fullmatch(r"-?\d+(\.\d+)?", text) else (1, 0.0, text.lower())

    def fits(self, properties, rule):
        operator, name = rule.get("operator"), rule.get("propertyName")
        if operator not in OPERATORS or not name:
            raise wrong(f"There was a problem with the request: no operator {operator} of {name}")
        held = properties.get(name) or None
        if operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
            return (held is None) == (operator == "NOT_HAS_PROPERTY")
        if operator in ("IN", "NOT_IN"):
            return (str(held) in (rule.get("values") or [])) == (operator == "IN")
        if rule.get("value") is None:
            raise wrong(f"There was a problem with the request: the filter on {name} has no value")
        if held is None:
            return operator == "NEQ"
        here, there = self.comparable(held), self.comparable(rule["value"])
        if operator in ("LT", "LTE", "GT", "GTE") and here[0] != there[0]:
            raise wrong(f"{rule['value']} is no value that {name} can be compared to")
        return {"EQ": here == there, "NEQ": here != there, "LT": here < there, "LTE": here <= there, "GT": here > there, "GTE": here >= there,
                "BETWEEN": there <= here <= self.comparable(rule.get("highValue")), "CONTAINS_TOKEN": there[2] in here[2]}[operator]

    def list(self, request, kind):
        if kind not in self.objects:
            raise Answer(404, {"status": "error", "message": f"Unable to infer object type from: {kind}", "correlationId": "d1b2"})
        limit, after = request.number("limit", 10), int(request.params.get("after") or 0)
        if not 1 <= limit <= 100:
            raise wrong("limit must be between 1 and 100")
        archived = request.params.get("archived") == "true"
        names = [name for name in request.params.get("properties", "").split(",") if name] or DEFAULTS[kind]
        # By id, and `after` is the first id of the next page: nothing slips while pages are read.
        found = sorted((int(id), row) for id, row in self.objects[kind].items() if bool(row["archived"]) == archived and int(id) >= after)
        results = [self.shown(kind, str(id), row, names) for id, row in found[:limit]]
        if "contacts" in request.params.get("associations", ""):
            for shown, (_, row) in zip(results, found):
                if row["contacts"]:
                    linked = [{"id": id, "type": f"{kind[:-1]}_to_contact"} for id in row["contacts"]]
                    shown["associations"] = {"contacts": {"results": linked}}
        answer = {"results": results}
        if len(found) > limit:
            answer["paging"] = {"next": {"after": str(found[limit][0]), "link": f"{self.address}{request.path}?after={found[limit][0]}"}}
        return Answer(200, answer)

    def pipelines(self, request, kind):
        at = "2025-02-01T09:00:00.000Z"
        common = {"createdAt": at, "updatedAt": at, "archived": False}
        return Answer(200, {"results": [
            {"id": id, "label": label, "displayOrder": 0, **common, "stages": [
                {"id": stage, "label": name, "displayOrder": place, "metadata": metadata,
                 "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT", **common}
                for place, (stage, name, metadata) in enumerate(stages)]}
            for id, label, stages in PIPELINES.get(kind, [])]})

    def timeline(self, request):
        """The newest first; `offset` names the item to go on after."""
        limit, since = request.number("limit", 10, 1000), request.number("startTimestamp", 0)
        found = sorted((item for item in self.changes if item["timestamp"] >= since),
                       key=lambda item: (-item["timestamp"], item["recipient"]))
        start = 0
        if offset := request.params.get("offset"):
            at, recipient = offset.split("|")
            start = sum(1 for item in found if (-item["timestamp"], item["recipient"]) <= (-int(at), recipient))
        page = found[start:start + limit]
        last = f"{page[-1]['timestamp']}|{page[-1]['recipient']}" if page else ""
        extra = {"snapshot": None} if self.change == "new_field" else {}
        return Answer(200, {"hasMore": start + limit < len(found), "offset": last, "timeline": [{**item, **extra} for item in page]})

    def unsubscribe_all(self, request, email):
        email = unquote(email).lower()
        if request.params.get("channel") != "EMAIL":
            raise wrong("channel is required")
        self.said(email, now(), "UNSUBSCRIBED", "PORTAL_STATUS")
        for id in self.living():
            if (self.objects["contacts"][id]["properties"]["email"] or "").lower() == email:
                self.edit("contacts", id, hs_email_optout="true")
        return Answer(200, {"status": "COMPLETE", "results": [], "startedAt": iso(now()), "completedAt": iso(now())})

    # For tests.

    def settings(self):
        return {"replace": {"https://api.hubapi.com": self.address}, "env": {"HUBSPOT_TOKEN": TOKEN}}

    def truth(self):
        """What somebody knows who has read it all along: archived and erased contacts are remembered, and their noes with them."""
        addresses, contacts = {}, {**self.erased, **self.objects["contacts"]}
        for id, row in contacts.items():
            for address in [row["properties"]["email"], *(row["properties"]["hs_additional_emails"] or "").split(";")]:
                if address and (address.lower() not in addresses or not row["archived"]):
                    addresses[address.lower()] = id

        def whose(emails, otherwise=None):
            address = (emails or "").split(";")[0].lower()
            return addresses.get(address) or (f"guest:{hashlib.sha256(address.encode()).hexdigest()[:24]}" if address else otherwise)

        def status(p):
            if p["hs_external_canceled_date"] or p["hs_pipeline_stage"] == CANCELLED:
                return "cancelled"
            return p["hs_external_order_status"] if p["hs_external_order_status"] in ("refunded", "pending") else "paid"

        text = lambda value: value or None
        customers = {id: {"email": text(p["email"]), "first_name": text(p["firstname"]), "last_name": text(p["lastname"])}
                     for id in self.living() for p in [self.objects["contacts"][id]["properties"]]}
        nobody = {"email": None, "first_name": None, "last_name": None}
        orders, tickets, answers = {}, {}, {}
        for id, row in self.objects["orders"].items():
            p = row["properties"]
            customer = whose(p["hs_billing_address_email"], f"guest:order-{id}")
            orders[f"hubspot:{id}"] = {"customer": customer, "total": p["hs_total_price"], "currency": p["hs_currency_code"],
                                       "status": status(p)}
            if customer.startswith("guest:"):
                customers[customer] = {**nobody, "email": text(p["hs_billing_address_email"])}
        stages = {"4": "closed", "2": "pending"}
        for id, row in self.objects["tickets"].items():
            p = row["properties"]
            tickets[f"hubspot:{id}"] = {
                "customer": whose(p["hs_all_associated_contact_emails"]), "status": stages.get(p["hs_pipeline_stage"], "open"),
                "kind": "complaint" if p["hs_ticket_category"] in ("PRODUCT_ISSUE", "BILLING_ISSUE") else "question"}
        for item in sorted(self.changes, key=lambda item: item["timestamp"]):
            id, said_yes = whose(item["recipient"]), item["changes"][0]["change"] == "SUBSCRIBED"
            if said_yes and (id not in contacts or contacts[id]["archived"]):
                continue  # the yes of somebody who is gone is none
            answers[id] = {"status": "granted" if said_yes else "denied"}
            if id.startswith("guest:"):
                customers[id] = {**nobody, "email": item["recipient"]}
        answers.update({id: {"status": "denied"} for id, row in contacts.items() if row["properties"]["hs_email_optout"] == "true"})
        return {"customers": customers, "orders": orders, "tickets": tickets, "consents": answers}


if __name__ == "__main__":
    server.serve(HubSpot)
