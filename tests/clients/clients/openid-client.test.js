// openid-client, unchanged, as a web application with a secret would use it.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'

import { callback, home, insecure, signIn } from '../support/openid-client.js'
import { Person } from '../support/person.js'
import { ALICE, Server } from '../support/server.js'

const scope = 'openid profile email offline_access'
let server, registered, alice

before(async () => {
  server = await Server.start()
  alice = server.addUser()
  registered = server.addClient({
    client_name: 'Example Shop',
    redirect_uris: [callback],
    post_logout_redirect_uris: [home],
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    introspection: 'own',
  })
})
after(() => server?.stop())

const discover = (authentication = client.ClientSecretBasic(registered.client_secret), id = registered.client_id) =>
  client.discovery(new URL(server.issuer), id, undefined, authentication, insecure)

test('a person signs in, and the library reads who it is', async () => {
  const config = await discover()
  assert.equal(config.serverMetadata().issuer, server.issuer)
  assert.ok(config.serverMetadata().supportsPKCE())
  const person = new Person(ALICE)
  const tokens = await signIn(config, { person, scope, prompt: 'consent' })
  assert.deepEqual(person.seen, ['login', 'decision'])
  assert.equal(tokens.token_type, 'bearer')
  assert.ok(tokens.expires_in > 0)
  assert.ok(tokens.refresh_token)

  const claims = tokens.claims()
  assert.equal(claims.iss, server.issuer)
  assert.equal(claims.aud, registered.client_id)
  assert.equal(claims.email, undefined, 'personal claims belong to userinfo')
  assert.ok(Number.isInteger(claims.auth_time))

  const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
  assert.equal(info.sub, claims.sub)
  assert.equal(info.email, ALICE.email)
  assert.equal(info.email_verified, true)
  assert.equal(info.given_name, 'Alice')
  if (alice.sub) assert.equal(info.sub, alice.sub)
})

test('tokens are refreshed, introspected and revoked', async () => {
  const config = await discover()
  const tokens = await signIn(config, { scope, prompt: 'consent' })
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
  assert.notEqual(renewed.access_token, tokens.access_token)
  assert.equal(renewed.claims().sub, tokens.claims().sub)
  assert.equal(renewed.claims().auth_time, tokens.claims().auth_time)

  const active = await client.tokenIntrospection(config, renewed.access_token)
  assert.equal(active.active, true)
  assert.equal(active.client_id, registered.client_id)
  assert.equal(active.sub, tokens.claims().sub)
  assert.equal((await client.tokenIntrospection(config, renewed.refresh_token)).active, true)

  await client.tokenRevocation(config, renewed.refresh_token)
  for (const token of [renewed.access_token, tokens.access_token, renewed.refresh_token]) {
    assert.deepEqual(await client.tokenIntrospection(config, token), { active: false })
  }
  await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), { error: 'invalid_grant' })
  await assert.rejects(client.fetchUserInfo(config, renewed.access_token, tokens.claims().sub))
})

test('a second sign-in in the same browser asks nothing, and max_age is honoured', async () => {
  const config = await discover()
  const person = new Person(ALICE)
  const first = await signIn(config, { person, scope })
  person.seen = []
  const second = await signIn(config, { person, scope, max_age: '10000' })
  assert.deepEqual(person.seen, [])
  assert.equal(second.claims().auth_time, first.claims().auth_time)
  assert.equal(second.claims().sub, first.claims().sub)
})

test('saying no comes back as access_denied', async () => {
  const config = await discover()
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    scope: 'openid',
    state: 's',
    prompt: 'consent',
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: 'S256',
  })
  const back = await new Person(ALICE).open(url, { destination: callback, decision: 'deny' })
  await assert.rejects(client.authorizationCodeGrant(config, back, { expectedState: 's' }), { error: 'access_denied' })
})

test('a machine gets a token of its own, with each way of sending the secret', async () => {
  server.addResource({ identifier: 'https://api.example.com', name: 'Orders', scopes: [{ name: 'orders:read', description: 'Read your orders' }] })
  const posting = server.addClient({
    client_name: 'Batch job',
    grant_types: ['client_credentials'],
    token_endpoint_auth_method: 'client_secret_post',
    scope: 'orders:read',
  })
  const config = await discover(client.ClientSecretPost(posting.client_secret), posting.client_id)
  const tokens = await client.clientCredentialsGrant(config, { scope: 'orders:read', resource: 'https://api.example.com' })
  assert.equal(tokens.scope, 'orders:read')
  assert.equal(tokens.refresh_token, undefined)
  assert.equal(tokens.id_token, undefined)
  const wrong = await discover(client.ClientSecretPost('not the secret'), posting.client_id)
  await assert.rejects(client.clientCredentialsGrant(wrong), { error: 'invalid_client', status: 401 })

  const basic = await client.clientCredentialsGrant(await discover())
  assert.ok(basic.access_token)
})

test('signing out ends the session and comes back to the app', async () => {
  const config = await discover()
  const person = new Person(ALICE)
  const tokens = await signIn(config, { person, scope: 'openid' })
  const url = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: home, state: 'bye' })
  const back = await person.open(url, { destination: home })
  assert.equal(back.href, `${home}?state=bye`)
  const silent = client.buildAuthorizationUrl(config, {
    redirect_uri: callback,
    scope: 'openid',
    prompt: 'none',
    state: 'again',
    code_challenge: await client.calculatePKCECodeChallenge(client.randomPKCECodeVerifier()),
    code_challenge_method: 'S256',
  })
  const refused = await person.open(silent, { destination: callback })
  await assert.rejects(client.authorizationCodeGrant(config, refused, { expectedState: 'again' }), { error: 'login_required' })
})
