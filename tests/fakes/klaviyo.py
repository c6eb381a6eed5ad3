"""A fake of Klaviyo's API: profiles, and what they allowed.

Its rules are those of Klaviyo's public documentation (Get Profiles, filtering, rate limits): JSON:API, a `revision` in every request, 20
profiles a page and 100 at most, `updated` filtered by greater-than and less-than only, subscriptions only where they are asked for, fixed
windows of a second and of a minute. A profile that was deleted for privacy is gone without a trace.
"""

import base64
import json
import re
from datetime import timedelta
from urllib.parse import urlencode

import server
from server import Answer, now

KEY = "pk_0123456789abcdef0123456789abcdef01"
SORTS = {"id", "created", "updated", "email"}
BURST, STEADY = 75, 750
ALLOWED = {"created": {"greater-than", "less-than"}, "updated": {"greater-than", "less-than"}, "email": {"equals", "any"},
           "id": {"equals", "any"},
           "subscriptions.email.marketing.suppression.timestamp": {"greater-than", "less-than", "greater-or-equal", "less-or-equal"}}


def stamp(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S+00:00") if at else None


def refusal(status, code, title, detail, **source):
    error = {"id": "8f2e", "status": status, "code": code, "title": title, "detail": detail, "source": source or {"pointer": "/data/"},
             "links": {}, "meta": {}}
    return Answer(status, {"errors": [error]}, {"Content-Type": "application/vnd.api+json"})


class Klaviyo(server.Api):
    routes = [
        ("GET", r"/api/profiles/?", "profiles"),
        ("POST", r"/api/profile-subscription-bulk-delete-jobs/?", "unsubscribe"),
    ]

    def __init__(self, arguments):
        super().__init__(arguments)
        self.known, self.gone, self.key_valid, self.windows, self.next_id = {}, {}, True, {}, 0
        for number in range(1, arguments.customers + 1):
            self.newcomer(number, now() - timedelta(days=self.dice.randint(2, 50), seconds=self.dice.randint(0, 9)))

    def newcomer(self, number, changed):
        dice, person = self.dice, server.person(self.dice, number)
        self.next_id += 1
        id = f"01J{self.next_id * 7919:023X}"
        created = min(person["created"], changed)
        email = None if number % 37 == 0 else person["email"]
        consent, said = dice.choice([("SUBSCRIBED", created), ("SUBSCRIBED", created), ("UNSUBSCRIBED", changed), ("NEVER_SUBSCRIBED", None)])
        spoke = changed - timedelta(minutes=3)
        said = said and min(said, spoke)
        suppression, lists = [], []
        if consent == "UNSUBSCRIBED":
            suppression = [{"reason": "UNSUBSCRIBE", "timestamp": stamp(said)}]
        elif dice.random() < 0.15:
            suppression = [{"reason": dice.choice(["HARD_BOUNCE", "SPAM_COMPLAINT", "USER_SUPPRESSED"]), "timestamp": stamp(spoke)}]
        elif dice.random() < 0.05:
            lists = [{"list_id": "Y6nRLr", "reason": "UNSUBSCRIBE", "timestamp": stamp(spoke)}]
        self.known[id] = {
            "created": created, "updated": changed, "consent": consent, "said": said, "suppression": suppression, "lists": lists,
            "attributes": {
                "email": email, "phone_number": "+4930901820" if number % 3 == 0 else None,
                "external_id": str(5000 + number) if number % 2 else None,
                "first_name": person["first_name"], "last_name": person["last_name"], "organization": None,
                "locale": dice.choice([None, "en-US", "de-DE"]),
                "title": None, "image": None, "last_event_date": stamp(changed),
                "location": {"address1": None, "address2": None, "city": "Köln", "country": dice.choice(["Germany", person["country"], None]),
                             "latitude": "50.94", "longitude": 6.96, "region": None, "zip": "50667",
                             "timezone": dice.choice([None, "Europe/Berlin"]),
                             "ip": "203.0.113.7"},
                "properties": {"Tea or coffee": "tea", "points": 12},
            },
        }
        return id

    def act(self, action, count):
        if action == "insert":
            return [self.newcomer(self.next_id + 1, now()) for _ in range(count)]
        ids = self.dice.sample(sorted(self.known), count)
        for id in ids:
            if action == "delete":  # by the data privacy API: there is no trace of it
                self.gone[id] = self.known.pop(id)
                continue
            self.known[id]["attributes"]["last_name"] = self.dice.choice(server.LAST) + "-Neu"
            self.known[id]["updated"] = now()
            if self.dice.random() < 0.5:
                self.opt_out(self.known[id])
        return ids

    def opt_out(self, profile):
        at = now() - timedelta(minutes=3)
        profile.update(consent="UNSUBSCRIBED", said=at, updated=now(), suppression=[{"reason": "UNSUBSCRIBE", "timestamp": stamp(at)}])

    # Who may ask, and how often.

    def expire(self):
        self.key_valid = False

    def too_many(self, wait=1):
        answer = refusal(429, "throttled", "Request was throttled.", f"Request was throttled. Expected available in {wait} second.")
        answer.headers["Retry-After"] = str(wait)
        return answer

    def before(self, request):
        scheme, _, key = (request.headers.get("Authorization") or "").partition(" ")
        if scheme != "Klaviyo-API-Key" or not key:
            raise refusal(401, "not_authenticated", "Authentication credentials were not provided.",
                          "Missing or invalid authorization scheme. "
                          "Please use Klaviyo-API-Key.")
        if key != KEY or not self.key_valid:
            raise refusal(401, "authentication_failed", "Incorrect authentication credentials.", "Incorrect authentication credentials.")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d(\.\w+)?", request.headers.get("revision") or ""):
            raise refusal(400, "invalid", "Invalid input.", "A valid `revision` header is required.", parameter="revision")
        at = now()
        for name, most in ((f"s{int(at.timestamp())}", BURST), (f"m{int(at.timestamp()) // 60}", STEADY)):
            if self.windows.get(name, 0) >= most:
                raise self.too_many(1 if name[0] == "s" else 60 - at.second)
        for name in (f"s{int(at.timestamp())}", f"m{int(at.timestamp()) // 60}"):
            self.windows[name] = self.windows.get(name, 0) + 1

    # What it answers.

    def profiles(self, request):
        size = request.params.get("page[size]", "20")
        if not re.fullmatch(r"\d+", size) or not 1 <= int(size) <= 100:
            raise refusal(400, "invalid", "Invalid input.", "Page size must be an integer between 1 and 100.", parameter="page[size]")
        sort = request.params.get("sort", "id")
        name, down = sort.removeprefix("-"), sort.startswith("-")
        if name not in SORTS:
            raise refusal(400, "invalid", "Invalid input.", f"'{name}' is not a valid sort.", parameter="sort")
        found = [(self.by(name, id), id) for id, profile in self.known.items() if self.fits(request.params.get("filter"), profile)]
        found.sort(reverse=down)
        if cursor := request.params.get("page[cursor]"):
            try:
                after = tuple(json.loads(base64.urlsafe_b64decode(cursor)))
            except ValueError:
                raise refusal(400, "invalid", "Invalid input.", "Invalid page cursor.", parameter="page[cursor]") from None
            found = [place for place in found if (place < after if down else place > after)]
        page = found[:int(size)]
        extra = request.params.get("additional-fields[profile]", "").split(",")
        names = {"page[size]": size, "sort": sort,
                 **{name: request.params[name] for name in ("filter", "additional-fields[profile]") if name in request.params}}
        link = self.link(request.path, names)
        following = None
        if len(found) > len(page):
            mark = base64.urlsafe_b64encode(json.dumps(page[-1]).encode()).decode()
            following = self.link(request.path, {**names, "page[cursor]": mark})
        minute = self.windows.get(f"m{int(now().timestamp()) // 60}", 0)
        return Answer(200, {"data": [self.shown(id, extra) for _, id in page], "links": {"self": link, "next": following, "prev": None}},
                      {"Content-Type": "application/vnd.api+json", "RateLimit-Limit": f"{STEADY}, {BURST};w=1, {STEADY};w=60",
                       "RateLimit-Remaining": str(STEADY - minute), "RateLimit-Reset": str(60 - now().second)})

    def link(self, path, params):
        return f"{self.address}{path}?{urlencode(params)}"

    def by(self, name, id):
        profile = self.known[id]
        return {"id": id, "email": profile["attributes"]["email"] or ""}.get(name) or (stamp(profile[name]) if name in profile else "")

    def fits(self, text, profile):
        """Filters joined by commas all have to hold."""
        if not text:
            return True
        parts = re.findall(r'([\w-]+)\(([\w.]+),("[^"]*"|[^()]*)\)', text)
        if not parts or ",".join(f"{operator}({name},{value})" for operator, name, value in parts) != text:
            raise refusal(400, "invalid", "Invalid filter provided.", f"Unexpected syntax in {text}", parameter="filter")
        for operator, name, value in parts:
            if operator not in ALLOWED.get(name, ()):
                raise refusal(400, "invalid", "Invalid filter provided.", f"'{operator}' is not a valid filter operation for '{name}'.",
                              parameter="filter")
            if name in ("created", "updated"):
                bound, held = server.instant(value), profile[name].replace(microsecond=0)
            elif name == "email":
                bound, held = value.strip('"'), profile["attributes"]["email"]
            else:
                raise refusal(400, "invalid", "Invalid filter provided.", f"this fake does not filter by '{name}'", parameter="filter")
            if not {"greater-than": lambda: held > bound, "less-than": lambda: held < bound, "equals": lambda: held == bound}[operator]():
                return False
        return True

    def shown(self, id, extra):
        profile = self.known[id]
        attributes = {**profile["attributes"], "created": stamp(profile["created"]), "updated": stamp(profile["updated"])}
        if "subscriptions" in extra:
            attributes["subscriptions"] = {
                "email": {"marketing": {
                    "can_receive_email_marketing": not profile["suppression"], "consent": profile["consent"],
                    "consent_timestamp": stamp(profile["said"]),
                    "last_updated": stamp(profile["updated"]), "method": "PREFERENCE_PAGE" if profile["said"] else None, "method_detail": "",
                    "custom_method_detail": None, "double_optin": bool(profile["said"]), "suppression": profile["suppression"],
                    "list_suppressions": profile["lists"]}},
                "sms": {"marketing": {"can_receive_sms_marketing": False, "consent": "NEVER_SUBSCRIBED", "consent_timestamp": None,
                                      "method": None,
                                      "method_detail": None, "last_updated": None}},
                "mobile_push": {"marketing": {"can_receive_push_marketing": False, "consent": "NEVER_SUBSCRIBED", "consent_timestamp": None}},
            }
        if self.change == "new_type":
            attributes["email"] = {"address": attributes["email"]}
        shown = {"type": "profile", "id": id, "attributes": attributes, "links": {"self": f"{self.address}/api/profiles/{id}/"},
                 "relationships": {"lists": {"links": {"self": f"{self.address}/api/profiles/{id}/relationships/lists/"}}}}
        if self.change == "new_field":
            shown["meta"] = {"source": "import"}
        return shown

    def unsubscribe(self, request):
        try:
            profiles = request.json()["data"]["attributes"]["profiles"]["data"]
            emails = {profile["attributes"]["email"].lower() for profile in profiles}
        except (KeyError, TypeError):
            raise refusal(400, "invalid", "Invalid input.", "The payload provided in the request is invalid.") from None
        for profile in self.known.values():
            if (profile["attributes"]["email"] or "").lower() in emails:
                self.opt_out(profile)
        return Answer(202, "")

    # For tests.

    def settings(self):
        return {"replace": {"https://a.klaviyo.com": self.address}, "env": {"KLAVIYO_AUTHORIZATION": f"Klaviyo-API-Key {KEY}"}}

    def truth(self):
        def status(profile):
            if profile["suppression"] or profile["lists"] or profile["consent"] == "UNSUBSCRIBED":
                return "denied"
            return "granted" if profile["consent"] == "SUBSCRIBED" else None

        answers = {id: {"status": status(profile)} for id, profile in self.known.items() if status(profile)}
        # A no outlives its profile for whoever read it before.
        answers.update({id: {"status": "denied"} for id, profile in self.gone.items() if status(profile) == "denied"})
        names = ("email", "first_name", "last_name")
        return {"customers": {id: {name: profile["attributes"][name] for name in names} for id, profile in self.known.items()},
                "consents": answers}


if __name__ == "__main__":
    server.serve(Klaviyo)
