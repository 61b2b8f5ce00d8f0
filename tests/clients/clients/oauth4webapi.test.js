// oauth4webapi, unchanged: the strictest reader of answers that the field has. A public client, and an issuer with a path.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'

import { Person } from '../support/person.js'
import { ALICE, Server } from '../support/server.js'

const callback = 'https://spa.example.com/callback'
const home = 'https://spa.example.com/'
const insecure = { [oauth.allowInsecureRequests]: true }
let server, client, web, secret, as

before(async () => {
  server = await Server.start({ issuerPath: '/id' })
  server.addUser()
  server.addResource({ identifier: 'https://api.example.com', name: 'Orders', scopes: [{ name: 'orders:read', description: 'Read your orders' }] })
  client = server.addClient({
    client_name: 'Single page',
    redirect_uris: [callback],
    post_logout_redirect_uris: [home],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
    scope: 'openid profile email offline_access orders:read',
  })
  web = server.addClient({
    client_name: 'Back end',
    redirect_uris: [callback],
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    introspection: 'any',
  })
  secret = oauth.ClientSecretBasic(web.client_secret)
})
after(() => server?.stop())

async function discover(algorithm) {
  const issuer = new URL(server.issuer)
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...insecure }))
}

async function signIn(who, authentication, extra = {}) {
  as ??= await discover('oidc')
  const verifier = oauth.generateRandomCodeVerifier()
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
  const url = new URL(as.authorization_endpoint)
  const query = {
    client_id: who.client_id,
    redirect_uri: callback,
    response_type: 'code',
    scope: 'openid email offline_access',
    prompt: 'consent',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...extra,
  }
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  const person = new Person(ALICE)
  const back = await person.open(url, { destination: callback })
  assert.ok(back instanceof URL, `no redirect to the app: ${JSON.stringify(back.html ?? back)}`)
  const params = oauth.validateAuthResponse(as, who, back, state)
  const response = await oauth.authorizationCodeGrantRequest(as, who, authentication, params, callback, verifier, insecure)
  const tokens = await oauth.processAuthorizationCodeResponse(as, who, response, { expectedNonce: nonce, requireIdToken: true })
  await oauth.validateApplicationLevelSignature(as, response, insecure)
  return { tokens, person }
}

test('both discovery documents describe the same server', async () => {
  const [oidc, plain] = [await discover('oidc'), await discover('oauth2')]
  assert.equal(oidc.issuer, server.issuer)
  assert.equal(plain.issuer, server.issuer)
  assert.equal(oidc.token_endpoint, plain.token_endpoint)
  assert.equal(oidc.authorization_response_iss_parameter_supported, true)
  assert.deepEqual(oidc.code_challenge_methods_supported, ['S256'])
  for (const value of Object.values(oidc)) assert.notEqual(value, null)
})

test('a public client signs a person in, refreshes, reads userinfo and revokes', async () => {
  const { tokens } = await signIn(client, oauth.None())
  const claims = oauth.getValidatedIdTokenClaims(tokens)
  assert.equal(claims.aud, client.client_id)

  const info = await oauth.processUserInfoResponse(as, client, claims.sub, await oauth.userInfoRequest(as, client, tokens.access_token, insecure))
  assert.equal(info.email, ALICE.email)
  assert.equal(info.name, undefined, 'profile was not granted')

  const response = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), tokens.refresh_token, insecure)
  const renewed = await oauth.processRefreshTokenResponse(as, client, response)
  assert.equal(oauth.getValidatedIdTokenClaims(renewed).sub, claims.sub)

  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, oauth.None(), renewed.refresh_token, insecure))
  const dead = await oauth.refreshTokenGrantRequest(as, client, oauth.None(), renewed.refresh_token, insecure)
  await assert.rejects(oauth.processRefreshTokenResponse(as, client, dead), { error: 'invalid_grant', status: 400 })
})

test('an API validates a JWT access token of RFC 9068 offline', async () => {
  const { tokens } = await signIn(client, oauth.None(), { scope: 'openid orders:read', resource: 'https://api.example.com' })
  const request = new Request('https://api.example.com/orders', { headers: { authorization: `Bearer ${tokens.access_token}` } })
  const claims = await oauth.validateJwtAccessToken(as, request, 'https://api.example.com', insecure)
  assert.equal(claims.client_id, client.client_id)
  assert.match(claims.scope, /(^| )orders:read( |$)/)

  const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri))
  const options = { issuer: server.issuer, audience: 'https://api.example.com', typ: 'at+jwt', requiredClaims: ['exp', 'iat', 'jti', 'sub', 'client_id'] }
  const { protectedHeader } = await jose.jwtVerify(tokens.access_token, keys, options)
  assert.equal(protectedHeader.alg, 'RS256')
  assert.ok(protectedHeader.kid)
  await assert.rejects(jose.jwtVerify(tokens.id_token, keys, options), 'an ID token is not an access token')
})

test('a confidential client authenticates, and introspects what a resource server received', async () => {
  const { tokens } = await signIn(web, secret)
  const introspect = async (token) =>
    oauth.processIntrospectionResponse(as, web, await oauth.introspectionRequest(as, web, secret, token, insecure))
  const answer = await introspect(tokens.access_token)
  assert.equal(answer.active, true)
  assert.equal(answer.client_id, web.client_id)
  assert.equal(answer.iss, server.issuer)
  assert.equal(answer.token_type?.toLowerCase(), 'bearer')

  const machine = await oauth.processClientCredentialsResponse(as, web, await oauth.clientCredentialsGrantRequest(as, web, secret, {}, insecure))
  assert.equal(machine.refresh_token, undefined)
  assert.equal((await introspect(machine.access_token)).active, true)
  assert.deepEqual(await introspect('no token of this server'), { active: false })
})

test('a wrong secret is answered with a Basic challenge', async () => {
  as ??= await discover('oidc')
  const response = await oauth.clientCredentialsGrantRequest(as, web, oauth.ClientSecretBasic('wrong'), {}, insecure)
  assert.equal(response.status, 401)
  assert.match(response.headers.get('www-authenticate'), /^Basic /)
  assert.match(response.headers.get('chancery-trace-id'), /^[0-9a-f]{32}$/)
})

test('end session with a hint comes back to the app', async () => {
  const { tokens, person } = await signIn(client, oauth.None())
  const url = new URL(as.end_session_endpoint)
  url.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: home, state: 'x y' })
  const back = await person.open(url, { destination: home })
  assert.equal(back.searchParams.get('state'), 'x y')
})
