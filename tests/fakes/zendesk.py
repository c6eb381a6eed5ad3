"""Zendesk Support as its API shows it: incremental exports of tickets and users by cursor, and satisfaction ratings.

Kept, by developer.zendesk.com (Incremental Exports, Rate limits, Pagination, Satisfaction Ratings, Users, Ticket Metrics):

- An export begins with `start_time`, at least a minute old, and goes on with `cursor`; at most 1000 rows a page; a page may be empty before
  `end_of_stream`. What changed within the last minute is not in it (here `--lag`, so that a test need not wait).
- Tickets are filtered by `generated_timestamp`, which also moves where `updated_at` does not. Deleted ones come as `"status": "deleted"`.
- `include=metric_sets` adds a list beside the tickets; deleted ones have no metrics.
- Deleted users come with `"active": false`; those deleted for good have lost name and address.
- 10 export requests a minute (`--exports-per-minute`), 700 of all kinds.
"""

import base64
import binascii
from datetime import datetime, timedelta

from server import Answer, Api, iso, now, person, serve

AGENTS = [(9001, "Mara Lindt", "admin"), (9002, "Kofi Mensah", "agent"), (9003, "Zendesk Robot", "agent")]
SUBJECTS = [
    ("Where is my parcel?", "question", []), ("The pot arrived broken", "problem", ["damaged"]), ("Can I change my address?", None, []),
    ("Charged twice", "incident", ["billing", "complaint"]), ("Thank you!", None, ["praise"]), ("Wrong size — what's next?", "task", ["return"]),
    ("注文について", "question", []), ("Nobody answers me", None, ["complaint"]),
]
COMMENTS = ["", "Very kind, thank you.", "Took far too long.", "It's all right", "とても親切でした"]


def unix(at):
    return int(at.timestamp())


