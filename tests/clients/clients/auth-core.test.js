// @auth/core (what Auth.js and NextAuth are made of), unchanged, with a provider of type "oidc" and nothing but its issuer.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Auth } from '@auth/core'
import * as jose from 'jose'

import { Person } from '../support/person.js'
import { serveRelyingParty } from '../support/relying-party.js'
import { ALICE, Server } from '../support/server.js'

let server, app, alice, heard

before(async () => {
  server = await Server.start()
  alice = server.addUser()
  app = await start()
})
after(async () => {
  await app?.stop()
  await server?.stop()
})

/** `provider` and `metadata` are more of the app's configuration and of its client. */
function start({ provider = {}, metadata = {} } = {}) {
  return serveRelyingParty((home) => {
    const client = server.addClient({ client_name: 'Auth.js', redirect_uris: [`${home}/auth/callback/chancery`], ...metadata })
    return listener(home, {
      basePath: '/auth',
      secret: 'a secret of the test, which seals its cookies',
      trustHost: true,
      debug: true,
      logger: { error: (error) => heard.push(error), warn() {}, debug: (name, what) => name === 'OAuthCallbackError' && heard.push(what) },
      providers: [
        {
          id: 'chancery',
          name: 'Chancery',
          type: 'oidc',
          issuer: server.issuer,
          clientId: client.client_id,
          clientSecret: client.client_secret,
          checks: ['pkce', 'state', 'nonce'],
          // Personal claims are at userinfo.
          idToken: false,
          ...provider,
        },
      ],
      callbacks: {
        jwt: ({ token, account }) => (account ? { ...token, account } : token),
        session: ({ session, token }) => ({ ...session, account: token.account }),
      },
    })
  })
}

/** Auth.js takes and gives what fetch() does. */
const listener = (home, config) => async (request, response) => {
  const body = []
  for await (const part of request) body.push(part)
  const hasBody = request.method === 'POST'
  const answer = await Auth(new Request(home + request.url, { method: request.method, headers: request.headers, ...(hasBody && { body: Buffer.concat(body) }) }), config)
  for (const [name, value] of answer.headers) if (name !== 'set-cookie') response.setHeader(name, value)
  response.setHeader('set-cookie', answer.headers.getSetCookie())
  response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()))
}

/** Auth.js begins a sign-in by the form of its own page. */
async function begin(person, options, { home } = app) {
  heard = []
  const { html } = await person.open(`${home}/auth/signin`, {})
  return person.post(`${home}/auth/signin/chancery`, { csrfToken: /name="csrfToken" value="([^"]+)"/.exec(html)[1], callbackUrl: `${home}/auth/session` }, options)
}

test('saying no ends on its page of errors', async () => {
  const denied = await begin(new Person(ALICE), { decision: 'deny' })
  assert.match(denied.url, /\/auth\/signin\?error=OAuthCallbackError/)
  assert.equal(heard[0].error, 'access_denied')
  assert.equal(heard[0].iss, server.issuer)
})

test('a person signs in with PKCE, state and nonce, and has a session of the app', async () => {
  const person = new Person(ALICE)
  const page = await begin(person, {})
  assert.deepEqual(heard, [])
  assert.deepEqual(person.seen, ['login', 'decision'])
  assert.equal(page.url, `${app.home}/auth/session`)
  const { user, account } = JSON.parse(page.html)
  assert.deepEqual({ name: user.name, email: user.email }, { name: ALICE.name, email: ALICE.email })
  assert.equal(account.providerAccountId, alice.sub)
  assert.equal(account.token_type, 'bearer')
  assert.ok(account.expires_at > Date.now() / 1000)
  assert.ok(account.id_token)
})

test('an answer of another issuer ends on its error page', async () => {
  const person = new Person(ALICE)
  const callback = await begin(person, { destination: `${app.home}/auth/callback` })
  assert.equal(callback.searchParams.get('iss'), server.issuer)
  callback.searchParams.set('iss', 'https://id.example.net')
  const mixed = await person.open(callback, {})
  assert.match(mixed.url, /\/auth\/error/)
  assert.match(String(heard[0].cause.err), /iss/)
})

test('it proves itself by a key of its own', async () => {
  const { publicKey, privateKey } = await jose.generateKeyPair('ES256', { extractable: true })
  const keyed = await start({
    provider: { clientSecret: undefined, client: { token_endpoint_auth_method: 'private_key_jwt' }, token: { clientPrivateKey: privateKey } },
    metadata: { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [await jose.exportJWK(publicKey)] } },
  })
  try {
    const page = await begin(new Person(ALICE), {}, keyed)
    assert.deepEqual(heard, [])
    assert.equal(JSON.parse(page.html).account.providerAccountId, alice.sub)
  } finally {
    await keyed.stop()
  }
})
