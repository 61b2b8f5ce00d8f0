// node-oidc-provider, set up so that it does what is measured: one process, PostgreSQL behind it, people who sign in without pages.
// Says where it listens, and ends when its standard input closes.
//
//   node server.mjs postgres://… < a pipe

import Provider from 'oidc-provider'
import { createServer } from 'node:http'
import { adapter, migrate } from './postgres.mjs'

// What the library has to say would end up where nobody reads.
console.info = console.warn = () => {}

const [database, secret, redirectUri, port] = process.argv.slice(2)
await migrate(database)

const client = (client_id, more) => ({ client_id, client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', ...more })
const machine = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }
const JWT = 'https://jwt.example'

const { privateKey } = await crypto.subtle
  .generateKey({ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }, true, ['sign'])
  .then(async (pair) => ({ privateKey: await crypto.subtle.exportKey('jwk', pair.privateKey) }))

const issuer = `http://localhost:${port}`
const provider = new Provider(issuer, {
  adapter: adapter(database),
  jwks: { keys: [{ kty: 'RSA', use: 'sig', alg: 'RS256', kid: 'bench', n: privateKey.n, e: privateKey.e, d: privateKey.d, p: privateKey.p, q: privateKey.q, dp: privateKey.dp, dq: privateKey.dq, qi: privateKey.qi }] },
  clients: [
    client('app', { redirect_uris: [redirectUri], grant_types: ['authorization_code', 'refresh_token'] }),
    client('machine', machine),
    client('machine-opaque', machine),
  ],
  claims: { openid: ['sub'], profile: ['preferred_username', 'updated_at'], email: ['email', 'email_verified'] },
  scopes: ['openid', 'offline_access'],
  cookies: { keys: ['a key of a benchmark'] },
  routes: {
    authorization: '/authorize',
    introspection: '/introspect',
    revocation: '/revoke',
    userinfo: '/userinfo',
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx) => (ctx.oidc.client?.clientId === 'machine' ? JWT : undefined),
      getResourceServerInfo: () => ({ scope: '', audience: JWT, accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } }),
    },
  },
  ttl: { AccessToken: 600, ClientCredentials: 600, AuthorizationCode: 60, IdToken: 600, RefreshToken: 30 * 86400, Grant: 180 * 86400, Session: 7 * 86400, Interaction: 600 },
  // As at Chancery: a refresh token for every grant, outliving the session, another one each time.
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: () => false,
  rotateRefreshToken: true,
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id, email: `${id}@example.com`, email_verified: true }) }),
  // A first-party app: nobody is asked.
  async loadExistingGrant(ctx) {
    const { session, client } = ctx.oidc
    const known = session.grantIdFor(client.clientId)
    if (known) return provider.Grant.find(known)
    const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId })
    grant.addOIDCScope('openid profile email offline_access')
    await grant.save()
    return grant
  },
  interactions: { url: (ctx, interaction) => `/sign-in/${interaction.uid}` },
})

// Whoever is named by login_hint is signed in at once: the sign-in itself is not measured.
const handle = provider.callback()
createServer(async (request, response) => {
  if (!request.url.startsWith('/sign-in/')) return handle(request, response)
  const { params } = await provider.interactionDetails(request, response)
  await provider.interactionFinished(request, response, { login: { accountId: params.login_hint } })
}).listen(Number(port), '127.0.0.1', () => console.log('ready'))

process.stdin.resume().on('end', () => process.exit(0))
