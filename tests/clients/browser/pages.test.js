// The pages for people: accessible in every scheme and size, usable without JavaScript and by keyboard, and safe to redirect from.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot, serveApp } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

let server, app, browser, client, received

before(async () => {
  server = await Server.start()
  server.addUser()
  server.addResource({
    identifier: 'https://api.example.com',
    name: 'Orders',
    scopes: [
      { name: 'orders:read', description: 'Read your orders' },
      { name: 'orders:write', description: 'Place orders for you' },
    ],
  })
  app = await serveApp((request, response, body) => {
    if (request.url.startsWith('/callback')) received = { method: request.method, url: request.url, body }
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html><html lang="en"><title>App</title><h1 id="app">Back in the app</h1></html>')
  })
  client = server.addClient({
    client_name: 'Example Shop',
    redirect_uris: [`${app.origin}/callback`, 'https://app.example.com/callback'],
    post_logout_redirect_uris: [`${app.origin}/bye`],
    client_uri: 'https://app.example.com/',
    policy_uri: 'https://app.example.com/privacy',
    tos_uri: 'https://app.example.com/terms',
    grant_types: ['authorization_code', 'refresh_token'],
    scope: 'openid profile email phone address offline_access orders:read orders:write',
  })
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await app?.stop()
  await server?.stop()
})

function authorize(more = {}) {
  const url = new URL(`${server.issuer}/authorize`)
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: `${app.origin}/callback`,
    scope: 'openid profile email offline_access orders:read orders:write',
    state: 'the state',
    nonce: 'n',
    prompt: 'consent',
    code_challenge: createHash('sha256').update(randomBytes(32).toString('base64url')).digest('base64url'),
    code_challenge_method: 'S256',
    ...more,
  })
  return url.href
}

const allow = 'button[name=decision][value=allow]'
const deny = 'button[name=decision][value=deny]'

test('login and consent are accessible, say who asks and where it leads, and look alike for yes and no', async () => {
  const context = await browser.newContext({ locale: 'en-GB' })
  await context.route('https://app.example.com/**', (route) => route.fulfill({ contentType: 'text/html', body: '<title>App</title><h1 id="app">App</h1>' }))
  const page = await context.newPage()
  const heard = complaints(page)
  await page.goto(authorize({ redirect_uri: 'https://app.example.com/callback' }))
  await assertAccessible(page, 'login')
  await screenshot(page, 'login')
  assert.equal(await page.locator('html').getAttribute('lang'), 'en')
  assert.equal(await page.locator('main').count(), 1)
  assert.match(await page.locator('input[name=username]').getAttribute('autocomplete'), /^username( webauthn)?$/)
  assert.equal(await page.locator('input[name=password]').getAttribute('autocomplete'), 'current-password')
  assert.match(await page.locator('main').innerText(), /Example Shop/)

  await logIn(page, { ...ALICE, password: 'wrong password' })
  await assertAccessible(page, 'login, refused')
  assert.ok(await page.locator('[role=alert]').count(), 'a failed sign-in is announced')
  heard.length = 0 // Chromium reports the 4xx of the page itself.

  await logIn(page, ALICE)
  await page.locator(allow).waitFor()
  await assertAccessible(page, 'consent')
  await screenshot(page, 'consent')
  const words = await page.locator('main').innerText()
  for (const expected of ['Example Shop', 'app.example.com', 'Read your orders', 'Place orders for you']) assert.ok(words.includes(expected), `the consent page does not say ${expected}:\n${words}`)
  const [yes, no] = [await page.locator(allow).boundingBox(), await page.locator(deny).boundingBox()]
  assert.ok(Math.abs(yes.height - no.height) <= 2 && no.width >= yes.width * 0.6, `deny is as easy as allow: ${JSON.stringify([yes, no])}`)

  await page.locator(allow).click()
  await page.locator('#app').waitFor()
  const back = new URL(page.url())
  assert.equal(back.searchParams.get('state'), 'the state')
  assert.equal(back.searchParams.get('iss'), server.issuer)
  assert.ok(back.searchParams.get('code'))
  assert.deepEqual(heard, [])
  await context.close()
})

test('the redirect to another origin after a form is not stopped by form-action, for yes, no, and https', async () => {
  const context = await browser.newContext()
  await context.route('https://app.example.com/**', (route) => route.fulfill({ contentType: 'text/html', body: '<title>App</title><h1 id="app">App</h1>' }))
  const page = await context.newPage()
  await page.goto(authorize({ redirect_uri: 'https://app.example.com/callback' }))
  await logIn(page, ALICE)
  await page.locator(deny).click()
  await page.locator('#app').waitFor()
  assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied')

  await page.goto(authorize({ redirect_uri: 'https://app.example.com/callback' }))
  await page.locator(allow).click()
  await page.locator('#app').waitFor()
  assert.ok(new URL(page.url()).searchParams.get('code'))

  // Consent is remembered now: the login form's own POST leads straight to the app.
  await context.clearCookies()
  await page.goto(authorize({ redirect_uri: 'https://app.example.com/callback', prompt: '' }))
  await logIn(page, ALICE)
  await page.locator('#app').waitFor()
  assert.ok(new URL(page.url()).searchParams.get('code'))
  await context.close()
})

