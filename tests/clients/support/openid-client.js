// What the tests of openid-client have in common: keys of a client's own, and a whole sign-in.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import * as jose from 'jose'
import * as client from 'openid-client'

import { Person } from './person.js'
import { ALICE } from './server.js'

export const callback = 'https://app.example.com/callback'
export const home = 'https://app.example.com/'
export const insecure = { execute: [client.allowInsecureRequests] }

export const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'Ed25519']

export async function newKey(alg, use = 'sig') {
  const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true, crv: alg === 'ECDH-ES' ? 'P-256' : undefined })
  const kid = randomUUID()
  return { key: privateKey, kid, jwk: { ...(await jose.exportJWK(publicKey)), kid, use, alg } }
}

/** The metadata of a client that proves itself by its keys. */
export const confidential = (more) => ({
  client_name: 'Keys of its own',
  redirect_uris: [callback],
  post_logout_redirect_uris: [home],
  grant_types: ['authorization_code', 'refresh_token'],
  token_endpoint_auth_method: 'private_key_jwt',
  scope: 'openid profile email offline_access',
  ...more,
})

/** What the authorization request of a client holds that wants to go on without the person. */
export const offline = { scope: 'openid email offline_access', prompt: 'consent' }

/** A whole sign-in; `url` makes the authorization request out of its parameters, to which `more` come. */
export async function signIn(config, { url = client.buildAuthorizationUrl, person = new Person(ALICE), ...more } = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const [state, nonce] = [client.randomState(), client.randomNonce()]
  const request = await url(config, {
    redirect_uri: callback,
    scope: 'openid email',
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...more,
  })
  const back = await person.open(request, { destination: callback })
  assert.ok(back instanceof URL, `no redirect to the app: ${JSON.stringify(back.html ?? back)}`)
  return client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true })
}

/** Makes of a request's parameters one signed request object and nothing beside it, for `url` above. */
export const signed = (key) => async (config, parameters) => {
  const url = await client.buildAuthorizationUrlWithJAR(config, parameters, key)
  assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request'])
  return url
}
