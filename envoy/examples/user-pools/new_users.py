"""A consumer of sign-in events: says of each person once that they are new, however often they sign in and
whatever is delivered twice. new_users.py GOOGLE SUBSCRIPTION DATABASE"""

import base64
import json
import sqlite3
import sys
import urllib.request

google, subscription, database = sys.argv[1:]
known = sqlite3.connect(database)
known.execute("CREATE TABLE IF NOT EXISTS people (id TEXT PRIMARY KEY)")


def answer(path, headers, body=None):
    with urllib.request.urlopen(urllib.request.Request(google + path, body, headers)) as response:
        return json.load(response)


def call(method, body):
    account = "/computeMetadata/v1/instance/service-accounts/default/token"
    token = answer(account, {"Metadata-Flavor": "Google"})["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return answer(f"/v1/{subscription}:{method}", headers, json.dumps(body).encode())


while True:
    for received in call("pull", {"maxMessages": 10}).get("receivedMessages", []):
        event = json.loads(base64.b64decode(received["message"]["data"]))
        # Stored together with what follows from it, and acknowledged behind that: whatever is delivered again
        # finds the person known.
        with known:
            is_new = known.execute("INSERT OR IGNORE INTO people VALUES (?)", [event["dedup"]]).rowcount
            print("new user" if is_new else "known user", event["subject"], flush=True)
        call("acknowledge", {"ackIds": [received["ackId"]]})
