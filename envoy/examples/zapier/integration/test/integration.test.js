'use strict';

// The integration against the running example: start that with `make example-zapier`.

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { randomUUID } = require('node:crypto');
const { test } = require('node:test');
const { setTimeout: pause } = require('node:timers/promises');

const { ANOTHER_APP, connect, refresh, send, validate, whoIs } = require('./platform');

test('Zapier takes the definition', async () => {
  assert.deepEqual(await validate(), []);
});

test('where the environment names no provider, Google is asked, for an address and offline access', () => {
  const script = `
    const app = require('.');
    const run = require('zapier-platform-core').createAppTester(app);
    const inputData = { redirect_uri: 'https://zapier.com/return', state: 's' };
    run(app.authentication.oauth2Config.authorizeUrl, { inputData }).then((url) => process.stdout.write(url));
  `;
  const env = { PATH: process.env.PATH, NODE_ENV: 'test', CLIENT_ID: '1234-abc.apps.googleusercontent.com' };
  const url = new URL(execFileSync(process.execPath, ['-e', script], { cwd: `${__dirname}/..`, env, encoding: 'utf8' }));
  assert.equal(url.origin + url.pathname, 'https://accounts.google.com/o/oauth2/v2/auth');
  assert.deepEqual(Object.fromEntries(url.searchParams), {
    client_id: '1234-abc.apps.googleusercontent.com',
    redirect_uri: 'https://zapier.com/return',
    response_type: 'code',
    scope: 'openid email',
    state: 's',
    access_type: 'offline',
    prompt: 'consent',
  });
});

test('a person connects, and the connection has their name', async () => {
  const connection = await connect('zoe');
  assert.ok(connection.refresh_token, 'offline access');
  assert.equal((await whoIs(connection)).email, 'zoe@example.com');
});

test('a signal is acknowledged by its id', async () => {
  const connection = await connect('zoe');
  const { id } = await send(connection, { name: 'order-paid', variables: { order: '4711', customer: 'Zoë' } });
  assert.match(id, /^[0-9a-f-]{36}$/);
  const other = await send(connection, { name: 'tick' });
  assert.notEqual(other.id, id);
});

test('once its token has expired, a connection is refreshed and the signal sent again', { timeout: 120_000 }, async () => {
  const first = await connect('zoe');
  await send(first, { name: 'before-the-end' });
  await expired(first);
  const signal = { name: `again-${randomUUID()}`, variables: { attempt: 'second' } };
  await assert.rejects(send(first, signal), { name: 'RefreshAuthError' });

  const second = await refresh(first);
  assert.notEqual(second.access_token, first.access_token);
  assert.ok((await send(second, signal)).id);
});

/// Returns once the provider no longer takes the token.
async function expired(connection) {
  for (;;) {
    try {
      await whoIs(connection);
    } catch (error) {
      assert.equal(error.name, 'RefreshAuthError');
      return;
    }
    await pause(100);
  }
}

/// Whoever is told so has no use for another token.
async function assertForbidden(connection) {
  await assert.rejects(send(connection, { name: 'kept-out' }), (error) => {
    assert.equal(error.name, 'ResponseError');
    return JSON.parse(error.message).status === 403;
  });
}

test('who is of another domain connects, and may send nothing', async () => {
  await assertForbidden(await connect('mallory@elsewhere.test'));
});

test('what somebody gave to another app sends nothing', async () => {
  await assertForbidden(await connect('zoe', ANOTHER_APP));
});

test('a token that nobody knows is one to refresh', async () => {
  const connection = { access_token: 'nobody-knows-it' };
  await assert.rejects(send(connection, { name: 'kept-out' }), { name: 'RefreshAuthError' });
});
