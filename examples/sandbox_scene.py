"""An API with tests is written into a sandbox, its tests run there, and the sandbox is deleted: 5 rUv and the seconds.

Run it with a server of that economy, on a machine that can isolate:  tally serve --economy flow-nexus
"""

import uuid

from examples.api import say
from tallystick.client import TallyClient

WRITE = r'''
from pathlib import Path

Path("api.py").write_text("""
import hmac, json
from http.server import BaseHTTPRequestHandler, HTTPServer

SECRET = b"secret"


def token(user):
    return user + "." + hmac.new(SECRET, user.encode(), "sha256").hexdigest()


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        user, _, sign = self.headers.get("Authorization", "").removeprefix("Bearer ").partition(".")
        known = hmac.compare_digest(token(user), user + "." + sign)
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"user": user if known else None}).encode())

    def log_message(self, *_):
        pass
""")
Path("test_api.py").write_text("""
import threading, unittest, urllib.error, urllib.request
from http.server import HTTPServer

from api import Api, token


class ApiTest(unittest.TestCase):
    def setUp(self):
        self.server = HTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def ask(self, authorization):
        url = f"http://127.0.0.1:{self.server.server_port}"
        request = urllib.request.Request(url, headers={"Authorization": authorization})
        with urllib.request.urlopen(request) as answer:
            return answer.status

    def test_a_user_with_a_token_comes_in(self):
        self.assertEqual(200, self.ask("Bearer " + token("ada")))

    def test_nobody_else_does(self):
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.ask("Bearer ada.forged")
        self.assertEqual(401, refused.exception.code)
        refused.exception.close()
""")
print("written")
'''


def main() -> None:
    """Play the scene."""
    with TallyClient() as visitor:
        email = f"dev-{uuid.uuid4().hex[:8]}@example.com"
        token = visitor.auth.register(email=email, password="correct horse battery").token  # noqa: S106 - a scene's
        with visitor.with_key(token) as client:
            sandbox = client.sandboxes.create(template="python", name="auth-api-dev", timeout=600)
            try:
                written = client.sandboxes.execute(sandbox.id, code=WRITE)
                say("written", exit_code=written.exit_code)
                tested = client.sandboxes.execute(
                    sandbox.id, code="python3 -m unittest -v test_api", language="bash"
                )
                say("tested", exit_code=tested.exit_code, passed=str(tested.stderr).count("... ok"))
            finally:
                ended = client.sandboxes.delete(sandbox.id)
            left = client.billing.get_balance().balance
            say("deleted", reason=ended.reason, rUv_spent=356 - left)
            bill = client.sandboxes.explain(sandbox.id)
            dollars = sum(line.amounts["USD"] for line in bill.lines if line.operation == "running")
            say(
                "the seconds' dollars are the bill's",
                agree=dollars == ended.cost,
                more_than_nothing=dollars > 0,
            )


if __name__ == "__main__":
    main()
