// The device authorization grant (RFC 8628) with openid-client, unchanged, and with git-credential-oauth, a program that people run.

import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'

import { Person } from '../support/person.js'
import { ALICE, Server } from '../support/server.js'

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

test('git-credential-oauth gets a credential for git by showing a code', async () => {
  const program = process.env.CHANCERY_TEST_GIT_CREDENTIAL_OAUTH
  assert.ok(program, 'CHANCERY_TEST_GIT_CREDENTIAL_OAUTH must name a git-credential-oauth that knows -device; ./test sets it')
  const registered = device({ client_name: 'git', token_endpoint_auth_method: 'none', scope: 'openid offline_access' })
  const { host } = new URL(server.issuer)
  // As the documentation of the program has it: the forge's client and endpoints stand in git's own configuration.
  const settings = {
    oauthClientId: registered.client_id,
    oauthScopes: 'openid offline_access',
    oauthAuthURL: '/authorize',
    oauthTokenURL: '/token',
    oauthDeviceAuthURL: '/device/code',
  }
  const config = `${server.folder}/gitconfig`
  for (const [name, value] of Object.entries(settings)) {
    const done = spawnSync('git', ['config', '--file', config, `credential.${server.issuer}.${name}`, value], { encoding: 'utf8' })
    assert.equal(done.status, 0, done.stderr)
  }
  const child = spawn(program, ['-device', 'get'], { env: { ...process.env, GIT_CONFIG_GLOBAL: config, GIT_CONFIG_NOSYSTEM: '1', HOME: server.folder } })
  let [out, shown] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (out += text))
  const address = new Promise((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text) => {
      shown += text
      const code = /[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}/.exec(shown)
      if (code && shown.includes('/device')) resolve(`${server.issuer}/device?user_code=${code[0]}`)
    })
    child.once('exit', () => reject(new Error(`it ended early: ${out}${shown}`)))
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.stdin.end(`protocol=http\nhost=${host}\n\n`)
  const person = new Person(ALICE)
  await person.open(await address, {})
  assert.deepEqual(person.seen, ['login', 'decision'], shown)
  assert.equal(await ended, 0, shown)
  const credential = Object.fromEntries(out.trim().split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))
  const info = await fetch(`${server.issuer}/userinfo`, { headers: { authorization: `Bearer ${credential.password}` } })
  assert.equal(info.status, 200, out.replace(/password=.*/, 'password=…'))
  assert.ok((await info.json()).sub)
})
