// openid-client, unchanged, as an app that nobody registered: it does so itself, and looks after its registration.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as jose from 'jose'
import * as client from 'openid-client'

import { Person } from '../support/person.js'
import { callback, confidential, home, insecure, newKey, offline, signIn, signed } from '../support/openid-client.js'
import { ALICE, Server } from '../support/server.js'

let server

before(async () => {
  server = await Server.start({ config: '[registration]\nmode = "token"\n' })
  server.addUser()
})
after(() => server?.stop())

const initialAccessToken = (...more) => server.command('registration', 'token', 'add', '--registrations', '2', '--expires-in', '1h', ...more, '--json').token

test('an app registers itself, signs people in, looks after its registration and removes it', async () => {
  await assert.rejects(client.dynamicClientRegistration(new URL(server.issuer), { redirect_uris: [callback] }, undefined, insecure), 'nobody registers without a token')
  const token = initialAccessToken()
  const wanted = { client_name: 'Registers itself', redirect_uris: [callback], grant_types: ['authorization_code', 'refresh_token'], post_logout_redirect_uris: [home], contacts: ['ops@example.com'] }
  const config = await client.dynamicClientRegistration(new URL(server.issuer), wanted, client.ClientSecretBasic(), { ...insecure, initialAccessToken: token })
  const registered = config.clientMetadata()
  assert.ok(registered.client_secret)
  assert.equal(registered.client_secret_expires_at, 0)
  assert.deepEqual(registered.contacts, wanted.contacts)
  const tokens = await signIn(config, offline)
  assert.equal((await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)).email, ALICE.email)

  const manage = async (method, bearer, body) => {
    const headers = { authorization: `Bearer ${bearer}`, ...(body && { 'content-type': 'application/json' }) }
    return fetch(registered.registration_client_uri, { method, headers, body: body && JSON.stringify(body) })
  }
  const read = await manage('GET', registered.registration_access_token)
  assert.equal(read.status, 200)
  assert.equal((await read.json()).client_name, wanted.client_name)
  const changed = await manage('PUT', registered.registration_access_token, { ...wanted, client_id: registered.client_id, client_name: 'A better name' })
  assert.equal(changed.status, 200)
  const now = await changed.json()
  assert.equal(now.client_name, 'A better name')
  const bearer = now.registration_access_token ?? registered.registration_access_token
  assert.equal((await manage('DELETE', bearer)).status, 204)
  assert.equal((await manage('GET', bearer)).status, 401)
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { status: 401 })

  const second = await client.dynamicClientRegistration(new URL(server.issuer), wanted, client.ClientSecretBasic(), { ...insecure, initialAccessToken: token })
  assert.notEqual(second.clientMetadata().client_id, registered.client_id)
  await assert.rejects(client.dynamicClientRegistration(new URL(server.issuer), wanted, client.ClientSecretBasic(), { ...insecure, initialAccessToken: token }), 'twice, as the token says')
})

test('all of it at once: registered by itself, private_key_jwt, a signed request, sealed answers, revocation and sign-out', async () => {
  const [own, sealing] = [await newKey('ES256'), await newKey('ECDH-ES', 'enc')]
  const wanted = {
    ...confidential({ jwks: { keys: [own.jwk, sealing.jwk] } }),
    require_signed_request_object: true,
    id_token_signed_response_alg: 'PS256',
    id_token_encrypted_response_alg: 'ECDH-ES',
    userinfo_signed_response_alg: 'Ed25519',
    userinfo_encrypted_response_alg: 'ECDH-ES',
    userinfo_encrypted_response_enc: 'A256GCM',
  }
  const config = await client.dynamicClientRegistration(new URL(server.issuer), wanted, client.PrivateKeyJwt(own), { ...insecure, initialAccessToken: initialAccessToken() })
  client.enableDecryptingResponses(config, ['A128CBC-HS256', 'A256GCM'], { key: sealing.key, kid: sealing.kid })
  client.enableNonRepudiationChecks(config)
  const person = new Person(ALICE)
  const tokens = await signIn(config, { person, url: signed(own), ...offline })
  assert.equal(tokens.id_token.split('.').length, 5, 'sealed')
  const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
  assert.equal(info.email, ALICE.email)
  assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true)

  // The hint is what was inside.
  const { plaintext } = await jose.compactDecrypt(tokens.id_token, sealing.key)
  const url = client.buildEndSessionUrl(config, { id_token_hint: new TextDecoder().decode(plaintext), post_logout_redirect_uri: home, state: 'bye' })
  assert.equal((await person.open(url, { destination: home })).href, `${home}?state=bye`)
  await client.tokenRevocation(config, tokens.refresh_token)
  assert.deepEqual(await client.tokenIntrospection(config, tokens.access_token), { active: false })
})
