"""Slack's side of a webhook, by Slack's own library: makes, signs and verifies requests.

One JSON object a line on standard input, one on standard output, in the same order:

    {"do": "command" | "event" | "interactive", "secret": S, "fields": {...}, "timestamp": T?}
        -> {"headers": [[name, value], ...], "body": <base64>}
    {"do": "verify", "secret": S, "headers": {...}, "body": <base64>}
        -> {"valid": true | false}
"""

import base64
import json
import sys
import time
from urllib.parse import urlencode

from slack_sdk.signature import SignatureVerifier

FORM = "application/x-www-form-urlencoded"


def body_of(order):
    """The body and its type, for each kind of request Slack sends."""
    if order["do"] == "event":
        return json.dumps(order["fields"]), "application/json"
    if order["do"] == "interactive":
        return urlencode({"payload": json.dumps(order["fields"])}), FORM
    return urlencode(order["fields"]), FORM


def signed(order):
    body, content_type = body_of(order)
    timestamp = order.get("timestamp") or str(int(time.time()))
    verifier = SignatureVerifier(order["secret"])
    signature = verifier.generate_signature(timestamp=timestamp, body=body)
    headers = [
        ["content-type", content_type],
        ["user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)"],
        ["x-slack-request-timestamp", timestamp],
        ["x-slack-signature", signature],
    ]
    return {"headers": headers, "body": base64.b64encode(body.encode()).decode()}


def verified(order):
    body = base64.b64decode(order["body"]).decode()
    verifier = SignatureVerifier(order["secret"])
    return {"valid": verifier.is_valid_request(body, order["headers"])}


def main():
    for line in sys.stdin:
        order = json.loads(line)
        answer = verified(order) if order["do"] == "verify" else signed(order)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
