'use strict';

// What Zapier's own platform does around an integration: it sends a person to the provider, takes the
// code from the redirect, keeps what comes of it as `authData`, and refreshes it after a 401.

const { createHash, randomBytes } = require('node:crypto');

const { signIn } = require('./person');

// Where one registers Zapier's own at the provider; nothing is ever asked of it here.
const REDIRECT_URI = 'https://zapier.com/dashboard/auth/oauth/return/App1CLIAPI/';

// As Zapier has them in the integration's environment.
const ZAPIER = { CLIENT_ID: 'zapier', CLIENT_SECRET: 'known to Zapier and the provider' };
const ANOTHER_APP = { CLIENT_ID: 'another-app', CLIENT_SECRET: 'known to another app and the provider' };

const provider = process.env.PROVIDER_URL ?? 'http://127.0.0.1:9400';
Object.assign(process.env, {
  // The platform's code prints its memory at each call otherwise.
  NODE_ENV: 'test',
  LOCKGATE_URL: process.env.LOCKGATE_URL ?? 'http://127.0.0.1:8080',
  OAUTH_AUTHORIZE_URL: `${provider}/auth`,
  OAUTH_TOKEN_URL: `${provider}/token`,
  OAUTH_USERINFO_URL: `${provider}/me`,
  OAUTH_SCOPE: 'openid email offline_access',
});

const zapier = require('zapier-platform-core');

const app = require('..');

const run = zapier.createAppTester(app);
const { authentication: { oauth2Config, test: connectionTest }, creates: { signal } } = app;

const base64url = (bytes) => bytes.toString('base64url');

/// A connection of this person's, by this client.
async function connect(account, client = ZAPIER) {
  Object.assign(process.env, client);
  const state = base64url(randomBytes(16));
  const codeVerifier = base64url(randomBytes(32));
  const inputData = { redirect_uri: REDIRECT_URI, state };
  const address = new URL(await run(oauth2Config.authorizeUrl, { inputData }));
  address.searchParams.set('code_challenge', base64url(createHash('sha256').update(codeVerifier).digest()));
  address.searchParams.set('code_challenge_method', 'S256');

  const returned = await signIn(address, account, REDIRECT_URI);
  if (returned.searchParams.get('state') !== state) throw new Error(`another state: ${returned}`);
  const code = returned.searchParams.get('code');
  return run(oauth2Config.getAccessToken, { inputData: { ...inputData, code, code_verifier: codeVerifier } });
}

const refresh = async (authData) => ({ ...authData, ...await run(oauth2Config.refreshAccessToken, { authData }) });
const whoIs = (authData) => run(connectionTest, { authData });
const send = (authData, inputData) => run(signal.operation.perform, { authData, inputData });

const validate = async () => (await zapier.createAppHandler(app)({ command: 'validate' })).results;

module.exports = { ANOTHER_APP, connect, refresh, send, validate, whoIs };
