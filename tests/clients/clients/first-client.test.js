// The README's first client, as it is printed there.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { copyFileSync, mkdirSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Person } from '../support/person.js'
import { ALICE, Server, freePort, until } from '../support/server.js'

let server, app, home

before(async () => {
  server = await Server.start()
  server.addUser()
  const port = await freePort()
  home = `http://localhost:${port}`
  const client = server.addClient({
    client_name: 'First client',
    redirect_uris: [`${home}/callback`],
    post_logout_redirect_uris: [`${home}/`],
  })
  // Beside node_modules, as it would be in a project of its own.
  const folder = fileURLToPath(new URL('../node_modules/.first-client/', import.meta.url))
  mkdirSync(folder, { recursive: true })
  copyFileSync(fileURLToPath(new URL('../../../docs/first-client/app.mjs', import.meta.url)), `${folder}app.mjs`)
  const env = { ...process.env, ISSUER: server.issuer, CLIENT_ID: client.client_id, CLIENT_SECRET: client.client_secret, PORT: String(port) }
  app = spawn(process.execPath, [`${folder}app.mjs`], { env, stdio: ['ignore', 'inherit', 'inherit'] })
  await until('the app', async () => (await fetch(home)).ok)
})
after(async () => {
  app?.kill()
  await server?.stop()
})

test('the first client signs a person in and out', async () => {
  const person = new Person(ALICE)
  const read = async (path) => {
    const page = await person.open(`${home}${path}`, {})
    return page.html
  }
  assert.match(await read('/'), /Sign in at/)
  assert.match(await read('/login'), /^Hello, Alice Liddell\./)
  assert.match(await read('/'), /^Hello, Alice Liddell\./)
  assert.match(await read('/logout'), /Sign in at/)
})
