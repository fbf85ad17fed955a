// A stock OpenID provider: `oidc-provider`, certified by the OpenID Foundation.
//
// Environment: OIDC_PROVIDER, a JSON object with
//   host, port     where it listens, on loopback; its issuer is `http://host:port`
//   clients        as the provider registers them
//   accounts       {name: claims}; any other name can log in too, as a verified `name@example.com`
//   ttl            seconds, of AccessToken, ClientCredentials, IdToken, RefreshToken, Session, Grant
//   claims_in_id_token, pkce_required, refresh_token ("always" or "offline_access"),
//   rotate ("always", "never", or "default": the provider's own policy),
//   resources      who a JWT access token may be for; anything else is an opaque one
//   opaque         {who: scopes}, who else an access token may be for, an opaque one
//   token_claims   names of an account's claims that stand in access tokens, too
// It prints `{"ready": <port>, "control": <port>}`; control.mjs says what the second is for.

import { createPrivateKey, generateKeyPairSync } from 'node:crypto';

import Provider, { errors } from 'oidc-provider';
import MemoryAdapter from 'oidc-provider/lib/adapters/memory_adapter.js';
import addClient from 'oidc-provider/lib/helpers/add_client.js';
import initializeKeyStore from 'oidc-provider/lib/helpers/initialize_keystore.js';

import { Calls } from './calls.mjs';
import { serveControl } from './control.mjs';
import { Store } from './store.mjs';

const settings = JSON.parse(process.env.OIDC_PROVIDER);
const issuer = `http://${settings.host}:${settings.port}`;
const store = new Store();
const accounts = new Map(Object.entries(settings.accounts));

function newKeys() {
  // Not exported from the very object that was generated: Node 20 holds that one's lock meanwhile, and waits for
  // itself for ever if it collects the generator's garbage just then.
  const encoding = {
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  };
  const jwk = (type, options, alg) => {
    const { privateKey } = generateKeyPairSync(type, { ...options, ...encoding });
    return { ...createPrivateKey(privateKey).export({ format: 'jwk' }), alg, use: 'sig' };
  };
  return [jwk('rsa', { modulusLength: 2048 }, 'RS256'), jwk('ec', { namedCurve: 'P-256' }, 'ES256')];
}

function claimsOf(id) {
  if (accounts.has(id)) return accounts.get(id);
  const email = id.includes('@') ? id : `${id}@example.com`;
  return { email, email_verified: true, name: id, groups: [] };
}

const ttl = (name) => () => settings.ttl[name];
const ttls = ['AccessToken', 'ClientCredentials', 'IdToken', 'RefreshToken', 'Session', 'Grant', 'Interaction'];

let keys = newKeys();

const provider = new Provider(issuer, {
  adapter: (model) => new MemoryAdapter(model, store),
  jwks: { keys },
  cookies: { keys: ['of a test'] },
  // Its own default is to take a token for 15 seconds after its end.
  clockTolerance: 0,
  clientDefaults: { grant_types: ['authorization_code', 'refresh_token'] },
  conformIdTokenClaims: !settings.claims_in_id_token,
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'groups'],
    groups: ['groups'],
  },
  pkce: { required: () => settings.pkce_required },
  issueRefreshToken: (_ctx, client, source) => client.grantTypeAllowed('refresh_token')
    && (settings.refresh_token === 'always' || source.scopes.has('offline_access')),
  ...(settings.rotate === 'default' ? {} : { rotateRefreshToken: settings.rotate === 'always' }),
  ttl: Object.fromEntries(ttls.map((name) => [name, ttl(name)])),
  findAccount: (_ctx, id) => {
    const claims = claimsOf(id);
    return claims ? { accountId: id, claims: () => ({ sub: id, ...claims }) } : undefined;
  },
  extraTokenClaims: (_ctx, token) => {
    const claims = (token.accountId && claimsOf(token.accountId)) || {};
    return Object.fromEntries(settings.token_claims.map((name) => [name, claims[name]]));
  },
  features: {
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    userinfo: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => {
        const scope = settings.opaque?.[resource];
        if (scope !== undefined) return { audience: resource, scope, accessTokenFormat: 'opaque' };
        if (!settings.resources.includes(resource)) throw new errors.InvalidTarget();
        return { audience: resource, scope: 'read write', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
      },
    },
  },
  // Its own refuses loopback addresses, and here everybody has one.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
});

const register = (client) => addClient(provider, client, { store: true });

/// New keys sign from now on; the old ones stay published where `keep` says so.
function rotateKeys({ keep }) {
  const fresh = newKeys();
  keys = keep ? [...fresh, ...keys] : fresh;
  initializeKeyStore.call(provider, { keys });
}

/// Ends every session of an account, tells each client that wants to know, and returns how each
/// took it.
async function logout(account) {
  const told = [];
  for (const { jti } of store.values('Session:').filter(({ accountId }) => accountId === account)) {
    const session = await provider.Session.find(jti);
    for (const [id, { sid, grantId }] of Object.entries(session.authorizations ?? {})) {
      const client = await provider.Client.find(id);
      if (client.backchannelLogoutUri) {
        const error = await client.backchannelLogout(account, sid).then(() => null, (e) => e.message);
        told.push({ client: id, sid, error });
      }
      await revoke(grantId);
    }
    await session.destroy();
  }
  return told;
}

async function revoke(grantId) {
  for (const model of [provider.AccessToken, provider.RefreshToken, provider.AuthorizationCode]) {
    await model.revokeByGrantId(grantId);
  }
  await provider.Grant.adapter.destroy(grantId);
}

const calls = new Calls();
provider.use(calls.middleware);
// Without a context, where the error came from a part that has none.
provider.on('server_error', (_ctx, error) => console.error(error));
provider.on('grant.error', (ctx, error) => calls.note(ctx, error));

for (const client of settings.clients) await register(client);
const server = provider.listen(settings.port, '127.0.0.1');
await new Promise((resolve, reject) => {
  server.on('listening', resolve);
  server.on('error', reject);
});
const control = await serveControl(calls, {
  rotate_keys: rotateKeys,
  logout,
  // `null` closes an account: it cannot log in, and its refresh tokens are worth nothing.
  account: ({ name, claims }) => { accounts.set(name, claims); },
  client: async (client) => { await register(client); },
  ttl: (changed) => { Object.assign(settings.ttl, changed); },
});
console.log(JSON.stringify({ ready: settings.port, control }));
