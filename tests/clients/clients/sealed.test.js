// openid-client and jose, unchanged, as clients that registered how they want to be told: each algorithm that discovery lists signs, and
// each encryption opens with the client's key.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as jose from 'jose'
import * as client from 'openid-client'

import { Person } from '../support/person.js'
import { callback, newKey, signIn } from '../support/openid-client.js'
import { ALICE, Server } from '../support/server.js'

const kinds = ['id_token', 'userinfo']
let server, person, metadata, keys

before(async () => {
  server = await Server.start()
  server.addUser()
  person = new Person(ALICE)
  metadata = await (await fetch(`${server.issuer}/.well-known/openid-configuration`)).json()
  keys = {}
  for (const alg of ['RSA-OAEP-256', 'ECDH-ES']) keys[alg] = await newKey(alg, 'enc')
})
after(() => server?.stop())

const register = (members) =>
  server.addClient({ client_name: 'Sealed', redirect_uris: [callback], first_party: true, scope: 'openid email', ...members })

async function configure(registered) {
  const authentication = client.ClientSecretBasic(registered.client_secret)
  const options = { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] }
  return client.discovery(new URL(server.issuer), registered.client_id, registered, authentication, options)
}

test('what is offered is what the issue asks for', () => {
  for (const kind of kinds) {
    assert.deepEqual(metadata[`${kind}_signing_alg_values_supported`], ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'])
    assert.deepEqual(metadata[`${kind}_encryption_alg_values_supported`], ['RSA-OAEP-256', 'ECDH-ES'])
    assert.deepEqual(metadata[`${kind}_encryption_enc_values_supported`], ['A128CBC-HS256', 'A128GCM', 'A256GCM'])
  }
})

test('openid-client and jose verify ID tokens and userinfo of each algorithm', async () => {
  for (const alg of metadata.id_token_signing_alg_values_supported) {
    const registered = register({ id_token_signed_response_alg: alg, userinfo_signed_response_alg: alg })
    const config = await configure(registered)
    const tokens = await signIn(config, { person })
    assert.equal(jose.decodeProtectedHeader(tokens.id_token).alg, alg)
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    assert.equal(info.email, ALICE.email, alg)
    assert.equal(info.aud, registered.client_id)

    const ours = jose.createRemoteJWKSet(new URL(metadata.jwks_uri))
    const options = { issuer: server.issuer, audience: registered.client_id, algorithms: [alg], typ: 'JWT' }
    const { payload } = await jose.jwtVerify(tokens.id_token, ours, options)
    // OpenID Connect Core §3.1.3.6; Ed25519 hashes with SHA-512.
    const hash = await crypto.subtle.digest(alg.startsWith('Ed') ? 'SHA-512' : 'SHA-256', new TextEncoder().encode(tokens.access_token))
    assert.equal(payload.at_hash, jose.base64url.encode(new Uint8Array(hash).slice(0, hash.byteLength / 2)), alg)
  }
})

test('openid-client decrypts ID tokens and userinfo, each key management with each encryption', async () => {
  for (const alg of metadata.id_token_encryption_alg_values_supported) {
    for (const enc of metadata.id_token_encryption_enc_values_supported) {
      const how = Object.fromEntries(kinds.flatMap((kind) => [[`${kind}_encrypted_response_alg`, alg], [`${kind}_encrypted_response_enc`, enc]]))
      const registered = register({ ...how, jwks: { keys: [keys[alg].jwk] }, userinfo_signed_response_alg: 'ES256' })
      const config = await configure(registered)
      client.enableDecryptingResponses(config, [enc], { key: keys[alg].key, kid: keys[alg].kid })
      const tokens = await signIn(config, { person })
      const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
      assert.equal(info.email, ALICE.email, `${alg} ${enc}`)
    }
  }
})

test('jose decrypts claims that are encrypted and not signed', async () => {
  for (const alg of metadata.userinfo_encryption_alg_values_supported) {
    // Without enc: the default of OpenID Connect Registration §2.
    const registered = register({ userinfo_encrypted_response_alg: alg, jwks: { keys: Object.values(keys).map(({ jwk }) => jwk) } })
    assert.equal(registered.userinfo_encrypted_response_enc, 'A128CBC-HS256')
    const tokens = await signIn(await configure(registered), { person })
    const answer = await fetch(metadata.userinfo_endpoint, { headers: { authorization: `Bearer ${tokens.access_token}` } })
    assert.equal(answer.headers.get('content-type'), 'application/jwt')
    const { payload, protectedHeader } = await jose.jwtDecrypt(await answer.text(), keys[alg].key, {
      issuer: server.issuer,
      audience: registered.client_id,
      keyManagementAlgorithms: [alg],
      contentEncryptionAlgorithms: ['A128CBC-HS256'],
    })
    assert.equal(protectedHeader.kid, keys[alg].kid)
    assert.equal(payload.email, ALICE.email)
    const other = keys[alg === 'ECDH-ES' ? 'RSA-OAEP-256' : 'ECDH-ES'].key
    await assert.rejects(jose.jwtDecrypt(tokens.id_token, other), 'the ID token is signed alone')
  }
})

test('what is not offered is refused at registration', () => {
  const jwks = { keys: Object.values(keys).map(({ jwk }) => jwk) }
  for (const kind of kinds) {
    for (const alg of ['none', 'HS256', 'RS384', 'ES512', 'Ed448']) assert.throws(() => register({ [`${kind}_signed_response_alg`]: alg }), /signed_response_alg/)
    for (const alg of ['RSA1_5', 'RSA-OAEP', 'ECDH-ES+A128KW', 'dir']) assert.throws(() => register({ jwks, [`${kind}_encrypted_response_alg`]: alg }), /encrypted_response_alg/)
    const enc = { [`${kind}_encrypted_response_enc`]: 'A192GCM', [`${kind}_encrypted_response_alg`]: 'ECDH-ES' }
    assert.throws(() => register({ jwks, ...enc }), /encrypted_response_enc/)
    assert.throws(() => register({ [`${kind}_encrypted_response_alg`]: 'ECDH-ES' }), /encrypted_response_alg/)
  }
})
