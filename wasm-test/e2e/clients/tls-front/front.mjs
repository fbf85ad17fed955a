// TLS in front of plain services, as TLS servers have it: whoever agrees on HTTP/2 (ALPN, RFC 7301) is
// led to one of them, everybody else to the other.
//
// Environment: TLS_FRONT, a JSON object with
//   cert, key    files, PEM
//   h2, http1    ports on loopback
// It prints `{"ready": <port>}`.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer } from 'node:tls';

const settings = JSON.parse(process.env.TLS_FRONT);

const server = createServer(
  { cert: readFileSync(settings.cert), key: readFileSync(settings.key), ALPNProtocols: ['h2', 'http/1.1'] },
  (secure) => {
    const plain = connect(secure.alpnProtocol === 'h2' ? settings.h2 : settings.http1, '127.0.0.1');
    for (const [from, to] of [[secure, plain], [plain, secure]]) {
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
      from.pipe(to);
    }
  },
);
server.on('tlsClientError', (error) => console.log(`handshake: ${error.message}`));
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ ready: server.address().port })));
