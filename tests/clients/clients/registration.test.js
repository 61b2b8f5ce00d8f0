// openid-client, unchanged, registers itself and signs somebody in; oauth4webapi does the same by hand.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import * as client from 'openid-client'

import { callback, insecure, signIn } from '../support/openid-client.js'
import { ALICE, Server } from '../support/server.js'

const metadata = { client_name: 'Self-made', redirect_uris: [callback], grant_types: ['authorization_code', 'refresh_token'] }
let server

before(async () => {
  server = await Server.start({ config: '[registration]\nmode = "token"\n' })
  server.addUser()
})
after(() => server?.stop())

const initialAccessToken = (...more) => server.command('registration', 'token', 'add', ...more, '--json').token

// The secret is known once the client is registered; the library's own choice is client_secret_post.
const authentication = {
  client_secret_basic: (as, registered, ...rest) => client.ClientSecretBasic(registered.client_secret)(as, registered, ...rest),
  client_secret_post: undefined,
  none: client.None(),
}

for (const method of Object.keys(authentication)) {
  test(`a client registers itself for ${method} and signs somebody in`, async () => {
    const config = await client.dynamicClientRegistration(
      new URL(server.issuer),
      { ...metadata, token_endpoint_auth_method: method },
      authentication[method],
      { ...insecure, initialAccessToken: initialAccessToken() },
    )
    const registered = config.clientMetadata()
    assert.equal(registered.token_endpoint_auth_method, method)
    assert.equal(typeof registered.client_secret, method === 'none' ? 'undefined' : 'string')
    const tokens = await signIn(config)
    assert.equal(tokens.claims().aud, registered.client_id)
    const person = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    assert.equal(person.email, ALICE.email)
  })
}

test('what cannot be registered is an error that the library understands', async () => {
  const register = (more, token) =>
    client.dynamicClientRegistration(new URL(server.issuer), { ...metadata, ...more }, undefined, { ...insecure, initialAccessToken: token })
  const refused = async (promise, status, error) =>
    assert.rejects(promise, (thrown) => {
      assert.equal(thrown.status ?? thrown.cause?.status, status)
      if (error) assert.equal(thrown.error, error)
      return true
    })
  const token = initialAccessToken()
  await refused(register({ redirect_uris: ['https://app.example.com/#x'] }, token), 400, 'invalid_redirect_uri')
  await refused(register({ grant_types: ['client_credentials'] }, token), 400, 'invalid_client_metadata')
  await refused(register({}, 'nonsense'), 401)
  await refused(register({}, undefined), 401)
  await register({}, token)
  await refused(register({}, token), 401)
})

test('a machine registers itself with a token for machines', async () => {
  const token = initialAccessToken('--grant-type', 'client_credentials')
  const config = await client.dynamicClientRegistration(
    new URL(server.issuer),
    { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], token_endpoint_auth_method: 'client_secret_post' },
    undefined,
    { ...insecure, initialAccessToken: token },
  )
  const tokens = await client.clientCredentialsGrant(config)
  assert.equal(tokens.token_type, 'bearer')
})

test('oauth4webapi registers a client and reads all of the answer', async () => {
  const issuer = new URL(server.issuer)
  const options = { [oauth.allowInsecureRequests]: true }
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options))
  assert.equal(as.registration_endpoint, `${server.issuer}/register`)
  const response = await oauth.dynamicClientRegistrationRequest(as, metadata, { ...options, initialAccessToken: initialAccessToken() })
  const registered = await oauth.processDynamicClientRegistrationResponse(response)
  assert.equal(registered.client_secret_expires_at, 0)
  assert.deepEqual(registered.redirect_uris, metadata.redirect_uris)
  const managed = await fetch(registered.registration_client_uri, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${registered.registration_access_token}` },
  })
  assert.equal(managed.status, 204)
})
