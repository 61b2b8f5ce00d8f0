// The device authorization grant (RFC 8628) with openid-client, unchanged, and with git-credential-oauth, a program that people run.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'

import { Person } from '../support/person.js'
import { ALICE, Server, until } from '../support/server.js'

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
let server

before(async () => {
  server = await Server.start()
  server.addUser()
})
after(() => server?.stop())

const device = (metadata = {}) => server.addClient({ client_name: 'Command line', redirect_uris: [], grant_types: [GRANT, 'refresh_token'], ...metadata })

for (const [name, method, authentication] of [
  ['a public client', 'none', () => client.None()],
  ['a client with a secret', 'client_secret_basic', (secret) => client.ClientSecretBasic(secret)],
]) {
  test(`openid-client lets ${name} in`, async () => {
    const registered = device({ token_endpoint_auth_method: method })
    const config = await client.discovery(new URL(server.issuer), registered.client_id, undefined, authentication(registered.client_secret), { execute: [client.allowInsecureRequests] })
    const begun = await client.initiateDeviceAuthorization(config, { scope: 'openid email offline_access' })
    assert.equal(begun.interval, 5)
    const waiting = client.pollDeviceAuthorizationGrant(config, begun)
    const person = new Person(ALICE)
    await person.open(begun.verification_uri_complete, {})
    assert.deepEqual(person.seen, ['login', 'decision'])
    const tokens = await waiting
    assert.equal(tokens.claims().aud, registered.client_id)
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    assert.equal(info.email, ALICE.email)
    assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token)
  })
}

test('openid-client hears that the person said no', async () => {
  const registered = device({ token_endpoint_auth_method: 'none' })
  const config = await client.discovery(new URL(server.issuer), registered.client_id, undefined, client.None(), { execute: [client.allowInsecureRequests] })
  const begun = await client.initiateDeviceAuthorization(config, { scope: 'openid' })
  await new Person(ALICE).open(begun.verification_uri_complete, { decision: 'deny' })
  await assert.rejects(client.pollDeviceAuthorizationGrant(config, begun), { error: 'access_denied' })
})

/** `git-credential-oauth OPTIONS get` for this server, while `answer` deals with what it says on the way: how it ended, and what it printed. */
async function credential(options, settings, answer) {
  const config = `${server.folder}/gitconfig`
  // As the documentation of the program has it: the client and the endpoints of a host stand in git's own configuration.
  for (const [name, value] of Object.entries({ oauthAuthURL: '/authorize', oauthTokenURL: '/token', oauthDeviceAuthURL: '/device/code', ...settings })) {
    const done = spawnSync('git', ['config', '--file', config, `credential.${server.issuer}.${name}`, value], { encoding: 'utf8' })
    assert.equal(done.status, 0, done.stderr)
  }
  // It may insist on opening a browser: this one is a person of ours, who reads the address where it is printed.
  const tools = `${server.folder}/tools`
  mkdirSync(tools, { recursive: true })
  for (const name of ['www-browser', 'x-www-browser', 'xdg-open']) writeFileSync(`${tools}/${name}`, '#!/bin/sh\n', { mode: 0o755 })
  const env = { ...process.env, PATH: `${tools}:${process.env.PATH}`, GIT_CONFIG_GLOBAL: config, GIT_CONFIG_NOSYSTEM: '1', HOME: server.folder }
  const child = spawn('git-credential-oauth', [...options, 'get'], { env })
  const ended = new Promise((resolve) => child.once('close', resolve))
  let [out, said] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (said += text))
  child.stdin.end(`protocol=http\nhost=${new URL(server.issuer).host}\n\n`)
  await Promise.race([answer(() => said), ended.then((code) => Promise.reject(new Error(`it ended early with ${code}: ${said}`)))])
  const printed = Object.fromEntries(out.trim().split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
  return { code: await ended, said, printed }
}

const help = spawnSync('git-credential-oauth', ['--help'], { encoding: 'utf8' }).stderr ?? ''

// Later versions have the device grant. That of Debian 12 (0.4.2) knows browsers alone, and sends a code_verifier with the padding and
// the letters of plain Base64, which RFC 7636 §4.1 does not have: it cannot sign in here at all, and this is what it is told.
if (/^\s+-device\b/m.test(help)) {
  test('git-credential-oauth gets a credential for git by showing a code', async () => {
    const registered = device({ client_name: 'git', token_endpoint_auth_method: 'none', scope: 'openid offline_access' })
    const person = new Person(ALICE)
    const { code, said, printed } = await credential(['-device'], { oauthClientId: registered.client_id, oauthScopes: 'openid offline_access' }, async (said) => {
      let shown
      await until('the code', () => (shown = /\b[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\b/.exec(said())))
      await person.open(`${server.issuer}/device?user_code=${shown[0]}`, {})
    })
    assert.equal(code, 0, said)
    assert.deepEqual(person.seen, ['login', 'decision'])
    const info = await fetch(`${server.issuer}/userinfo`, { headers: { authorization: `Bearer ${printed.password}` } })
    assert.equal(info.status, 200)
  })
} else {
  test('a git-credential-oauth without -device is told that its code_verifier breaks RFC 7636', async () => {
    assert.match(help, /usage: git credential-oauth/, 'git-credential-oauth is missing; ./test installs it')
    const registered = server.addClient({
      client_name: 'git',
      redirect_uris: ['http://127.0.0.1', 'http://127.0.0.1/'],
      grant_types: ['authorization_code', 'refresh_token'],
      token_endpoint_auth_method: 'none',
      scope: 'openid offline_access',
    })
    const { code, said } = await credential([], { oauthClientId: registered.client_id, oauthScopes: 'openid offline_access' }, async (said) => {
      let url
      await until('the address', () => (url = /https?:\/\/\S*\/authorize\?\S+/.exec(said())))
      const back = await new Person(ALICE).open(url[0], { destination: 'http://127.0.0.1:' })
      assert.ok(back.searchParams.get('code'), 'it has its code')
      await fetch(back).catch(() => {})
    })
    assert.notEqual(code, 0)
    assert.match(said, /The code_verifier must have 43 to 128 characters of A-Z a-z 0-9 - \. _ ~/)
  })
}
