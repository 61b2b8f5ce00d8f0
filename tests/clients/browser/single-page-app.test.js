// A page on another origin with oidc-client-ts, unchanged: signs in, renews and signs out.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'

import { complaints, launch, logIn, serveApp } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

// The build for a script tag is no entry point of the package.
const library = readFileSync(new URL('../node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js', import.meta.url))
let server, app, browser, client

const html = () => `<!doctype html><html lang="en"><title>Shop</title><h1>Shop</h1><pre id="state">loading</pre>
<script src="/oidc-client-ts.js"></script>
<script>
  const show = (value) => { document.getElementById('state').textContent = JSON.stringify(value) }
  const shown = (user) => show(user && { sub: user.profile.sub, sid: user.profile.sid, email: user.profile.email, token: user.access_token, refresh: user.refresh_token, expires_at: user.expires_at })
  window.manager = new oidc.UserManager({
    authority: ${JSON.stringify(server.issuer)},
    client_id: ${JSON.stringify(client.client_id)},
    redirect_uri: location.origin + '/callback',
    post_logout_redirect_uri: location.origin + '/bye',
    scope: 'openid email',
    loadUserInfo: true,
    automaticSilentRenew: false,
    userStore: new oidc.WebStorageStateStore({ store: localStorage }),
  })
  const start = { '/callback': () => manager.signinCallback().then(() => history.replaceState(null, '', '/')), '/bye': () => manager.signoutCallback() }[location.pathname]
  window.ready = Promise.resolve(start?.()).then(() => manager.getUser()).then(shown, (error) => show({ failed: String(error) }))
  window.renew = () => manager.signinSilent().then(shown, (error) => show({ failed: String(error) }))
</script></html>`

before(async () => {
  server = await Server.start()
  server.addUser()
  app = await serveApp((request, response) => {
    if (request.url === '/oidc-client-ts.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(library)
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(html())
  })
  client = server.addClient({
    client_name: 'Shop',
    redirect_uris: [`${app.origin}/callback`],
    post_logout_redirect_uris: [`${app.origin}/bye`],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'none',
  })
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await app?.stop()
  await server?.stop()
})

async function state(page) {
  await page.waitForFunction(() => document.getElementById('state')?.textContent !== 'loading')
  return JSON.parse(await page.locator('#state').textContent())
}

test('the page signs in, renews in the background and signs out', async () => {
  const context = await browser.newContext()
  const page = await context.newPage()
  const heard = complaints(page)
  await page.goto(app.origin)
  assert.equal(await state(page), null)

  await page.evaluate(() => void window.manager.signinRedirect())
  await page.waitForURL(`${server.origin}/**`)
  await logIn(page, ALICE)
  // The redirect to another origin follows the POST of this form: Chromium's form-action rule applies to it.
  await page.locator('button[name=decision][value=allow]').click()
  await page.waitForURL(`${app.origin}/**`)
  const user = await state(page)
  assert.equal(user.email, ALICE.email)
  assert.ok(user.refresh)

  await page.evaluate(() => window.renew())
  const renewed = await state(page)
  assert.equal(renewed.sub, user.sub)
  assert.equal(renewed.sid, user.sid)
  assert.notEqual(renewed.token, user.token)

  await page.evaluate(() => void window.manager.signoutRedirect())
  await page.waitForURL(`${app.origin}/bye**`)
  assert.equal(await state(page), null)
  assert.deepEqual(heard, [])

  // The session is gone: signing in again asks for the password.
  await page.evaluate(() => void window.manager.signinRedirect())
  await page.waitForURL(`${server.origin}/**`)
  await page.locator('input[name=password]').waitFor()
  await context.close()
})

test('two tabs that renew at the same moment both stay signed in', async () => {
  const context = await browser.newContext()
  const first = await context.newPage()
  await first.goto(app.origin)
  await first.evaluate(() => void window.manager.signinRedirect())
  await first.waitForURL(`${server.origin}/**`)
  await logIn(first, ALICE)
  await first.locator('button[name=decision][value=allow]').click()
  await first.waitForURL(`${app.origin}/**`)
  await state(first)
  const second = await context.newPage()
  await second.goto(app.origin)
  await state(second)
  for (let round = 0; round < 3; round++) {
    await Promise.all([first, second].map((page) => page.evaluate(() => window.renew())))
    for (const page of [first, second]) assert.equal((await state(page)).email, ALICE.email, `round ${round}`)
  }
  await context.close()
})

test('a page of an origin that no client registered may not read the token endpoint', async () => {
  const stranger = await serveApp((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<title>Stranger</title>'))
  const page = await browser.newPage()
  await page.goto(stranger.origin)
  const reach = (url, method) =>
    page.evaluate(async ([url, method]) => fetch(url, { method, body: method === 'POST' ? new URLSearchParams({ grant_type: 'x' }) : undefined }).then((r) => r.status, () => 'blocked'), [url, method])
  assert.equal(await reach(`${server.issuer}/token`, 'POST'), 'blocked')
  assert.equal(await reach(`${server.issuer}/.well-known/openid-configuration`, 'GET'), 200)
  assert.equal(await reach(`${server.issuer}/jwks`, 'GET'), 200)
  assert.equal(await reach(`${server.issuer}/login`, 'GET'), 'blocked')
  await page.goto(app.origin)
  assert.equal(await reach(`${server.issuer}/token`, 'POST'), 401, 'readable, though refused')
  await page.close()
  await stranger.stop()
})
