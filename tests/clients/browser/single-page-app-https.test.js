// oidc-client-ts, unchanged, as in production: https, and a server under the app's own domain or under another one. What a browser lets an app
// do in the background depends on that: a hidden frame takes the session along under the same site only, a refresh token works everywhere.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'

import { complaints, launch, logIn } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'
import { proxyTo, serveTls } from '../support/tls.js'

const library = readFileSync(new URL('../node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js', import.meta.url))
const issuer = 'https://id.example.com'
const [sameSite, otherSite, stranger] = ['https://shop.example.com', 'https://shop.example.net', 'https://stranger.example.org']
// Long enough for a slow machine to use one, short enough to see the next.
const ACCESS_TOKEN = 5
let server, tls, browser, framed, refreshing

const html = (client) => `<!doctype html><html lang="en"><title>Shop</title><h1>Shop</h1>
<script src="/oidc-client-ts.js"></script>
<script>
  window.manager = new oidc.UserManager({
    authority: ${JSON.stringify(issuer)},
    client_id: ${JSON.stringify(client.client_id)},
    redirect_uri: location.origin + '/callback',
    silent_redirect_uri: location.origin + '/silent',
    popup_redirect_uri: location.origin + '/popup',
    post_logout_redirect_uri: location.origin + '/bye',
    scope: 'openid email',
    loadUserInfo: true,
    automaticSilentRenew: false,
    accessTokenExpiringNotificationTimeInSeconds: ${ACCESS_TOKEN - 2},
    userStore: new oidc.WebStorageStateStore({ store: localStorage }),
  })
  const shown = (user) => user && { sub: user.profile.sub, sid: user.profile.sid, email: user.profile.email, token: user.access_token, refresh: user.refresh_token ?? null }
  const told = (promise) => promise.then(shown, (error) => ({ failed: error.error ?? String(error) }))
  const start = {
    '/callback': () => manager.signinCallback(),
    '/silent': () => manager.signinCallback(),
    '/popup': () => manager.signinCallback(),
    '/bye': () => manager.signoutCallback(),
  }[location.pathname]
  window.ready = Promise.resolve(start?.()).then(() => manager.getUser()).then(shown)
  window.user = () => manager.getUser().then(shown)
  window.renew = () => told(manager.signinSilent())
  window.popup = () => told(manager.signinPopup())
  window.call = async (path, options) => {
    try {
      const answer = await fetch(${JSON.stringify(issuer)} + path, options)
      return { status: answer.status, challenge: answer.headers.get('www-authenticate'), trace: answer.headers.get('chancery-trace-id'), body: await answer.text() }
    } catch {
      return 'blocked'
    }
  }
</script></html>`

const app = (client) => (request, response) => {
  if (request.url === '/oidc-client-ts.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(library)
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(html(client()))
}

before(async () => {
  tls = await serveTls({
    'id.example.com': proxyTo(() => server.origin),
    'shop.example.com': app(() => framed),
    'shop.example.net': app(() => refreshing),
    'stranger.example.org': app(() => refreshing),
  })
  server = await Server.start({ issuer, config: `[proxies]\ntrusted = ["127.0.0.1"]\n[lifetimes]\naccess_token = "${ACCESS_TOKEN}s"\n` })
  server.addUser()
  const register = (origin, grants) =>
    server.addClient({
      client_name: 'Shop',
      redirect_uris: ['/callback', '/silent', '/popup'].map((path) => origin + path),
      post_logout_redirect_uris: [`${origin}/bye`],
      grant_types: ['authorization_code', ...grants],
      token_endpoint_auth_method: 'none',
    })
  framed = register(sameSite, [])
  refreshing = register(otherSite, ['refresh_token'])
  const hosts = [issuer, sameSite, otherSite, stranger].map((origin) => [new URL(origin).host, tls.port])
  browser = await launch({ hosts: Object.fromEntries(hosts) })
})
after(async () => {
  await browser?.close()
  await tls?.stop()
  await server?.stop()
})

/** Says yes, unless the server remembers that from the test before, and waits for `destination`. */
async function allow(page, destination) {
  const button = page.locator('button[name=decision][value=allow]')
  const asked = await Promise.race([button.waitFor().then(() => true), page.waitForURL(destination).then(() => false)])
  if (asked) await Promise.all([page.waitForURL(destination), button.click()])
}

async function signIn(origin) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  const page = await context.newPage()
  const heard = complaints(page)
  await page.goto(origin)
  await page.evaluate(() => void window.manager.signinRedirect())
  await page.waitForURL(`${issuer}/**`)
  await logIn(page, ALICE)
  await allow(page, `${origin}/callback**`)
  const user = await page.evaluate(() => window.ready)
  assert.equal(user.email, ALICE.email)
  return { context, page, user, heard }
}

