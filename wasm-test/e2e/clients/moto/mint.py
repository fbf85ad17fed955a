"""Tokens as moto would sign them, had it a reason to: reads {"token": …, "changes": {name: {"header": {…},
"claims": {…}}}} and prints one for each name, null standing for a member that is left out. Everything else is
the given token's."""

import base64
import json
import sys

from joserfc import jwk, jws
from moto.utilities.utils import load_resource

key = jwk.RSAKey.import_key(load_resource("cognitoidp/resources/jwks-private.json"))
order = json.load(sys.stdin)
header, claims = (
    json.loads(base64.urlsafe_b64decode(part + "==")) for part in order["token"].split(".")[:2]
)


def changed(members, changes):
    return {name: value for name, value in {**members, **changes}.items() if value is not None}


def mint(change):
    payload = json.dumps(changed(claims, change.get("claims", {})))
    return jws.serialize_compact(changed(header, change.get("header", {})), payload, key)


json.dump({name: mint(change) for name, change in order["changes"].items()}, sys.stdout)
