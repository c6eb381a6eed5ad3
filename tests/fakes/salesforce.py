"""A fake of Salesforce's REST API: contacts, cases, orders with their products, and opportunities, asked in SOQL.

Its rules are those of Salesforce's public documentation (REST API, SOQL, OAuth): a query names its fields, and one that does not exist is
an error; `query` leaves out what lies in the recycle bin, `queryAll` has it with `IsDeleted`; what is deleted for good is in neither; a
batch holds at most 2,000 records, here far fewer, as Salesforce may choose; a session that ended is answered with 401
`INVALID_SESSION_ID`, a used-up quota with 403 `REQUEST_LIMIT_EXCEEDED`. Records of long transactions show up late, with an old stamp.
"""

import base64
import hashlib
import json
import operator
import re
from datetime import timedelta

import server
from server import Answer, PRODUCTS, now

BATCH = 120  # Salesforce gives up to 2,000 and may give fewer
QUOTA = 15000
DATES = {"Birthdate", "EffectiveDate", "CloseDate"}
FIELDS = {
    "Contact": "Id IsDeleted MasterRecordId AccountId LastName FirstName Salutation Name MailingCity MailingCountry Phone MobilePhone Email "
               "Title Birthdate LeadSource OwnerId HasOptedOutOfEmail HasOptedOutOfFax DoNotCall CreatedDate LastModifiedDate SystemModstamp "
               "EmailBouncedReason EmailBouncedDate Email_Opt_In__c Email_Opt_In_Date__c",
    "Case": "Id IsDeleted CaseNumber ContactId AccountId SuppliedName SuppliedEmail Type Status Reason Origin Subject Priority Description IsClosed "
            "ClosedDate OwnerId CreatedDate LastModifiedDate SystemModstamp",
    "Order": "Id IsDeleted OwnerId AccountId Pricebook2Id EffectiveDate EndDate Status StatusCode Description BillToContactId ShipToContactId "
             "ActivatedDate OrderNumber TotalAmount CreatedDate LastModifiedDate SystemModstamp CurrencyIsoCode",
    "OrderItem": "Id IsDeleted OrderId PricebookEntryId Product2Id OrderItemNumber Quantity UnitPrice ListPrice TotalPrice CreatedDate "
                 "LastModifiedDate SystemModstamp",
    "Product2": "Id IsDeleted Name ProductCode Description IsActive Family DisplayUrl CreatedDate LastModifiedDate SystemModstamp",
    "Opportunity": "Id IsDeleted AccountId ContactId Name StageName Amount CloseDate IsClosed IsWon CreatedDate LastModifiedDate SystemModstamp",
}
FIELDS = {name: set(fields.split()) for name, fields in FIELDS.items()}
PREFIX = {"Contact": "003", "Case": "500", "Order": "801", "OrderItem": "802", "Product2": "01t", "Opportunity": "006"}
OPERATORS = {"=": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


def stamp(at):
    """`2026-05-01T10:00:00.000+0000`, as Salesforce writes an instant."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000+0000") if at else None


def refusal(status, code, message):
    return Answer(status, [{"message": message, "errorCode": code}])


class Salesforce(server.Api):
    lag = 1.0
    routes = [
        ("POST", r"/services/oauth2/token", "token"),
        ("GET", r"/services/data/v(\d+)\.0/(query|queryAll)/?", "query"),
        ("GET", r"/services/data/v\d+\.0/(?:query|queryAll)/(01g\w+)-(\d+)", "more"),
        ("PATCH", r"/services/data/v\d+\.0/sobjects/Contact/(\w+)", "patch"),
    ]

    def __init__(self, arguments):
        super().__init__(arguments)
        self.sessions, self.refresh, self.given, self.used, self.erased = set(), "5Aep-refresh-0", 0, 0, {}
        self.records, self.next_id, self.locators = {name: {} for name in FIELDS}, 1000, {}
        self.waiting, self.seen = [], {name: {} for name in FIELDS}
        for name, family, price in PRODUCTS:
            self.put("Product2", now() - timedelta(days=800), now() - timedelta(days=30), Name=name, ProductCode=name.upper()[:3],
                     Description=None,
                     IsActive=family != "Paper", Family=family, DisplayUrl=f"https://shop.example/{name.split()[0].lower()}")
        for number in range(1, arguments.customers + 1):
            self.newcomer(number, now() - timedelta(days=self.dice.randint(2, 50)))
        self.see(everything=True)

    # The people who work in it.

    def put(self, kind, created, changed, **fields):
        self.next_id += self.dice.randint(1, 30)
        id = f"{PREFIX[kind]}5g{self.next_id:010d}AAA"
        empty = dict.fromkeys(FIELDS[kind])
        self.records[kind][id] = {**empty, "Id": id, "IsDeleted": False, "OwnerId": "0055g00000ABCDEAAX", **fields, "CreatedDate": created,
                                  "LastModifiedDate": changed, "SystemModstamp": changed}
        self.touched(kind, id)
        return id

    def edit(self, kind, id, **fields):
        self.records[kind][id] = {**self.records[kind][id], **fields, "LastModifiedDate": now(), "SystemModstamp": now()}
        self.touched(kind, id)

    def touched(self, kind, id):
        self.waiting.append((now() + timedelta(seconds=self.arguments.lag), kind, id, self.records[kind].get(id)))

    def see(self, everything=False):
        """What queries see by now: a transaction that takes a while stamps its records when it begins. Up to ten minutes in practice."""
        while self.waiting and (everything or self.waiting[0][0] <= now()):
            _, kind, id, record = self.waiting.pop(0)
            self.seen[kind][id] = record
            if record is None:
                del self.seen[kind][id]

    def newcomer(self, number, changed):
        dice, person = self.dice, server.person(self.dice, number)
        created = min(person["created"], changed)
        answer = dice.choice(["out", "in", "in", None])
        contact = self.put(
            "Contact", created, changed, AccountId=f"0015g{number:010d}AAA", LastName=person["last_name"], FirstName=person["first_name"],
            Name=person["last_name"], Salutation=dice.choice([None, "Dr.", "Ms."]), MailingCity="Köln", Phone="+49 30 901820",
            MailingCountry=dice.choice(["DE", "Germany", None]), Email=None if number % 31 == 0 else person["email"],
            Birthdate="1988-02-29" if number % 7 == 0 else None, LeadSource="Web", HasOptedOutOfEmail=answer == "out", HasOptedOutOfFax=False,
            DoNotCall=False, Email_Opt_In__c=answer == "in", Email_Opt_In_Date__c=created if answer == "in" else None)
        for _ in range(dice.choice([0, 1, 1, 2])):
            self.order(contact, changed)
        if dice.random() < 0.3:
            self.case(contact, changed)
        if number % 25 == 0:
            self.put("Opportunity", created, changed, AccountId=f"0015g{number:010d}AAA", ContactId=contact, Name=f"Deal {number}",
                     StageName="Closed Won" if number % 2 else "Prospecting", Amount=1200.5, CloseDate=changed.strftime("%Y-%m-%d"),
                     IsClosed=bool(number % 2), IsWon=bool(number % 2))
        if number % 40 == 0:
            self.order(None, changed)
            self.case(None, changed, email=f"guest{number}@example.org")
            self.case(None, changed, email=person["email"].upper())
        return contact

    def order(self, contact, at):
        dice = self.dice
        placed = at - timedelta(days=dice.randint(0, 30), minutes=3)
        status, code = dice.choice([("Activated", "Activated"), ("Activated", "Activated"), ("Shipped", "Activated"), ("Draft", "Draft"),
                                    ("Cancelled", "Activated")])
        back = dice.random() < 0.05  # a reduction order: what came back
        items = [(product, 1.0 if not back else -1.0) for product in dice.sample(sorted(self.records["Product2"]), dice.randint(1, 3))]
        prices = {record["Id"]: float(price) for record, (_, _, price) in zip(self.records["Product2"].values(), PRODUCTS)}
        order = self.put(
            "Order", at - timedelta(minutes=3), at, AccountId="0015g00000SHOPAAAX", EffectiveDate=placed.strftime("%Y-%m-%d"),
            Status=status, StatusCode=code,
            BillToContactId=contact, ActivatedDate=None if code == "Draft" else at, OrderNumber=f"{self.next_id:08d}",
            TotalAmount=round(sum(prices[product] * quantity for product, quantity in items), 2), CurrencyIsoCode=dice.choice(["EUR", "GBP"]))
        for line, (product, quantity) in enumerate(items, 1):
            self.put("OrderItem", at, at, OrderId=order, Product2Id=product, OrderItemNumber=f"{line:010d}", Quantity=quantity,
                     UnitPrice=prices[product], ListPrice=prices[product], TotalPrice=prices[product] * quantity)
        return order

    def case(self, contact, at, email=None):
        dice, closed = self.dice, self.dice.random() < 0.5
        opened = at - timedelta(days=dice.randint(0, 9), minutes=3)
        return self.put(
            "Case", opened, at, CaseNumber=f"{self.next_id:08d}", ContactId=contact, SuppliedEmail=email, SuppliedName=email and "Somebody",
            Type=dice.choice([None, "Problem", "Question", "Feature Request"]),
            Status="Closed" if closed else dice.choice(["New", "Working", "On Hold"]),
            Origin="Email", Subject=dice.choice(["It's broken", "Wo bleibt mein Stuhl?", None]), Priority="Medium", IsClosed=closed,
            ClosedDate=at if closed else None)

    def living(self):
        return [id for id, record in self.records["Contact"].items() if not record["IsDeleted"]]

    def act(self, action, count):
        if action == "insert":
            return [self.newcomer(len(self.records["Contact"]) + 1, now()) for _ in range(count)]
        # Salesforce does not delete a contact that has a case.
        asking = {case["ContactId"] for case in self.records["Case"].values()}
        free = [id for id in self.living() if action == "update" or id not in asking]
        ids = self.dice.sample(free, count)
        for id in ids:
            orders = [order for order, record in self.records["Order"].items() if record["BillToContactId"] == id]
            if action == "update":
                self.edit("Contact", id, LastName=self.dice.choice(server.LAST) + "-Neu", HasOptedOutOfEmail=self.dice.random() < 0.5)
                for order in orders:
                    self.edit("Order", order, Status="Cancelled")
                for case, record in self.records["Case"].items():
                    if record["ContactId"] == id and not record["IsClosed"]:
                        self.edit("Case", case, Status="Closed", IsClosed=True, ClosedDate=now() - timedelta(minutes=3))
                continue
            for order in orders:
                self.edit("Order", order, BillToContactId=None)
            if action == "delete":
                self.edit("Contact", id, IsDeleted=True)
            else:
                self.erased[id] = self.records["Contact"].pop(id)
                self.touched("Contact", id)
        return ids

    def control(self, request):
        if request.path.endswith("/erase"):  # past the recycle bin, or after it was emptied: no query shows it any more
            with self.lock:
                return Answer(200, {"ids": self.act("erase", request.json().get("count", 1))})
        return super().control(request)

    # Who may ask, and how often.

    def expire(self):
        self.sessions.clear()

    def too_many(self):
        return refusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")

    def before(self, request):
        if request.path == "/services/oauth2/token":
            return
        if (request.headers.get("Authorization") or "").removeprefix("Bearer ") not in self.sessions:
            raise refusal(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self.used += 1
        if self.used > QUOTA:
            raise self.too_many()

    def token(self, request):
        form = request.form()
        kind, secret = form.get("grant_type"), form.get("client_id") == "3MVG9.consumer.key" and form.get("client_secret") == "secret"
        answer = {}
        if kind == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            try:
                claims = json.loads(base64.urlsafe_b64decode(form["assertion"].split(".")[1] + "=="))
                known = claims["iss"] == "3MVG9.consumer.key" and claims["sub"] == "reader@shop.example" and 0 < claims["exp"] - now().timestamp() < 360
            except (KeyError, ValueError, IndexError):
                known = False
            if not known:
                raise Answer(400, {"error": "invalid_grant", "error_description": "invalid assertion"})
        elif kind == "refresh_token":
            if form.get("refresh_token") != self.refresh:
                raise Answer(400, {"error": "invalid_grant", "error_description": "expired access/refresh token"})
            if self.given % 2:  # refresh token rotation, where the app has it switched on
                self.refresh = f"5Aep-refresh-{self.given}"
            answer["refresh_token"] = self.refresh
        elif kind != "client_credentials":
            raise Answer(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
        elif not secret:
            raise Answer(400, {"error": "invalid_client_id", "error_description": "client identifier invalid"})
        self.given += 1
        session = f"00D5g000000abcd!AQEAQ{self.given}.{self.arguments.seed}"
        self.sessions.add(session)
        return Answer(200, {"access_token": session, "signature": "c2ln", "scope": "api", "instance_url": self.address, "id":
                            "https://login.salesforce.com/id/00D5g000000abcdEAA/0055g00000ABCDEAAX", "token_type": "Bearer",
                            "issued_at": str(int(now().timestamp() * 1000)), **answer})

    # What it answers.

    def query(self, request, version, verb):
        if not 21 <= int(version) <= 66:
            raise refusal(404, "NOT_FOUND", "The requested resource does not exist")
        text = request.params.get("q", "").strip()
        found = re.fullmatch(r"SELECT\s+(.+?)\s+FROM\s+(\w+)(?:\s+WHERE\s+(.+?))?(?:\s+ORDER\s+BY\s+(\w+)(\s+DESC|\s+ASC)?)?", text,
                             re.I | re.S)
        if not found:
            raise refusal(400, "MALFORMED_QUERY", f"unexpected token: {text[:20]}")
        names, kind, where, order, down = found.groups()
        if kind not in FIELDS:
            raise refusal(400, "INVALID_TYPE", f"\n{text}\nERROR at Row:1:Column:1\nsObject type '{kind}' is not supported.")
        names = [self.field(kind, name.strip(), text) for name in names.split(",")]
        rules = [self.rule(kind, part, text) for part in re.split(r"\s+AND\s+", where, flags=re.I)] if where else []
        self.see()
        records = [record for record in self.seen[kind].values() if (verb == "queryAll" or not record["IsDeleted"]) and
                   all((how in ("=", "!=") or record[name] is not None) and OPERATORS[how](record[name], value)
                       for name, how, value in rules)]
        if order:
            records.sort(key=lambda record: (record[order] is not None, record[order]), reverse="DESC" in (down or "").upper())
        self.locators[locator := f"01g5g{len(self.locators):010d}AAA"] = (kind, names, records)
        return self.batch(locator, 0)

    def field(self, kind, name, text):
        if name not in FIELDS[kind]:
            raise refusal(400, "INVALID_FIELD",
                          f"\n{text}\n^\nERROR at Row:1:Column:8\nNo such column '{name}' on entity '{kind}'. If you are attempting to "
                          "use a custom field, be sure to append the '__c' after the custom field name.")
        return name

    def rule(self, kind, part, text):
        found = re.fullmatch(r"\s*(\w+)\s*(>=|<=|!=|=|>|<)\s*(\S+|'.*')\s*", part)
        if not found:
            raise refusal(400, "MALFORMED_QUERY", f"unexpected token: {part}")
        name, how, value = found.groups()
        self.field(kind, name, text)
        if value.lower() in ("true", "false", "null"):
            return name, how, {"true": True, "false": False, "null": None}[value.lower()]
        if value.startswith("'"):
            return name, how, value.strip("'")
        # An instant is written bare, and with a zone.
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value) or name in DATES:
            raise refusal(400, "MALFORMED_QUERY",
                          f"\n{text}\n^\nERROR at Row:1:Column:1\nline 1:1 no viable alternative at character '{value[-1]}'")
        return name, how, server.instant(value)

    def more(self, request, locator, start):
        if locator not in self.locators:
            raise refusal(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return self.batch(locator, int(start))

    def batch(self, locator, start):
        kind, names, records = self.locators[locator]
        end = start + BATCH
        answer = {"totalSize": len(records), "done": end >= len(records),
                  "records": [self.shown(kind, record, names) for record in records[start:end]]}
        if end < len(records):
            # It says `query` also where `queryAll` was asked.
            answer["nextRecordsUrl"] = f"/services/data/v62.0/query/{locator}-{end}"
        return Answer(200, answer, {"Sforce-Limit-Info": f"api-usage={self.used}/{QUOTA}"})

    def shown(self, kind, record, names):
        shown = {"attributes": {"type": kind, "url": f"/services/data/v62.0/sobjects/{kind}/{record['Id']}"}}
        for name in names:
            value = record[name]
            shown[name] = stamp(value) if hasattr(value, "isoformat") else value
        if self.change == "new_field":
            shown["RecordTypeId"] = "0125g000000AbCdAAK"
        if self.change == "new_type" and "Email" in shown:
            shown["Email"] = {"address": shown["Email"]}
        return shown

    def patch(self, request, id):
        body = request.json()
        if id not in self.records["Contact"] or self.records["Contact"][id]["IsDeleted"]:
            raise refusal(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible")
        for name in body:
            self.field("Contact", name, name)
        self.edit("Contact", id, **body)
        return Answer(204, "")

    # For tests.

    def settings(self):
        return {"replace": {"https://your-domain.my.salesforce.com": self.address},
                "env": {"SALESFORCE_CLIENT_ID": "3MVG9.consumer.key", "SALESFORCE_CLIENT_SECRET": "secret"}}

    def truth(self):
        """What somebody knows who has read it all along: deleted and erased contacts are remembered, and their noes with them."""
        living, contacts, status = self.living(), {**self.erased, **self.records["Contact"]}, {"Draft": "pending", "Activated": "paid"}
        by_email = {(contacts[id]["Email"] or "").lower(): id for id in sorted(contacts, key=lambda id: id in living)}
        names = {"email": "Email", "first_name": "FirstName", "last_name": "LastName"}
        customers = {id: {name: contacts[id][field] for name, field in names.items()} for id in living}
        orders, tickets = {}, {}
        for id, o in self.records["Order"].items():
            customer = o["BillToContactId"] or f"guest:order-{id}"
            orders[f"salesforce:{id}"] = {"customer": customer, "total": f"{o['TotalAmount']:.4f}", "currency": "EUR",
                                          "status": "cancelled" if o["Status"] == "Cancelled" else status[o["StatusCode"]]}
            if not o["BillToContactId"]:
                customers[customer] = {"email": None, "first_name": None, "last_name": None}
        for id, c in self.records["Case"].items():
            address = (c["SuppliedEmail"] or "").lower()
            customer = c["ContactId"] or by_email.get(address) or "guest:" + hashlib.sha256(address.encode()).hexdigest()[:24]
            tickets[f"salesforce:{id}"] = {"customer": customer, "kind": "complaint" if c["Type"] == "Problem" else "question",
                                           "status": "closed" if c["IsClosed"] else "pending" if c["Status"] == "On Hold" else "open"}
            if customer.startswith("guest:"):
                customers[customer] = {"email": c["SuppliedEmail"], "first_name": None, "last_name": None}
        return {
            "customers": customers, "orders": orders, "tickets": tickets,
            "products": {f"salesforce:{id}": {"name": p["Name"], "category": p["Family"].lower(), "in_stock": p["IsActive"]}
                         for id, p in self.records["Product2"].items()},
            "consents": {id: {"status": "denied"} for id, c in contacts.items() if c["HasOptedOutOfEmail"]},
        }


if __name__ == "__main__":
    server.serve(Salesforce)
