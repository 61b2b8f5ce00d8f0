// express-openid-connect, unchanged: an Express app whose pages want a person; the code flow with PKCE, the answer in the query or by form_post, and signing out at the provider.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import express from 'express'
import openid from 'express-openid-connect'
import session from 'express-session'
import * as jose from 'jose'

import { Person } from '../support/person.js'
import { serveRelyingParty } from '../support/relying-party.js'
import { ALICE, Server, until } from '../support/server.js'

const { auth, requiresAuth } = openid
let server, alice
const apps = []

before(async () => {
  // The apps' servers are on this machine, too.
  server = await Server.start({ config: '[outbound]\nallow = ["127.0.0.0/8", "::1/128"]\n' })
  alice = server.addUser()
})
after(async () => {
  for (const app of apps) await app.stop()
  await server?.stop()
})

/** The app of its README, for a client of its own. `config` is more of its configuration. */
async function start({ config = {}, metadata = {} } = {}) {
  const app = await serveRelyingParty((home) => {
    const client = server.addClient({
      client_name: 'Express',
      redirect_uris: [`${home}/callback`],
      post_logout_redirect_uris: [home],
      grant_types: ['authorization_code', 'refresh_token'],
      ...(config.backchannelLogout && { backchannel_logout_uri: `${home}/backchannel-logout`, backchannel_logout_session_required: true }),
      ...metadata,
    })
    const handler = express()
    handler.use(
      auth({
        issuerBaseURL: server.issuer,
        baseURL: home,
        clientID: client.client_id,
        clientSecret: client.client_secret,
        secret: 'a secret of the test, which seals its cookies',
        authRequired: false,
        idpLogout: true,
        ...config,
        authorizationParams: { response_type: 'code', scope: 'openid profile email offline_access', ...config.authorizationParams },
      }),
    )
    handler.get('/', (request, response) => response.json({ signedIn: request.oidc.isAuthenticated(), claims: request.oidc.idTokenClaims ?? null }))
    handler.get('/profile', requiresAuth(), async (request, response) => response.json(await request.oidc.fetchUserInfo()))
    handler.get('/refresh', requiresAuth(), async (request, response) => {
      const before = request.oidc.accessToken.access_token
      const { access_token } = await request.oidc.accessToken.refresh()
      response.json({ changed: access_token !== before, claims: request.oidc.idTokenClaims })
    })
    handler.use((error, request, response, _) => response.status(error.status ?? 500).json({ error: error.error, message: error.message }))
    return handler
  })
  apps.push(app)
  return app
}

const read = async (person, url, options = {}) => {
  const page = await person.open(url, options)
  return { ...page, json: page.html && JSON.parse(page.html) }
}

test('a page that wants a person gets one, refreshes, and signs out at the provider', async () => {
  const app = await start()
  const person = new Person(ALICE)
  assert.deepEqual((await read(person, app.home)).json, { signedIn: false, claims: null })
  const profile = await read(person, `${app.home}/profile`)
  assert.equal(profile.url, `${app.home}/profile`)
  assert.deepEqual(person.seen, ['login', 'decision'])
  assert.equal(profile.json.sub, alice.sub)
  assert.equal(profile.json.name, ALICE.name)
  assert.equal(profile.json.email_verified, true)

  const { claims } = (await read(person, app.home)).json
  assert.equal(claims.iss, server.issuer)
  assert.ok(claims.sid)
  const refreshed = (await read(person, `${app.home}/refresh`)).json
  assert.equal(refreshed.changed, true)
  assert.equal(refreshed.claims.sub, claims.sub)

  const out = await read(person, `${app.home}/logout`)
  assert.equal(new URL(out.url).origin, app.home)
  assert.equal(out.json.signedIn, false)
  // Nor is there a session at the provider: the next sign-in asks for the password.
  person.seen = []
  await read(person, `${app.home}/profile`)
  assert.equal(person.seen[0], 'login')
})

