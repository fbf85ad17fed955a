"""Signs in as an app does, by user name and password, and prints a token: sign_in.py EMAIL [AccessToken|IdToken]"""

import os
import sys

import boto3
from botocore import UNSIGNED
from botocore.config import Config

email, token = sys.argv[1], (sys.argv[2:] or ["AccessToken"])[0]
cognito = boto3.client("cognito-idp", config=Config(signature_version=UNSIGNED))
answer = cognito.initiate_auth(
    ClientId=os.environ["USER_POOL_CLIENT_ID"],
    AuthFlow="USER_PASSWORD_AUTH",
    AuthParameters={"USERNAME": email, "PASSWORD": "Correct-horse-1"},
)
print(answer["AuthenticationResult"][token])