test('under the same site a hidden frame renews, until the person signs out', async () => {
  const { context, page, user, heard } = await signIn(sameSite)
  assert.equal(user.refresh, null)
  const renewed = await page.evaluate(() => window.renew())
  assert.deepEqual({ ...renewed, token: null }, { ...user, token: null })
  assert.notEqual(renewed.token, user.token)
  const cookies = await context.cookies(issuer)
  assert.ok(cookies.length > 0 && cookies.every(({ name, secure, httpOnly, sameSite }) => name.startsWith('__Host-') && secure && httpOnly && sameSite === 'Lax'), JSON.stringify(cookies))

  await page.evaluate(() => void window.manager.signoutRedirect())
  await page.waitForURL(`${sameSite}/bye**`)
  assert.equal(await page.evaluate(() => window.ready), null)
  assert.deepEqual(await page.evaluate(() => window.renew()), { failed: 'login_required' })
  assert.deepEqual(heard, [])
  await context.close()
})

test('under another site the frame finds nobody, and the refresh token renews by itself before the access token ends', async () => {
  const { context, page, user, heard } = await signIn(otherSite)
  assert.ok(user.refresh)
  const silent = await page.evaluate(async () => {
    const { refresh_token: _, ...bare } = JSON.parse(JSON.stringify(await window.manager.getUser()))
    const kept = await window.manager.getUser()
    await window.manager.storeUser(new window.oidc.User(bare))
    const told = await window.renew()
    await window.manager.storeUser(kept)
    return told
  })
  assert.deepEqual(silent, { failed: 'login_required' })

  // The library's own timer, and no call of the test.
  const renewed = await page.evaluate(
    () =>
      new Promise((resolve) => {
        window.manager.events.addUserLoaded((user) => resolve({ sub: user.profile.sub, token: user.access_token }))
        window.manager.events.addSilentRenewError((error) => resolve({ failed: String(error) }))
        window.manager.startSilentRenew()
      }),
  )
  assert.equal(renewed.sub, user.sub)
  assert.notEqual(renewed.token, user.token)
  assert.deepEqual(heard, [])
  await context.close()
})

test('a popup signs in and hands over to the page that opened it', async () => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  const page = await context.newPage()
  await page.goto(otherSite)
  const [popup, signedIn] = [page.waitForEvent('popup'), page.evaluate(() => window.popup())]
  const opened = await popup
  await opened.waitForURL(`${issuer}/**`)
  const closed = opened.waitForEvent('close')
  await logIn(opened, ALICE)
  const button = opened.locator('button[name=decision][value=allow]')
  await Promise.race([closed, button.waitFor().then(() => button.click())])
  assert.equal((await signedIn).email, ALICE.email)
  await closed
  await context.close()
})

test('scripts of registered origins may read the token endpoint, userinfo and revocation; strangers only what is public', async () => {
  const { context, page, user } = await signIn(otherSite)
  const bearer = (token) => ({ headers: { authorization: `Bearer ${token}` } })
  const form = (fields) => ({ method: 'POST', body: new URLSearchParams(fields).toString(), headers: { 'content-type': 'application/x-www-form-urlencoded' } })
  const call = (from, path, options) => from.evaluate(([path, options]) => window.call(path, options), [path, options])

  const other = await context.newPage()
  await other.goto(stranger)
  for (const path of ['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server', '/jwks']) {
    assert.equal((await call(other, path, { headers: { 'content-type': 'application/json' } })).status, 200, path)
  }
  for (const [path, options] of [
    ['/userinfo', bearer(user.token)],
    ['/token', form({ grant_type: 'refresh_token' })],
    ['/revoke', form({ token: 'x' })],
    ['/authorize', {}],
    ['/login', {}],
    ['/introspect', form({ token: 'x' })],
  ]) {
    assert.equal(await call(other, path, options), 'blocked', path)
  }

  assert.equal((await call(page, '/userinfo', bearer(user.token))).status, 200)
  const refused = await call(page, '/token', form({ grant_type: 'refresh_token', refresh_token: 'x', client_id: refreshing.client_id }))
  assert.equal(refused.status, 400)
  assert.match(refused.trace, /^[0-9a-f]{32}$/)
  // The library revokes what it has, and then the token is worth nothing.
  await page.evaluate(() => window.manager.revokeTokens(['access_token', 'refresh_token']))
  const over = await call(page, '/userinfo', bearer(user.token))
  assert.equal(over.status, 401)
  assert.match(over.challenge, /error="invalid_token"/)
  assert.equal(await call(page, '/introspect', form({ token: user.token })), 'blocked', 'for servers')
  await context.close()
})
