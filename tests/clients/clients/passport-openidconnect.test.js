// passport-openidconnect, unchanged, in an Express app as its README sets one up. It knows no PKCE and no discovery, and sends its secret in the body.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import express from 'express'
import session from 'express-session'
import passport from 'passport'
import OpenIDConnectStrategy from 'passport-openidconnect'

import { Person } from '../support/person.js'
import { serveRelyingParty } from '../support/relying-party.js'
import { ALICE, Server } from '../support/server.js'

let server, app, alice

before(async () => {
  server = await Server.start()
  alice = server.addUser()
  app = await serveRelyingParty((home) => {
    const client = server.addClient({
      client_name: 'Passport',
      redirect_uris: [`${home}/callback`],
      token_endpoint_auth_method: 'client_secret_post',
      require_pkce: false,
    })
    return application(home, client)
  })
})
after(async () => {
  await app?.stop()
  await server?.stop()
})

function application(home, { client_id, client_secret }) {
  passport.use(
    new OpenIDConnectStrategy(
      {
        issuer: server.issuer,
        authorizationURL: `${server.issuer}/authorize`,
        tokenURL: `${server.issuer}/token`,
        userInfoURL: `${server.issuer}/userinfo`,
        clientID: client_id,
        clientSecret: client_secret,
        callbackURL: `${home}/callback`,
        scope: ['profile', 'email'],
        nonce: true,
        maxAge: 3600,
        loginHint: ALICE.username,
      },
      // With nine arguments it asks userinfo as well.
      (issuer, userInfo, profile, context, idToken, accessToken, refreshToken, params, done) => done(null, { issuer, userInfo, profile, context, params }),
    ),
  )
  passport.serializeUser((user, done) => done(null, user))
  passport.deserializeUser((user, done) => done(null, user))

  const web = express()
  web.use(session({ secret: 'a test', resave: false, saveUninitialized: false }))
  web.use(passport.session())
  web.get('/login', passport.authenticate('openidconnect'))
  web.get('/callback', passport.authenticate('openidconnect', { failureRedirect: '/no', successRedirect: '/' }))
  web.get('/no', (request, response) => response.status(403).send('not signed in'))
  web.get('/', (request, response) => response.json(request.user ?? null))
  web.use((error, request, response, _) => response.status(500).json({ message: error.message, code: error.code }))
  return web
}

test('saying no signs nobody in', async () => {
  const denied = await new Person(ALICE).open(`${app.home}/login`, { decision: 'deny' })
  assert.equal(denied.status, 403)
  assert.equal(denied.url, `${app.home}/no`)
})

test('a person signs in, and the app reads the ID token and userinfo', async () => {
  const person = new Person(ALICE)
  const page = await person.open(`${app.home}/login`, {})
  assert.deepEqual(person.seen, ['login', 'decision'])
  assert.equal(page.url, `${app.home}/`)
  const user = JSON.parse(page.html)
  assert.equal(user.issuer, server.issuer)
  assert.equal(user.profile.id, alice.sub)
  assert.equal(user.userInfo.id, user.profile.id)
  assert.equal(user.userInfo.displayName, ALICE.name)
  assert.deepEqual(user.userInfo.name, { familyName: ALICE.family_name, givenName: ALICE.given_name })
  assert.deepEqual(user.userInfo.emails, [{ value: ALICE.email }])
  assert.ok(Math.abs(Date.parse(user.context.timestamp) - Date.now()) < 60_000, 'auth_time')
  assert.equal(user.params.token_type, 'Bearer')
})

test('a foreign state and a code that came twice sign nobody in', async () => {
  const person = new Person(ALICE)
  const callback = await person.open(`${app.home}/login`, { destination: `${app.home}/callback` })
  const other = new Person(ALICE)
  assert.equal((await other.open(callback, {})).status, 403, 'the state belongs to another browser')
  // The first browser's next attempt has a fresh state; the code is what it has brought before.
  assert.equal((await person.open(callback, {})).status, 200)
  const begun = await person.open(`${app.home}/login`, { destination: `${server.issuer}/authorize` })
  callback.searchParams.set('state', begun.searchParams.get('state'))
  const again = await person.open(callback, {})
  assert.equal(again.status, 500)
  assert.equal(JSON.parse(again.html).code, 'invalid_grant')
})