class Zendesk(Api):
    lag = 1.0  # 60 in earnest
    routes = [
        ("GET", r"/api/v2/incremental/tickets/cursor(?:\.json)?", "tickets_export"),
        ("GET", r"/api/v2/incremental/users/cursor(?:\.json)?", "users_export"),
        ("GET", r"/api/v2/satisfaction_ratings(?:\.json)?", "ratings_list"),
    ]

    @staticmethod
    def options(parser):
        parser.add_argument("--exports-per-minute", type=int, default=10)

    def __init__(self, arguments):
        super().__init__(arguments)
        self.token, self.asked, self.exported = "zendesk-token-1", [], []
        self.users, self.tickets, self.ratings, self.metrics = {}, {}, {}, {}
        self.next_id = 380_000_000_001
        for number, name, role in AGENTS:
            at = now() - timedelta(days=1000)
            self.users[number] = self.user(number, name, f"agent{number}@shop.example", role, at)
        for number in range(1, arguments.customers + 1):
            self.add_user(number)
        for user in [user for user in self.users.values() if user["role"] == "end-user"]:
            born = datetime.fromisoformat(user["created_at"])
            for _ in range(self.dice.choice([0, 1, 1, 2, 3])):
                self.add_ticket(user["id"], born + (now() - born) * self.dice.random() * 0.95)
        for user in self.dice.sample(list(self.users.values()), arguments.customers // 15):  # surveys that may be answered yet
            ticket = self.add_ticket(user["id"], now() - timedelta(days=12))
            rating = self.ratings.get(700_000 + ticket["id"])
            if rating:
                rating.update(score="offered", comment=None, reason=None, updated_at=rating["created_at"])
                ticket["satisfaction_rating"] = {"score": "offered"}
        self.add_ticket(9002, now() - timedelta(days=20))  # a colleague asks
        living = [ticket for ticket in self.tickets.values() if ticket["status"] != "deleted"]
        for ticket in self.dice.sample(living, len(living) // 25):
            self.remove_ticket(ticket, now() - timedelta(days=2))
        people = [user for user in self.users.values() if user["role"] == "end-user"]
        for user in self.dice.sample(people, len(people) // 20):
            self.remove_user(user, now() - timedelta(days=3))
        people = [user for user in people if user["active"]]
        people[0]["email"] = None  # known by phone only
        for ticket in self.tickets.values():  # a system update that nobody sees: `updated_at` stays
            if self.dice.random() < 0.1:
                ticket["generated_timestamp"] = unix(now() - timedelta(hours=self.dice.randint(1, 40)))

    # Rows.

    def user(self, id, name, email, role, at):
        return {
            "id": id, "url": f"https://shop.zendesk.com/api/v2/users/{id}.json", "name": name, "email": email, "created_at": iso(at),
            "updated_at": iso(at), "time_zone": "Berlin", "iana_time_zone": "Europe/Berlin", "phone": None, "shared_phone_number": None,
            "photo": None, "locale_id": 8, "locale": "de", "organization_id": None, "role": role, "verified": role != "end-user",
            "external_id": None, "tags": [], "alias": "", "active": True, "shared": False, "shared_agent": False, "last_login_at": None,
            "two_factor_auth_enabled": None, "signature": None, "details": "", "notes": "", "role_type": None, "custom_role_id": None,
            "moderator": role == "admin", "ticket_restriction": "requested" if role == "end-user" else None,
            "only_private_comments": False, "restricted_agent": role == "end-user", "suspended": False,
            "default_group_id": None, "report_csv": False, "user_fields": {"newsletter": None},
        }

    def add_user(self, number, at=None):
        someone, id = person(self.dice, number), self.new_id()
        first, last = someone["first_name"], someone["last_name"]
        east = any("぀" <= letter <= "鿿" for letter in last)  # there the family's name stands first
        name = " ".join([last, first] if east and first else [part for part in (first, last) if part])
        if self.dice.random() < 0.04:
            name = someone["email"].split("@")[0]  # what Zendesk writes for who never gave a name
        user = self.user(id, name, someone["email"], "end-user", at or someone["created"])
        user["phone"] = f"+49 30 {self.dice.randint(100000, 999999)}" if self.dice.random() < 0.3 else None
        user["suspended"] = self.dice.random() < 0.02
        self.users[id] = user
        return user

    def new_id(self):
        self.next_id += self.dice.randint(1, 40) * 2
        return self.next_id

    def add_ticket(self, requester, opened):
        id = 1 + len(self.tickets)
        subject, kind, tags = self.dice.choice(SUBJECTS)
        replied = self.dice.random() < 0.9
        status = self.dice.choice(["solved", "closed", "closed", "open", "pending", "hold"]) if replied else "new"
        reply, solve = self.dice.randint(2, 2000), self.dice.randint(2001, 9000)
        changed = min(opened + timedelta(minutes=solve if status in ("solved", "closed") else reply), now() - timedelta(minutes=2))
        changed = max(changed, opened)
        ticket = {
            "url": f"https://shop.zendesk.com/api/v2/tickets/{id}.json", "id": id, "external_id": None,
            "via": {"channel": self.dice.choice(["web", "email", "chat"]), "source": {"from": {}, "to": {}, "rel": None}},
            "created_at": iso(opened), "updated_at": iso(changed), "generated_timestamp": unix(changed) + 1, "type": kind,
            "subject": subject, "raw_subject": subject, "description": f"{subject}\n\nOrder no. {1000 + id}", "priority": None,
            "status": status, "recipient": "support@shop.example", "requester_id": requester, "submitter_id": requester,
            "assignee_id": self.dice.choice([9001, 9002, None]), "organization_id": None, "group_id": 360001, "collaborator_ids": [],
            "follower_ids": [], "email_cc_ids": [], "forum_topic_id": None, "problem_id": None, "has_incidents": False,
            "is_public": True, "due_at": None, "tags": list(tags), "custom_fields": [{"id": 360021, "value": None}],
            "satisfaction_rating": {"score": "unoffered"}, "sharing_agreement_ids": [], "custom_status_id": 1, "fields": [],
            "followup_ids": [], "ticket_form_id": 360002, "brand_id": 360003, "allow_channelback": False,
            "allow_attachments": True, "from_messaging_channel": False,
        }
        self.tickets[id] = ticket
        done = changed if status in ("solved", "closed") else None
        in_minutes = lambda minutes: {"calendar": minutes, "business": minutes and minutes // 3}  # noqa: E731
        self.metrics[id] = {
            "url": f"https://shop.zendesk.com/api/v2/ticket_metrics/{id + 5000}.json", "id": id + 5000, "ticket_id": id,
            "created_at": iso(opened), "updated_at": iso(changed), "group_stations": 1, "assignee_stations": 1, "reopens": 0,
            "replies": int(replied), "assignee_updated_at": None, "requester_updated_at": iso(opened), "status_updated_at": iso(changed),
            "initially_assigned_at": iso(opened), "assigned_at": iso(opened), "solved_at": iso(done) if done else None,
            "latest_comment_added_at": iso(changed), "reply_time_in_minutes": in_minutes(reply if replied else None),
            "first_resolution_time_in_minutes": in_minutes(solve if done else None), "reply_time_in_seconds": in_minutes(None),
            "full_resolution_time_in_minutes": in_minutes(solve if done else None), "on_hold_time_in_minutes": in_minutes(0),
            "agent_wait_time_in_minutes": in_minutes(0), "requester_wait_time_in_minutes": in_minutes(reply if replied else None),
        }
        if done and self.users[requester]["role"] == "end-user":
            self.offer(ticket, changed)
        return ticket

    def offer(self, ticket, at):
        """A survey is sent a day after a ticket is solved; its rating is answered later, or never."""
        if any(rating["requester_id"] == ticket["requester_id"] for rating in self.ratings.values()):
            return
        id, score = 700_000 + ticket["id"], self.dice.choice(["good", "good", "bad", "offered"])
        answered = min(at + timedelta(days=self.dice.randint(0, 6)), now() - timedelta(minutes=3))
        comment = self.dice.choice(COMMENTS) if score != "offered" else None
        self.ratings[id] = {
            "url": f"https://shop.zendesk.com/api/v2/satisfaction_ratings/{id}.json", "id": id, "assignee_id": ticket["assignee_id"],
            "group_id": 360001, "requester_id": ticket["requester_id"], "ticket_id": ticket["id"], "score": score,
            "created_at": iso(at), "updated_at": iso(answered if score != "offered" else at), "comment": comment,
            "reason": "No reason provided" if score == "bad" else None, "reason_id": 0, "reason_code": 0,
        }
        ticket["satisfaction_rating"] = {"score": score} if score == "offered" else {"id": id, "score": score, "comment": comment}

    def touch(self, ticket, at=None):
        at = at or now()
        ticket["updated_at"], ticket["generated_timestamp"] = iso(at), unix(at)
        if ticket["id"] in self.metrics:
            self.metrics[ticket["id"]]["updated_at"] = iso(at)

    def remove_ticket(self, ticket, at):
        ticket["status"] = "deleted"
        self.metrics.pop(ticket["id"], None)
        self.touch(ticket, at)

    def remove_user(self, user, at):
        user["active"], user["updated_at"] = False, iso(at)
        if self.dice.random() < 0.5:
            user.update(name="Permanently Deleted User", email=None, phone=None)

    # What the API answers.

    def settings(self):
        return {"replace": {"https://your-subdomain.zendesk.com": self.address}, "env": {"ZENDESK_TOKEN": self.token}}

    def expire(self):
        self.token = "zendesk-token-2"

    def too_many(self):
        what = "Number of allowed incremental ticket export API requests per minute exceeded"
        return Answer(429, {"error": "APIRateLimitExceeded", "description": what}, {"Retry-After": "1"})

    def before(self, request):
        try:
            kind, pair = request.headers.get("Authorization", "").split(" ", 1)
            user, token = base64.b64decode(pair).decode().rsplit(":", 1)
        except (ValueError, binascii.Error):
            kind = user = token = ""
        if kind != "Basic" or not user.endswith("/token") or token != self.token:
            raise Answer(401, {"error": "Couldn't authenticate you"}, {"WWW-Authenticate": 'Basic realm="Web Password"'})
        self.limit(self.asked, 700, "Number of allowed API requests per minute exceeded")
        if "/incremental/" in request.path:
            what = "Number of allowed incremental ticket export API requests per minute exceeded"
            self.limit(self.exported, self.arguments.exports_per_minute, what)

    def limit(self, asked, most, what):
        at = now()
        asked[:] = [earlier for earlier in asked if earlier > at - timedelta(minutes=1)]
        if len(asked) >= most:
            wait = max(1, int((asked[0] + timedelta(minutes=1) - at).total_seconds()) + 1)
            headers = {"Retry-After": str(wait), "X-Rate-Limit": str(most), "X-Rate-Limit-Remaining": "0"}
            raise Answer(429, {"error": "APIRateLimitExceeded", "description": what}, headers)
        asked.append(at)

    def tickets_export(self, request):
        page, rest = self.export(request, self.tickets.values(), lambda ticket: ticket["generated_timestamp"])
        body = {"tickets": self.shown(page, "subject"), **rest}
        if "metric_sets" in request.params.get("include", "").split(","):
            metrics = [self.metrics[ticket["id"]] for ticket in page if ticket["id"] in self.metrics]
            body["metric_sets"] = self.shown(metrics)
        raise Answer(200, body)

    def users_export(self, request):
        page, rest = self.export(request, self.users.values(), lambda user: unix(datetime.fromisoformat(user["updated_at"])))
        raise Answer(200, {"users": self.shown(page), **rest})

    def export(self, request, rows, time):
        size, newest = request.number("per_page", 1000, 1000), now().timestamp() - self.arguments.lag
        if "cursor" in request.params:
            try:
                start, empty, id = base64.b64decode(request.params["cursor"], validate=True).decode().split("|")
                after = (int(start), int(id))
            except (ValueError, binascii.Error):
                raise Answer(400, {"error": "InvalidPaginationParameter", "description": "cursor is not valid"}) from None
        else:
            if "start_time" not in request.params:
                raise Answer(400, {"error": "InvalidParameter", "description": "start_time is required"})
            after, empty = (request.number("start_time", 0), -1), "0"
            if after[0] > now().timestamp() - 60:
                what = "Too recent start_time. Use a start_time older than 60 seconds"
                raise Answer(422, {"error": "InvalidValue", "description": what})
        ready = sorted(
            (row for row in rows if (time(row), row["id"]) > after and time(row) <= newest), key=lambda row: (time(row), row["id"])
        )
        # After the first page of a long export of tickets there is one without rows that is not the last.
        long = "tickets" in request.path and after[0] < now().timestamp() - 86_400 * 30
        page = [] if empty == "1" else ready[:size]
        first = "cursor" not in request.params and long
        end = empty != "1" and not first and len(ready) <= size
        last = (time(page[-1]), page[-1]["id"]) if page else after
        mark = "1" if first else "2" if empty == "1" else empty
        cursor = base64.b64encode(f"{last[0]}|{mark}|{last[1]}".encode()).decode()
        url = f"{self.address}{request.path}?cursor={cursor}"
        return page, {"after_url": url, "after_cursor": cursor, "before_url": None, "before_cursor": None, "end_of_stream": end}

    def ratings_list(self, request):
        scores = {"received": ("good", "bad"), "good": ("good",), "bad": ("bad",), "offered": ("offered",)}
        asked = request.params.get("score")
        if asked is not None and asked not in scores:
            raise Answer(400, {"error": "InvalidValue", "description": f"score {asked} is not supported"})
        start, size = request.number("start_time", 0), request.number("page[size]", 100, 100)
        after = request.params.get("page[after]", "0")
        if not after.isdigit():
            raise Answer(400, {"error": "InvalidPaginationParameter", "description": "page[after] is not valid"})
        rows = [
            rating for id, rating in sorted(self.ratings.items())
            if id > int(after) and datetime.fromisoformat(rating["created_at"]).timestamp() >= start
            and (asked is None or rating["score"] in scores[asked])
        ]
        page = rows[:size]
        cursor = str(page[-1]["id"]) if page else None
        meta = {"has_more": len(rows) > size, "after_cursor": cursor, "before_cursor": str(page[0]["id"]) if page else None}
        raise Answer(200, {"satisfaction_ratings": self.shown(page), "meta": meta, "links": {"next": None, "prev": None}})

    def shown(self, rows, changed=None):
        if self.change == "new_field":
            return [{**row, "encoded_id": f"{row['id']:x}"} for row in rows]
        if self.change == "new_type" and changed:
            return [{**row, changed: {"text": row[changed], "language": "en"}} for row in rows]
        return rows

    # What people do in it.

    def act(self, action, count):
        people = [user for user in self.users.values() if user["role"] == "end-user" and user["active"]]
        ago = now() - timedelta(minutes=2)  # a conversation begins before it is a ticket
        if action == "insert":
            new = [self.add_user(len(self.users) + number, now()) for number in range(count)]
            return [self.newly_asked(user, ago)["id"] for user in new]
        tickets = [ticket for ticket in self.tickets.values() if ticket["status"] not in ("deleted", "closed")]
        chosen = self.dice.sample(tickets, min(count, len(tickets)))
        for number, ticket in enumerate(chosen):
            if action == "delete":
                self.remove_ticket(ticket, now())
                continue
            ticket["status"], ticket["type"] = ("solved", "problem") if number % 2 == 0 else ("open", "question")
            self.metrics[ticket["id"]]["solved_at"] = iso(now()) if ticket["status"] == "solved" else None
            self.touch(ticket)
        for user in self.dice.sample(people, min(count, len(people))):
            if action == "delete":
                self.remove_user(user, now())
            else:
                user["email"], user["updated_at"] = f"new{user['id']}@example.com", iso(now())
        if action == "update":  # surveys sent days ago are answered
            for rating in [rating for rating in self.ratings.values() if rating["score"] == "offered"][-count:]:
                ticket = self.tickets[rating["ticket_id"]]
                if ticket["status"] != "deleted" and datetime.fromisoformat(rating["created_at"]) > now() - timedelta(days=28):
                    rating.update(score="bad", comment="Took far too long.", updated_at=iso(ago))
                    ticket["satisfaction_rating"] = {"id": rating["id"], "score": "bad", "comment": rating["comment"]}
                    self.touch(ticket)
        return [ticket["id"] for ticket in chosen]

    def newly_asked(self, user, opened):
        ticket = self.add_ticket(user["id"], opened)
        ticket["status"] = "new"
        self.metrics[ticket["id"]]["solved_at"] = None
        self.ratings = {id: rating for id, rating in self.ratings.items() if rating["ticket_id"] != ticket["id"]}
        ticket["satisfaction_rating"] = {"score": "unoffered"}
        self.touch(ticket)
        return ticket

    # What should come of it.

    def truth(self):
        living = {id: user for id, user in self.users.items() if user["role"] == "end-user" and user["active"]}
        customers = {str(id): {"email": user["email"], **named(user)} for id, user in living.items()}
        tickets, feedback = {}, {}
        for ticket in self.tickets.values():
            if ticket["status"] == "deleted":
                continue
            score = ticket["satisfaction_rating"]["score"]
            upset = ticket["type"] in ("problem", "incident") or "complaint" in ticket["tags"] or score == "bad"
            staff = self.users[ticket["requester_id"]]["role"] != "end-user"
            tickets[f"zendesk:{ticket['id']}"] = {
                "customer": None if staff else str(ticket["requester_id"]),
                "status": ticket["status"],
                "kind": "complaint" if upset else ticket["type"] or "question",
                "satisfaction": score if score in ("good", "bad") else None,
                "subject": ticket["subject"],
            }
        for rating in self.ratings.values():
            if rating["score"] in ("good", "bad"):
                score = 5 if rating["score"] == "good" else 1
                feedback[str(rating["requester_id"])] = {"kind": "csat", "score": score, "comment": rating["comment"] or None}
        return {"customers": customers, "tickets": tickets, "feedback": feedback}


def named(user):
    """Zendesk has one field for a name: split where it is plain which part is which."""
    name = user["name"]
    if name == (user["email"] or "").split("@")[0]:
        return {"first_name": None, "last_name": None}
    if " " in name and not any("぀" <= letter <= "鿿" for letter in name):
        first, last = name.split(" ", 1)
        return {"first_name": first, "last_name": last}
    return {"first_name": None, "last_name": name}


if __name__ == "__main__":
    serve(Zendesk)
