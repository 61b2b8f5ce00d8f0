// A web app that lets people sign in through Chancery. npm install openid-client@6, then: node first-client.mjs
import { createServer } from 'node:http'
import * as oidc from 'openid-client'

const issuer = new URL(process.env.ISSUER ?? 'http://localhost:8080')
const port = Number(process.env.PORT ?? 3000)
const redirectUri = `http://localhost:${port}/callback`

const config = await oidc.discovery(issuer, process.env.CLIENT_ID, process.env.CLIENT_SECRET, undefined, {
  execute: issuer.protocol === 'http:' ? [oidc.allowInsecureRequests] : [], // plain http is for your own machine only
})
const pending = new Map() // one entry for each sign-in under way: state -> what belongs to it

createServer(async (request, response) => {
  const url = new URL(request.url, redirectUri)
  try {
    if (url.pathname === '/') {
      const verifier = oidc.randomPKCECodeVerifier()
      const state = oidc.randomState()
      const nonce = oidc.randomNonce()
      pending.set(state, { verifier, nonce })
      const target = oidc.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: 'openid profile email',
        code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
        state,
        nonce,
      })
      response.writeHead(303, { location: target.href }).end()
    } else if (url.pathname === '/callback') {
      const state = url.searchParams.get('state')
      const { verifier, nonce } = pending.get(state) ?? {}
      pending.delete(state)
      const tokens = await oidc.authorizationCodeGrant(config, url, {
        pkceCodeVerifier: verifier,
        expectedState: state,
        expectedNonce: nonce,
      })
      const person = await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
      response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end(`Hello, ${person.name ?? person.sub}!`)
    } else {
      response.writeHead(404).end()
    }
  } catch (error) {
    response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' }).end(`Sign-in failed: ${error.message}`)
  }
}).listen(port, () => console.log(`open http://localhost:${port}/`))