test('a silent attempt finds the session of another app, or nobody', async () => {
  const [first, silent] = [await start(), await start({ config: { attemptSilentLogin: true, session: { name: 'silent' }, transactionCookie: { name: 'silent_verification' } } })]
  const person = new Person(ALICE)
  assert.equal((await read(person, silent.home)).json.signedIn, false)
  assert.deepEqual(person.seen, [], 'prompt=none shows no page')
  await read(person, `${first.home}/profile`)
  // The library remembers that it tried; a click is another thing.
  person.jar.delete('skipSilentLogin')
  await read(person, `${silent.home}/login`)
  assert.equal(person.seen.filter((page) => page === 'login').length, 1, 'one password for both apps')
  assert.equal((await read(person, silent.home)).json.signedIn, true)
})

test('a form carries the answer where the app wants form_post', async () => {
  const app = await start({ config: { authorizationParams: { response_mode: 'form_post' } } })
  const person = new Person(ALICE)
  const page = await person.open(`${app.home}/login`, { destination: `${app.home}/callback` })
  assert.ok(page.form, 'the last page is a form for the app')
  assert.deepEqual([...page.form.fields.keys()].sort(), ['code', 'iss', 'state'])
  const home = await person.post(page.form.action, page.form.fields, {})
  assert.equal(JSON.parse(home.html).signedIn, true)
})

test('saying no and a wrong secret are errors of the app', async () => {
  const denied = await read(new Person(ALICE), `${(await start()).home}/login`, { decision: 'deny' })
  assert.equal(denied.status, 400)
  assert.equal(denied.json.error, 'access_denied')
  const wrong = await read(new Person(ALICE), `${(await start({ config: { clientSecret: 'not the secret' } })).home}/login`)
  assert.equal(wrong.status, 400)
  // What openid-client makes of a 401 with a challenge.
  assert.equal(wrong.json.error, 'OAUTH_WWW_AUTHENTICATE_CHALLENGE')
})

test('it proves itself by a key of its own, and signs its requests with it', async () => {
  const { publicKey, privateKey } = await jose.generateKeyPair('ES256', { extractable: true })
  const app = await start({
    config: {
      clientSecret: undefined,
      clientAuthMethod: 'private_key_jwt',
      clientAssertionSigningKey: privateKey,
      requestObjectSigningKey: privateKey,
      requestObjectSigningAlg: 'ES256',
      idTokenSigningAlg: 'ES256',
    },
    metadata: {
      token_endpoint_auth_method: 'private_key_jwt',
      require_signed_request_object: true,
      id_token_signed_response_alg: 'ES256',
      jwks: { keys: [await jose.exportJWK(publicKey)] },
    },
  })
  const person = new Person(ALICE)
  assert.equal((await read(person, `${app.home}/profile`)).json.email, ALICE.email)
  assert.equal((await read(person, `${app.home}/refresh`)).json.changed, true)
})

test('signing out of one app reaches the server of the other', async () => {
  const hears = (alg) => ({
    config: { backchannelLogout: { store: new session.MemoryStore() }, session: { name: alg }, transactionCookie: { name: `${alg}_verification` }, idTokenSigningAlg: alg },
    metadata: { id_token_signed_response_alg: alg },
  })
  const [first, second] = [await start(hears('RS256')), await start(hears('ES256'))]
  const person = new Person(ALICE)
  for (const app of [first, second]) {
    await read(person, `${app.home}/profile`)
    assert.equal((await read(person, app.home)).json.signedIn, true)
  }
  await read(person, `${first.home}/logout`)
  await until('the other app heard of it', async () => !(await read(person, second.home)).json.signedIn, 10)

  // An operator, too: nobody's browser is asked.
  await read(person, `${second.home}/profile`)
  assert.equal((await read(person, second.home)).json.signedIn, true)
  server.command('user', 'sign-out', ALICE.username)
  await until('the app heard of the operator', async () => !(await read(person, second.home)).json.signedIn, 10)
})
