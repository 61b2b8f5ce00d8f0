// A web application that signs people in through Chancery, with openid-client (npm install openid-client).
import { createServer } from 'node:http'
import { randomUUID } from 'node:crypto'
import * as client from 'openid-client'

const { ISSUER, CLIENT_ID, CLIENT_SECRET, PORT = '3000' } = process.env
const home = `http://localhost:${PORT}`
const insecure = ISSUER.startsWith('http://') ? [client.allowInsecureRequests] : [] // http on your own machine only
const config = await client.discovery(new URL(ISSUER), CLIENT_ID, undefined, client.ClientSecretBasic(CLIENT_SECRET), { execute: insecure })
const sessions = new Map()

createServer(async (request, response) => {
  const url = new URL(request.url, home)
  const id = /\bsid=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1]
  const session = sessions.get(id)
  try {
    if (url.pathname === '/callback' && session) {
      const tokens = await client.authorizationCodeGrant(config, url, session)
      const person = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
      sessions.set(id, { person, idToken: tokens.id_token })
      response.writeHead(303, { location: '/' }).end()
    } else if (url.pathname === '/login') {
      const fresh = randomUUID()
      const begun = { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: client.randomState(), expectedNonce: client.randomNonce() }
      sessions.set(fresh, begun)
      const location = client.buildAuthorizationUrl(config, {
        redirect_uri: `${home}/callback`,
        scope: 'openid profile email',
        code_challenge: await client.calculatePKCECodeChallenge(begun.pkceCodeVerifier),
        code_challenge_method: 'S256',
        state: begun.expectedState,
        nonce: begun.expectedNonce,
      })
      response.writeHead(303, { location: location.href, 'set-cookie': `sid=${fresh}; HttpOnly; SameSite=Lax; Path=/` }).end()
    } else if (url.pathname === '/logout' && session?.person) {
      sessions.delete(id)
      const location = client.buildEndSessionUrl(config, { id_token_hint: session.idToken, post_logout_redirect_uri: `${home}/` })
      response.writeHead(303, { location: location.href }).end()
    } else {
      const who = session?.person ? `Hello, ${session.person.name ?? session.person.sub}. Sign out at ${home}/logout` : `Sign in at ${home}/login`
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end(who)
    }
  } catch (error) {
    response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' }).end(`${error.error ?? error.message} ${error.error_description ?? ''}`)
  }
}).listen(Number(PORT), 'localhost', () => console.log(`listening on ${home}`))
