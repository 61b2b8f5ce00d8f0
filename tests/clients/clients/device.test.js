// The device authorization grant (RFC 8628) with openid-client, unchanged, and with git-credential-oauth, a program that people run.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
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

// As the documentation of git-credential-oauth has it: the client and the endpoints of a host stand in git's own configuration.
function git(settings) {
  const file = `${server.folder}/gitconfig`
  const all = [
    ['credential.helper', 'oauth -device'],
    ...Object.entries({ oauthAuthURL: '/authorize', oauthTokenURL: '/token', oauthDeviceAuthURL: '/device/code', ...settings }).map(([name, value]) => [`credential.${server.issuer}.${name}`, value]),
  ]
  for (const [name, value] of all) {
    const done = spawnSync('git', ['config', '--file', file, name, value], { encoding: 'utf8' })
    assert.equal(done.status, 0, done.stderr)
  }
  return { ...process.env, GIT_CONFIG_GLOBAL: file, GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '/bin/false', HOME: server.folder }
}

/** `git credential fill` for this server, while `answer` deals with what the helper says on the way: how it ended, and what git was given. */
async function fill(settings, answer) {
  const child = spawn('git', ['credential', 'fill'], { env: git(settings) })
  const ended = new Promise((resolve) => child.once('close', resolve))
  let [out, said] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (said += text))
  child.stdin.end(`url=${server.issuer}\n\n`)
  await Promise.race([answer(() => said), ended.then((code) => Promise.reject(new Error(`it ended early with ${code}: ${said}`)))])
  const code = await ended
  const given = Object.fromEntries(out.trim().split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
  return { code, said, given }
}

/** The code that the helper shows to the person. */
async function shownBy(said) {
  let shown
  await until('the code', () => (shown = /enter code ([BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}) at (\S+)/.exec(said())))
  assert.equal(shown[2], `${server.issuer}/device`)
  return shown[1]
}

test('git-credential-oauth gets a credential for git by showing a code', async () => {
  const registered = device({ client_name: 'git', token_endpoint_auth_method: 'none', scope: 'openid email offline_access' })
  const person = new Person(ALICE)
  const { code, said, given } = await fill({ oauthClientId: registered.client_id, oauthScopes: 'openid email offline_access' }, async (said) => {
    await person.open(`${server.issuer}/device?user_code=${await shownBy(said)}`, {})
  })
  assert.equal(code, 0, said)
  assert.deepEqual(person.seen, ['login', 'decision'])
  const info = await fetch(`${server.issuer}/userinfo`, { headers: { authorization: `Bearer ${given.password}` } })
  assert.equal(info.status, 200)
  assert.equal((await info.json()).email, ALICE.email)
})

test('git-credential-oauth hears that the person said no, and git gets nothing', async () => {
  const registered = device({ client_name: 'git', token_endpoint_auth_method: 'none', scope: 'openid' })
  const { code, said, given } = await fill({ oauthClientId: registered.client_id, oauthScopes: 'openid' }, async (said) => {
    await new Person(ALICE).open(`${server.issuer}/device?user_code=${await shownBy(said)}`, { decision: 'deny' })
  })
  assert.notEqual(code, 0)
  assert.match(said, /access_denied/)
  assert.equal(given.password, undefined)
})
