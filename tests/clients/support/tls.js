// What ends TLS before the server and before apps, for names of a test: one port, one certificate that nobody trusts, and a listener for each name.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { request as ask } from 'node:http'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

function certificate() {
  const folder = mkdtempSync(join(tmpdir(), 'chancery-tls-'))
  try {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(folder, name))
    const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=test', '-keyout', key, '-out', cert]
    const done = spawnSync('openssl', words, { encoding: 'utf8' })
    if (done.status !== 0) throw new Error(`openssl: ${done.error ?? done.stderr}`)
    return { key: readFileSync(key), cert: readFileSync(cert) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** `listeners` by host name; answers with the port and a way to stop. */
export async function serveTls(listeners) {
  const server = createServer(certificate(), (request, response) => {
    const listener = listeners[request.headers.host]
    if (listener) listener(request, response)
    else response.writeHead(421).end()
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const stop = () =>
    new Promise((done) => {
      server.closeAllConnections()
      server.close(done)
    })
  return { port: server.address().port, stop }
}

/** A reverse proxy to `origin()`, which need not be known yet. */
export const proxyTo = (origin) => (request, response) => {
  const headers = { ...request.headers, 'x-forwarded-for': '192.0.2.7' }
  const onward = ask(origin() + request.url, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.rawHeaders)
    answer.pipe(response)
  })
  onward.on('error', () => response.destroy())
  request.pipe(onward)
}
