// What was asked of the provider, and what goes wrong with it on demand.

import { setTimeout as delay } from 'node:timers/promises';

const ENDPOINTS = [
  ['/.well-known/openid-configuration', 'discovery'],
  ['/jwks', 'jwks'],
  ['/auth', 'authorization'],
  ['/token/introspection', 'introspection'],
  ['/token/revocation', 'revocation'],
  ['/token', 'token'],
  ['/me', 'userinfo'],
  ['/session/end', 'end_session'],
];

function endpointOf(path) {
  const endpoint = ENDPOINTS.find(([start]) => path === start);
  if (endpoint) return endpoint[1];
  return path.startsWith('/interaction/') ? 'interaction' : 'other';
}

const wanted = (endpoint) => (call) => !endpoint || endpoint === '*' || endpoint === call.endpoint;

export class Calls {
  #calls = [];

  #waiting = [];

  #faults = [];

  #healed = resolvers();

  /// The calls to an endpoint, or all.
  of(endpoint) {
    return this.#calls.filter(wanted(endpoint));
  }

  /// Returns when an endpoint has been called so often.
  async reached(endpoint, count) {
    while (this.of(endpoint).length < count) {
      await new Promise((resolve) => { this.#waiting.push(resolve); });
    }
  }

  /// Replaces the faults: {endpoint, mode, status, body, delay_ms, times}. `endpoint` may be `*`. `mode` is
  ///   status   answered with this status and body, and not looked at
  ///   hold     looked at once the faults are replaced
  ///   slow     looked at after `delay_ms`
  ///   hang     never answered
  ///   reset    the connection is reset, and the call not looked at
  ///   lose     it takes effect, and the connection is reset instead of an answer
  /// Where `times` is given, so many calls meet it.
  fail(faults) {
    this.#faults = faults;
    this.#healed.resolve();
    this.#healed = resolvers();
  }

  /// Why a token was refused.
  note(ctx, error) {
    const call = ctx.state.call;
    if (call) Object.assign(call, { error: error.error, reason: error.error_detail ?? error.error_description });
  }

  middleware = async (ctx, next) => {
    const endpoint = endpointOf(ctx.path);
    const call = { endpoint, method: ctx.method, path: ctx.path, query: { ...ctx.query }, form: {}, status: null };
    call.authorization = ctx.get('authorization').split(' ')[0];
    ctx.state.call = call;
    this.#calls.push(call);
    this.#waiting.splice(0).forEach((resolve) => resolve());
    const fault = this.#faults.find((each) => wanted(each.endpoint)(call) && (each.times ?? 1) > 0);
    if (fault?.times !== undefined) fault.times -= 1;
    if (fault) call.fault = fault.mode;
    if (!await this.#meet(fault, ctx)) return;
    await next();
    call.form = { ...ctx.oidc?.body };
    call.status = ctx.status;
    if (fault?.mode === 'lose') reset(ctx);
  };

  /// Whether the provider is to look at the call.
  async #meet(fault, ctx) {
    switch (fault?.mode) {
      case 'status':
        ctx.status = fault.status;
        ctx.body = fault.body ?? '';
        ctx.state.call.status = fault.status;
        return false;
      case 'hold':
        await this.#healed.promise;
        return true;
      case 'slow':
        await delay(fault.delay_ms);
        return true;
      case 'hang':
        ctx.respond = false;
        return false;
      case 'reset':
        reset(ctx);
        return false;
      default:
        return true;
    }
  }
}

function reset(ctx) {
  ctx.respond = false;
  ctx.req.socket.resetAndDestroy();
}

function resolvers() {
  let resolve;
  const promise = new Promise((done) => { resolve = done; });
  return { promise, resolve };
}
