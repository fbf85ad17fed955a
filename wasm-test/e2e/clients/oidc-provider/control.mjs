// How a test talks to the provider behind its back, over HTTP on a port of its own:
//   GET  /calls?endpoint=token            [{endpoint, method, query, form, status, …}], in order
//   GET  /reached?endpoint=token&count=2  answered once there are so many calls
//   POST /{command}                       a JSON value in, a JSON value out

import { createServer } from 'node:http';
import { once } from 'node:events';

/// Listens, and returns the port.
export async function serveControl(calls, commands) {
  const answer = async (request) => {
    const { pathname, searchParams } = new URL(request.url, 'http://control');
    const name = pathname.slice(1);
    if (name === 'calls') return calls.of(searchParams.get('endpoint'));
    if (name === 'reached') return calls.reached(searchParams.get('endpoint'), Number(searchParams.get('count')));
    const value = JSON.parse(await text(request));
    if (name === 'fail') return calls.fail(value);
    return commands[name](value);
  };
  const server = createServer(async (request, response) => {
    try {
      response.end(JSON.stringify(await answer(request) ?? null));
    } catch (error) {
      response.statusCode = 500;
      response.end(error.stack);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

async function text(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