test('everything works by keyboard alone', async () => {
  const page = await browser.newPage()
  await page.goto(authorize())
  await page.locator('input[name=username]').focus()
  await page.keyboard.type(ALICE.username)
  await page.keyboard.press('Tab')
  assert.equal(await page.evaluate(() => document.activeElement.name), 'password')
  await page.keyboard.type(ALICE.password)
  await page.keyboard.press('Enter')
  await page.locator(allow).waitFor()
  for (let presses = 0; presses < 20; presses++) {
    if (await page.evaluate(() => document.activeElement.value === 'allow')) break
    await page.keyboard.press('Tab')
  }
  await page.keyboard.press('Enter')
  await page.locator('#app').waitFor()
  await page.close()
})

for (const javaScriptEnabled of [true, false]) {
  test(`response_mode=form_post reaches the app ${javaScriptEnabled ? 'by itself' : 'by its button, without JavaScript'}`, async () => {
    const context = await browser.newContext({ javaScriptEnabled })
    const page = await context.newPage()
    const heard = complaints(page)
    await page.goto(authorize({ response_mode: 'form_post' }))
    await logIn(page, ALICE)
    await page.locator(allow).click()
    if (!javaScriptEnabled) await page.locator('main form button').click()
    await page.locator('#app').waitFor()
    assert.equal(received.method, 'POST')
    const fields = new URLSearchParams(received.body)
    assert.equal(fields.get('state'), 'the state')
    assert.equal(fields.get('iss'), server.issuer)
    assert.ok(fields.get('code'))
    assert.equal(new URL(page.url()).search, '', 'nothing in the URL')
    assert.deepEqual(heard, [])
    await context.close()
  })
}

test('without JavaScript a person signs in, consents and signs out', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false })
  const page = await context.newPage()
  await page.goto(authorize())
  await logIn(page, ALICE)
  await page.locator(allow).click()
  await page.locator('#app').waitFor()
  await page.goto(`${server.issuer}/logout`)
  await page.locator(allow).click()
  assert.equal(await page.locator('input[name=password]').count(), 0)
  await page.goto(authorize())
  await page.locator('input[name=password]').waitFor()
  await context.close()
})

test('logout, error and account pages are accessible', async () => {
  const page = await browser.newPage()
  await page.goto(`${server.issuer}/account`)
  await page.locator('input[name=username]').waitFor()
  await assertAccessible(page, 'login for the account')
  await logIn(page, ALICE)
  await page.waitForURL(`${server.issuer}/account**`)
  await assertAccessible(page, 'account')

  await page.goto(authorize({ redirect_uri: 'https://elsewhere.example.com/' }))
  assert.match(await page.locator('#trace-id').innerText(), /^[0-9a-f]{32}$/)
  await assertAccessible(page, 'error')
  const words = await page.locator('body').innerText()
  assert.match(words, /redirect_uri/)
  assert.ok(!words.includes(app.origin), 'an error page tells no registered value')

  await page.goto(`${server.issuer}/no-such-page`)
  await assertAccessible(page, 'not found')

  await page.goto(`${server.issuer}/logout`)
  await page.locator(allow).waitFor()
  await assertAccessible(page, 'logout')
  await page.locator(allow).click()
  await assertAccessible(page, 'signed out')
  await page.close()
})

test('the pages speak German to who reads German, and ui_locales goes first', async () => {
  const german = await browser.newPage({ locale: 'de-DE' })
  await german.goto(authorize())
  assert.equal(await german.locator('html').getAttribute('lang'), 'de')
  await assertAccessible(german, 'login in German')
  await logIn(german, { ...ALICE, password: 'falsch' })
  assert.equal(await german.locator('html').getAttribute('lang'), 'de')
  await german.goto(authorize({ ui_locales: 'fr en' }))
  assert.equal(await german.locator('html').getAttribute('lang'), 'en')
  await logIn(german, { ...ALICE, password: 'wrong' })
  assert.equal(await german.locator('html').getAttribute('lang'), 'en')
  await german.close()
})

test('what a client calls itself is text, never markup', async () => {
  const name = '<img src=x onerror=alert(1)>"\'&amp; Shop'
  const odd = server.addClient({ client_name: name, redirect_uris: [`${app.origin}/odd`] })
  const page = await browser.newPage()
  await page.goto(authorize({ client_id: odd.client_id, redirect_uri: `${app.origin}/odd`, scope: 'openid', login_hint: '"><script>alert(1)</script>' }))
  assert.ok((await page.locator('main').innerText()).includes(name))
  assert.equal(await page.locator('main img').count(), 0)
  assert.equal(await page.locator('input[name=username]').inputValue(), '"><script>alert(1)</script>')
  await page.close()
})
