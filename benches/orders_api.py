"""Orders over HTTP, 250 a page, three lines each: /orders?page=P answers {"orders": [...], "next": P+1 or null}.
Usage: orders_api.py ORDERS PORT"""
import http.server, json, socketserver, sys
from urllib.parse import parse_qs, urlparse

TOTAL, PORT, PAGE = int(sys.argv[1]), int(sys.argv[2]), 250
LAST = (TOTAL - 1) // PAGE


def order(i):
    lines = [{"id": str(i * 10 + j), "product_id": str((i * 7 + j) % 2000), "quantity": 1 + j, "price": "19.90"} for j in range(3)]
    return {"id": str(i), "customer_id": str(i % 50000), "updated_at": f"2026-01-{1 + i % 28:02}T{i % 24:02}:00:00Z",
            "total_price": f"{i % 300 + 0.5:.2f}", "currency": "EUR", "financial_status": "paid", "note": None, "line_items": lines}


BODIES = [json.dumps({"orders": [order(i) for i in range(p * PAGE, min((p + 1) * PAGE, TOTAL))],
                      "next": p + 1 if p < LAST else None}).encode() for p in range(LAST + 1)]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = BODIES[int(parse_qs(urlparse(self.path).query).get("page", ["0"])[0])]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


Server(("127.0.0.1", PORT), Handler).serve_forever()
