"""Freshdesk as its API v2 shows it: tickets, contacts, agents and satisfaction ratings.

Kept, by developers.freshdesk.com/api (Rate limit, Pagination, List all tickets, List all contacts, Satisfaction ratings):

- 30 rows a page unless asked for more, at most 100; a `link` header while there is a next page; tickets end at page 300 (`--last-page`).
- Tickets: without `updated_since` only those created in the last 30 days; deleted ones and spam only by `filter`; `include=stats`.
- Contacts: deleted ones only by `state=deleted`; those deleted for good nowhere.
- Unknown parameters are refused. Each embedding costs credits; 429 with `Retry-After` when they are used up (`--per-minute`).
"""

import base64
import binascii
from datetime import timedelta

from server import Answer, Api, instant, iso, now, person, serve

SUBJECTS = [
    ("Where is my parcel?", "Question", []), ("The pot arrived broken", "Problem", ["damaged"]), ("Can I change my address?", None, []),
    ("Charged twice", "Incident", ["billing"]), ("Please add gift cards", "Feature Request", []), ("It doesn't fit", "Refund", ["size"]),
    ("ご注文の件", "Question", []), ("Nobody answers me", None, ["complaint"]),
]
COMMENTS = [None, "", "Thank you for the quick action", "Took far too long.", "Très aimable"]
WORDS = {2: "open", 3: "pending", 4: "solved", 5: "closed", 6: "pending", 7: "pending", 8: "status 8"}
SCORES = {103: 5, 102: 4, 101: 4, 100: 3, -101: 2, -102: 2, -103: 1}


