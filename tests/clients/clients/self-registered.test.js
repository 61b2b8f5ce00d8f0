// openid-client, unchanged, as an app that nobody registered: it does so itself, and looks after its registration.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'

import { callback, home, insecure, signIn } from '../support/openid-client.js'
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
  const tokens = await signIn(config)
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
