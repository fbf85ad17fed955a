"""Makes a user pool by Cognito's own API, as its console would, and says what it is called."""

import boto3

PASSWORD = "Correct-horse-1"
USERS = {
    "alice@example.com": ["members"],
    "bob@example.com": ["admins"],
    "carol@example.com": ["guests"],
    "dave@example.com": [],
}

cognito = boto3.client("cognito-idp")
pool = cognito.create_user_pool(
    PoolName="people", UsernameAttributes=["email"], AutoVerifiedAttributes=["email"]
)["UserPool"]["Id"]
app = cognito.create_user_pool_client(
    UserPoolId=pool,
    ClientName="app",
    GenerateSecret=False,
    ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
    ReadAttributes=["name", "email"],
    RefreshTokenValidity=30,
)["UserPoolClient"]["ClientId"]
for group in ["members", "admins", "guests"]:
    cognito.create_group(UserPoolId=pool, GroupName=group)
for email, groups in USERS.items():
    cognito.admin_create_user(
        UserPoolId=pool,
        Username=email,
        UserAttributes=[{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
        MessageAction="SUPPRESS",
    )
    cognito.admin_set_user_password(UserPoolId=pool, Username=email, Password=PASSWORD, Permanent=True)
    for group in groups:
        cognito.admin_add_user_to_group(UserPoolId=pool, Username=email, GroupName=group)
print(pool, app)