class Freshdesk(Api):
    routes = [
        ("GET", r"/api/v2/tickets", "list_tickets"),
        ("GET", r"/api/v2/contacts", "list_contacts"),
        ("GET", r"/api/v2/agents", "list_agents"),
        ("GET", r"/api/v2/surveys/satisfaction_ratings", "list_ratings"),
    ]

    @staticmethod
    def options(parser):
        parser.add_argument("--per-minute", type=int, default=700, help="credits; 200 to 700, by plan")
        parser.add_argument("--last-page", type=int, default=300, help="of tickets")

    def __init__(self, arguments):
        super().__init__(arguments)
        self.key, self.spent, self.contacts, self.tickets, self.ratings = "freshdesk-key-1", [], {}, {}, {}
        self.agents = [self.agent(id, name) for id, name in [(43000001, "Mara Lindt"), (43000002, "Kofi Mensah")]]
        for number in range(1, arguments.customers + 1):
            self.add_contact(number)
        for contact in list(self.contacts.values()):
            born = instant(contact["created_at"])
            for _ in range(self.dice.choice([0, 1, 1, 2, 3])):
                self.add_ticket(contact["id"], born + (now() - born) * self.dice.random() * 0.95)
        for ticket in self.dice.sample(list(self.tickets.values()), len(self.tickets) // 20):
            at = now() - timedelta(days=self.dice.randint(1, 20))
            ticket.update({self.dice.choice(["deleted", "spam"]): True, "updated_at": iso(at)})
        for contact in self.dice.sample(list(self.contacts.values()), len(self.contacts) // 20):
            contact.update(deleted=True, updated_at=iso(now() - timedelta(days=3)))

    # Rows.

    def agent(self, id, name):
        email = f"{name.split()[0].lower()}@shop.example"
        at = iso(now() - timedelta(days=1000))
        return {
            "available": True, "occasional": False, "id": id, "ticket_scope": 1, "signature": None, "group_ids": [430001],
            "role_ids": [430002], "skill_ids": [], "available_since": None, "type": "support_agent", "focus_mode": True,
            "created_at": at, "updated_at": at, "last_active_at": None,
            "contact": {
                "active": True, "email": email, "job_title": None, "language": "en", "last_login_at": None, "mobile": None,
                "name": name, "phone": None, "time_zone": "Berlin", "created_at": at, "updated_at": at,
            },
        }

    def add_contact(self, number, at=None):
        someone, id = person(self.dice, number), 43_010_000 + number * 3
        first, last = someone["first_name"], someone["last_name"]
        east = any("぀" <= letter <= "鿿" for letter in last)  # there the family's name stands first
        name = " ".join([last, first] if east and first else [part for part in (first, last) if part])
        at = iso(at or someone["created"])
        self.contacts[id] = {
            "active": self.dice.random() < 0.5, "address": None, "company_id": None, "description": None,
            "email": None if self.dice.random() < 0.03 else someone["email"], "id": id, "job_title": None, "language": "en",
            "mobile": f"+49 170 {self.dice.randint(1000000, 9999999)}" if self.dice.random() < 0.2 else None, "name": name,
            "phone": None, "time_zone": "Berlin", "twitter_id": None, "custom_fields": {"newsletter": None},
            "facebook_id": None, "other_emails": [], "view_all_tickets": False, "tags": [], "unique_external_id": None,
            "csat_rating": None, "preferred_source": None, "created_at": at, "updated_at": at,
        }
        return self.contacts[id]

    def add_ticket(self, requester, opened):
        id = 1 + len(self.tickets)
        subject, kind, tags = self.dice.choice(SUBJECTS)
        status = self.dice.choice([2, 2, 3, 4, 4, 5, 5, 5, 6, 8])
        answered = opened + timedelta(minutes=self.dice.randint(2, 2000)) if status != 2 or self.dice.random() < 0.5 else None
        done = (answered or opened) + timedelta(minutes=self.dice.randint(5, 9000)) if status in (4, 5) else None
        changed = min(done or answered or opened, now() - timedelta(minutes=2))
        changed = max(changed, opened)
        shown = lambda at: iso(min(at, changed)) if at else None  # noqa: E731
        self.tickets[id] = {
            "cc_emails": [], "fwd_emails": [], "reply_cc_emails": [], "ticket_cc_emails": [], "fr_escalated": False, "spam": False,
            "email_config_id": 430003, "group_id": 430001, "priority": self.dice.randint(1, 4), "requester_id": requester,
            "responder_id": self.dice.choice([43000001, 43000002, None]), "source": self.dice.choice([1, 2, 3, 7]), "company_id": None,
            "status": status, "subject": subject, "association_type": None, "support_email": "support@shop.example", "to_emails": None,
            "product_id": None, "id": id, "type": kind, "due_by": iso(opened + timedelta(days=3)), "is_escalated": False,
            "fr_due_by": iso(opened + timedelta(days=1)), "custom_fields": {"cf_order": None}, "created_at": iso(opened),
            "updated_at": iso(changed), "tags": list(tags), "nr_due_by": None, "nr_escalated": False,
            "stats": {
                "agent_responded_at": shown(answered), "requester_responded_at": None, "first_responded_at": shown(answered),
                "status_updated_at": iso(changed), "reopened_at": None, "resolved_at": shown(done),
                "closed_at": shown(done) if status == 5 else None, "pending_since": None,
            },
        }
        if done and self.dice.random() < 0.5 and all(rating["user_id"] != requester for rating in self.ratings.values()):
            self.rate(self.tickets[id], changed)
        return self.tickets[id]

    def rate(self, ticket, at):
        id = 430_500 + ticket["id"]
        self.ratings[id] = {
            "id": id, "survey_id": 43001, "user_id": ticket["requester_id"], "agent_id": ticket["responder_id"],
            "feedback": self.dice.choice(COMMENTS), "group_id": 430001, "ticket_id": ticket["id"],
            "ratings": {"default_question": self.dice.choice(list(SCORES)), "question_2": 103}, "created_at": iso(at), "updated_at": iso(at),
        }

    # What the API answers.

    def settings(self):
        replace = {"https://your-domain.freshdesk.com": self.address}
        if self.arguments.last_page != 300:
            replace["at_most = 300"] = f"at_most = {self.arguments.last_page}"
        return {"replace": replace, "env": {"FRESHDESK_API_KEY": self.key}}

    def expire(self):
        self.key = "freshdesk-key-2"

    def too_many(self):
        headers = {"Retry-After": "1", "X-RateLimit-Total": str(self.arguments.per_minute), "X-RateLimit-Remaining": "0"}
        return Answer(429, {"message": "You have exceeded the limit of requests per minute"}, headers)

    def before(self, request):
        try:
            kind, pair = request.headers.get("Authorization", "").split(" ", 1)
            key = base64.b64decode(pair).decode().split(":")[0]
        except (ValueError, binascii.Error):
            kind = key = ""
        if kind != "Basic" or key != self.key:
            raise Answer(401, {"code": "invalid_credentials", "message": "You have to be logged in to perform this action."})
        at, cost = now(), 1 + 2 * len([part for part in request.params.get("include", "").split(",") if part])
        self.spent = [(then, credits) for then, credits in self.spent if then > at - timedelta(minutes=1)]
        left = self.arguments.per_minute - sum(credits for _, credits in self.spent)
        if left < cost:
            refusal = self.too_many()
            wait = (self.spent[0][0] + timedelta(minutes=1) - at).total_seconds()
            refusal.headers["Retry-After"] = str(int(wait) + 1)
            raise refusal
        self.spent.append((at, cost))
        self.credits = {
            "X-RateLimit-Total": str(self.arguments.per_minute), "X-RateLimit-Remaining": str(left - cost),
            "X-RateLimit-Used-CurrentRequest": str(cost), "X-Freshdesk-API-Version": "latest=v2; requested=v2",
        }

    def refuse(self, field, message, code="invalid_value"):
        raise Answer(400, {"description": "Validation failed", "errors": [{"field": field, "message": message, "code": code}]})

    def known(self, request, *names):
        for name in request.params:
            if name not in ("page", "per_page", *names):
                self.refuse(name, "Unexpected/invalid field in request", "invalid_field")

    def since(self, request, name, default=None):
        text = request.params.get(name)
        try:
            return instant(text) if text else default
        except Answer:
            self.refuse(name, "It should be in the 'valid ISO-8601' format", "invalid_date")

    def page(self, request, rows, last=None, changed=None):
        for name, most in (("page", None), ("per_page", 100)):
            text = request.params.get(name, "1")
            if not text.isdigit() or int(text) < 1 or (most and int(text) > most):
                self.refuse(name, "It should be a Positive Integer" + (f" less than or equal to {most}" if most else ""))
        page, size = request.number("page", 1), request.number("per_page", 30)
        if last and page > last:
            self.refuse("page", f"You cannot access tickets beyond the {last}th page. Please provide a smaller page number.")
        shown, headers = rows[(page - 1) * size : page * size], dict(self.credits)
        if page * size < len(rows):
            kept = "&".join(f"{name}={value}" for name, value in request.params.items() if name != "page")
            headers["Link"] = f'<{self.address}{request.path}?{kept}&page={page + 1}>; rel="next"'
        if self.change == "new_field":
            shown = [{**row, "workspace_id": 1} for row in shown]
        if self.change == "new_type" and changed:
            shown = [{**row, changed: {"text": row[changed]}} for row in shown]
        raise Answer(200, shown, headers)

    def list_tickets(self, request):
        self.known(request, "updated_since", "order_by", "order_type", "include", "filter", "requester_id", "email", "company_id")
        asked, order = request.params.get("filter"), request.params.get("order_by", "created_at")
        if asked not in (None, "new_and_my_open", "watching", "spam", "deleted"):
            self.refuse("filter", "It should be one of these values: 'new_and_my_open,watching,spam,deleted'")
        if order not in ("created_at", "due_by", "updated_at", "status"):
            self.refuse("order_by", "It should be one of these values: 'created_at,due_by,updated_at,status'")
        since = self.since(request, "updated_since")
        month = iso(now() - timedelta(days=30))
        rows = []
        for ticket in self.tickets.values():
            hidden = "deleted" if ticket.get("deleted") else "spam" if ticket["spam"] else None
            if hidden != (asked if asked in ("spam", "deleted") else None):
                continue
            if instant(ticket["updated_at"]) >= since if since else ticket["created_at"] >= month:
                rows.append(ticket)
        down = request.params.get("order_type", "desc") == "desc"
        rows.sort(key=lambda ticket: (ticket[order], ticket["id"]), reverse=down)
        if "stats" not in request.params.get("include", ""):
            rows = [{name: value for name, value in ticket.items() if name != "stats"} for ticket in rows]
        self.page(request, rows, self.arguments.last_page, "subject")

    def list_contacts(self, request):
        self.known(request, "_updated_since", "state", "email", "mobile", "phone", "company_id")
        since, deleted = self.since(request, "_updated_since"), request.params.get("state") == "deleted"
        rows = [
            contact for contact in self.contacts.values()
            if contact.get("deleted", False) == deleted and (not since or instant(contact["updated_at"]) >= since)
        ]
        self.page(request, sorted(rows, key=lambda contact: (contact["name"], contact["id"])))

    def list_agents(self, request):
        self.known(request, "email", "mobile", "phone", "state")
        self.page(request, self.agents)

    def list_ratings(self, request):
        self.known(request, "created_since", "user_id")
        since = self.since(request, "created_since")
        rows = [rating for rating in self.ratings.values() if not since or instant(rating["created_at"]) >= since]
        self.page(request, sorted(rows, key=lambda rating: rating["created_at"], reverse=True))

    # What people do in it.

    def act(self, action, count):
        ago = now() - timedelta(minutes=2)  # a conversation begins before it is a ticket
        if action == "insert":
            new = [self.add_ticket(self.add_contact(len(self.contacts) + 1, now())["id"], ago) for _ in range(count)]
            for ticket in new:
                ticket["updated_at"] = iso(now())
            return [ticket["id"] for ticket in new]
        living = [ticket for ticket in self.tickets.values() if not ticket.get("deleted") and not ticket["spam"]]
        chosen = self.dice.sample(living, min(count, len(living)))
        for number, ticket in enumerate(chosen):
            ticket["updated_at"] = iso(now())
            if action == "delete":
                ticket["spam" if number % 3 == 2 else "deleted"] = True
                continue
            ticket["status"] = 4 if number % 2 == 0 else 2
            ticket["stats"].update(resolved_at=iso(now()) if ticket["status"] == 4 else None, closed_at=None, status_updated_at=iso(now()))
            if ticket["status"] == 4 and all(rating["user_id"] != ticket["requester_id"] for rating in self.ratings.values()):
                self.rate(ticket, ago)
        people = [contact for contact in self.contacts.values() if not contact.get("deleted")]
        for contact in self.dice.sample(people, min(count, len(people))):
            if action == "delete":
                contact.update(deleted=True, updated_at=iso(now()))
            else:
                contact.update(email=f"new{contact['id']}@example.com", updated_at=iso(now()))
        if action == "update":  # somebody is restored from the trash
            for hidden in (list(self.tickets.values()), list(self.contacts.values())):
                for row in [row for row in hidden if row.get("deleted")][:1]:
                    row.pop("deleted")
                    row["updated_at"] = iso(now())
        return [ticket["id"] for ticket in chosen]

    # What should come of it.

    def truth(self):
        customers, tickets, feedback = {}, {}, {}
        for contact in self.contacts.values():
            if not contact.get("deleted"):
                customers[str(contact["id"])] = {"email": contact["email"], **named(contact["name"])}
        rated = {rating["ticket_id"]: rating["ratings"]["default_question"] for rating in self.ratings.values()}
        for ticket in self.tickets.values():
            if ticket.get("deleted") or ticket["spam"]:
                continue
            score, kind = rated.get(ticket["id"], 100), (ticket["type"] or "question").lower()
            upset = kind in ("problem", "incident") or "complaint" in ticket["tags"] or score < 0
            tickets[f"freshdesk:{ticket['id']}"] = {
                "customer": str(ticket["requester_id"]), "status": WORDS[ticket["status"]], "subject": ticket["subject"],
                "kind": "complaint" if upset else "return" if kind == "refund" else kind,
                "satisfaction": "good" if score > 100 else "bad" if score < 0 else None,
            }
        for rating in self.ratings.values():
            score = SCORES[rating["ratings"]["default_question"]]
            feedback[str(rating["user_id"])] = {"kind": "csat", "score": score, "comment": rating["feedback"] or None}
        return {"customers": customers, "tickets": tickets, "feedback": feedback}


def named(name):
    """Freshdesk has one field for a name: split where it is plain which part is which."""
    if " " in name and not any("぀" <= letter <= "鿿" for letter in name):
        first, last = name.split(" ", 1)
        return {"first_name": first, "last_name": last}
    return {"first_name": None, "last_name": name}


if __name__ == "__main__":
    serve(Freshdesk)
