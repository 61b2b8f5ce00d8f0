// openid-client, unchanged, as a client that proves itself by a key of its own (private_key_jwt) and signs its requests (JAR).

import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import * as jose from 'jose'
import * as client from 'openid-client'

import { ALGORITHMS, callback, insecure, newKey, signIn, signed } from '../support/openid-client.js'
import { Person } from '../support/person.js'
import { ALICE, Server } from '../support/server.js'

let server, person, keys, host, published

before(async () => {
  // The address of a client's keys is on this machine, as on a developer's.
  server = await Server.start({ config: '\n[outbound]\nallow = ["127.0.0.0/8"]\n' })
  server.addUser()
  person = new Person(ALICE)
  keys = {}
  for (const alg of ALGORITHMS) keys[alg] = await newKey(alg)
  host = createServer((_, response) => response.writeHead(200, { 'content-type': 'application/jwk-set+json' }).end(JSON.stringify(published)))
  await new Promise((resolve) => host.listen(0, '127.0.0.1', resolve))
})
after(() => {
  host?.close()
  return server?.stop()
})

const register = (members) =>
  server.addClient({
    client_name: 'Keeper of keys',
    redirect_uris: [callback],
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    token_endpoint_auth_method: 'private_key_jwt',
    first_party: true,
    ...members,
  })

const discover = (registered, { key, kid }) =>
  client.discovery(new URL(server.issuer), registered.client_id, undefined, client.PrivateKeyJwt({ key, kid }), insecure)

for (const alg of ALGORITHMS) {
  test(`a key for ${alg} opens every endpoint, and signs requests`, async () => {
    const own = keys[alg]
    const registered = register({ jwks: { keys: [own.jwk] }, token_endpoint_auth_signing_alg: alg, request_object_signing_alg: alg })
    assert.equal(registered.client_secret, undefined)
    const config = await discover(registered, own)
    for (const list of ['token_endpoint_auth', 'request_object']) {
      assert.ok(config.serverMetadata()[`${list}_signing_alg_values_supported`].includes(alg), list)
    }
    const tokens = await signIn(config, { person })
    assert.equal(tokens.claims().aud, registered.client_id)
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true)
    await client.tokenRevocation(config, tokens.access_token)
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false)
    assert.ok((await client.clientCredentialsGrant(config)).access_token)

    const again = await signIn(config, { person, url: signed(own) })
    assert.equal(again.claims().sub, tokens.claims().sub)
    const stranger = await jose.generateKeyPair(alg)
    const forged = await discover(registered, { key: stranger.privateKey, kid: own.kid })
    await assert.rejects(client.clientCredentialsGrant(forged), { error: 'invalid_client' })
    await assert.rejects(signIn(config, { person, url: signed({ key: stranger.privateKey, kid: own.kid }) }))
  })
}

test('keys at an address are fetched, and a client that signs its requests sends no plain ones', async () => {
  published = { keys: [keys.ES256.jwk] }
  const jwks_uri = `http://127.0.0.1:${host.address().port}/jwks`
  const registered = register({ jwks_uri, require_signed_request_object: true })
  const config = await discover(registered, keys.ES256)
  assert.ok((await signIn(config, { person, url: signed(keys.ES256) })).id_token)
  await assert.rejects(signIn(config, { person }), { error: 'invalid_request' })
  // Beside the old key a new one: it is found because its kid is new.
  published = { keys: [keys.ES256.jwk, keys.Ed25519.jwk] }
  assert.ok((await client.clientCredentialsGrant(config)).access_token)
})
