// A relying party's own web server, on a free port of localhost.

import { createServer } from 'node:http'

import { freePort } from './server.js'

/** `build(home)` answers with what handles requests at `home`: an app of Express, or any listener of node:http. */
export async function serveRelyingParty(build) {
  const port = await freePort()
  const home = `http://localhost:${port}`
  const server = createServer(await build(home))
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, 'localhost', resolve))
  const stop = () =>
    new Promise((done) => {
      server.closeAllConnections()
      server.close(done)
    })
  return { home, stop }
}
