// openid-client, unchanged, registers itself with a key of its own in the place of a secret.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as client from 'openid-client'

import { ALGORITHMS, confidential, insecure, newKey, offline, signIn } from '../support/openid-client.js'
import { Server } from '../support/server.js'

let server

before(async () => {
  server = await Server.start({ config: '[registration]\nmode = "open"\n' })
  server.addUser()
})
after(() => server?.stop())

for (const alg of ALGORITHMS) {
  test(`an app registers itself with a key for ${alg}, and proves itself by it`, async () => {
    const { key, kid, jwk } = await newKey(alg)
    const config = await client.dynamicClientRegistration(new URL(server.issuer), confidential({ jwks: { keys: [jwk] } }), client.PrivateKeyJwt({ key, kid }), insecure)
    const registered = config.clientMetadata()
    assert.deepEqual([registered.client_secret, registered.client_secret_expires_at], [undefined, undefined])
    assert.equal(registered.jwks.keys[0].kid, kid)
    const tokens = await signIn(config, offline)
    assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token)
  })
}
