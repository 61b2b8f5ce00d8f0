// openid-client, unchanged, as an app without any shared secret: it proves who it is by its own keys.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'

import { ALGORITHMS, configure, confidential, newKey, newKeys, signIn } from '../support/openid-client.js'
import { serveRelyingParty } from '../support/relying-party.js'
import { Server } from '../support/server.js'

let server, metadata, keys

before(async () => {
  server = await Server.start({ config: '[outbound]\nallow = ["127.0.0.0/8", "::1/128"]\n' })
  server.addUser()
  metadata = await (await fetch(`${server.issuer}/.well-known/openid-configuration`)).json()
  keys = await newKeys()
})
after(() => server?.stop())

test('each algorithm proves the client at the token, introspection and revocation endpoints', async () => {
  for (const endpoint of ['token', 'introspection', 'revocation']) {
    assert.ok(metadata[`${endpoint}_endpoint_auth_methods_supported`].includes('private_key_jwt'), endpoint)
    const offered = metadata[`${endpoint}_endpoint_auth_signing_alg_values_supported`]
    for (const alg of [...ALGORITHMS, 'EdDSA']) assert.ok(offered.includes(alg), `${endpoint}: ${alg}`)
  }
  for (const alg of ALGORITHMS) {
    const registered = server.addClient(confidential({ token_endpoint_auth_signing_alg: alg, jwks: { keys: [keys[alg].jwk] } }))
    assert.equal(registered.client_secret, undefined)
    const config = await configure(server, registered, client.PrivateKeyJwt(keys[alg]))
    const tokens = await signIn(config)
    const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
    assert.equal((await client.tokenIntrospection(config, renewed.access_token)).active, true, alg)
    await client.tokenRevocation(config, renewed.refresh_token)
    assert.deepEqual(await client.tokenIntrospection(config, renewed.access_token), { active: false }, alg)

    const strange = await configure(server, registered, client.PrivateKeyJwt({ key: (await newKey(alg)).key, kid: keys[alg].kid }))
    await assert.rejects(client.refreshTokenGrant(strange, tokens.refresh_token), { error: 'invalid_client' }, alg)
  }
})

test('a client publishes its keys, the next one before it is used', async () => {
  const [now, next, hidden] = [keys.ES256, await newKey('RS256'), await newKey('ES256')]
  const jwks = JSON.stringify({ keys: [now.jwk, next.jwk] })
  const app = await serveRelyingParty(() => (_, response) => response.writeHead(200, { 'content-type': 'application/jwk-set+json' }).end(jwks))
  try {
    const registered = server.addClient(confidential({ jwks_uri: `${app.home}/jwks` }))
    const tokens = await signIn(await configure(server, registered, client.PrivateKeyJwt(now)))
    const renewed = await client.refreshTokenGrant(await configure(server, registered, client.PrivateKeyJwt(next)), tokens.refresh_token)
    assert.ok(renewed.access_token)
    await assert.rejects(client.refreshTokenGrant(await configure(server, registered, client.PrivateKeyJwt(hidden)), renewed.refresh_token), { error: 'invalid_client' })
  } finally {
    await app.stop()
  }
})
