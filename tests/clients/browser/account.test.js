// The account page in Chromium: accessible in every scheme and size, usable without JavaScript, by keyboard and by password managers.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot, serveApp } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

let server, app, browser, client

before(async () => {
  server = await Server.start()
  server.addUser()
  app = await serveApp((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html><html lang="en"><title>App</title><h1 id="app">Back in the app</h1></html>')
  })
  client = server.addClient({
    client_name: 'Example Shop',
    redirect_uris: [`${app.origin}/callback`],
    grant_types: ['authorization_code', 'refresh_token'],
    initiate_login_uri: 'https://shop.example/start?from=account',
  })
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await app?.stop()
  await server?.stop()
})

function authorize() {
  const url = new URL(`${server.issuer}/authorize`)
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: `${app.origin}/callback`,
    scope: 'openid profile email offline_access',
    state: 's',
    prompt: 'consent',
    code_challenge: createHash('sha256').update(randomBytes(32).toString('base64url')).digest('base64url'),
    code_challenge_method: 'S256',
  })
  return url.href
}

const button = (page, name, value) => page.locator(`button[name=${name}]${value ? `[value="${value}"]` : ''}`)

/** A browser that is signed in and has let the app in. */
async function signedIn(options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', javaScriptEnabled: false, ...options })
  const page = await context.newPage()
  await page.goto(authorize())
  await logIn(page, { ...ALICE, password: server.password ?? ALICE.password })
  await button(page, 'decision', 'allow').click()
  await page.locator('#app').waitFor()
  return { context, page }
}

test('the pages of the account are accessible in both languages', async () => {
  for (const locale of ['en-GB', 'de-DE']) {
    const { context, page } = await signedIn({ locale, javaScriptEnabled: true })
    const heard = complaints(page)
    await page.goto(`${server.issuer}/account`)
    await page.locator('#sessions').waitFor()
    assert.equal(await page.locator('html').getAttribute('lang'), locale.slice(0, 2))
    await assertAccessible(page, `account ${locale}`)
    if (locale === 'en-GB') await screenshot(page, 'account')
    for (const path of ['profile', 'password', 'confirm']) {
      await page.goto(`${server.issuer}/account/${path}`)
      await page.locator('main form').waitFor()
      await assertAccessible(page, `${path} ${locale}`)
      if (locale === 'en-GB') await screenshot(page, `account-${path}`)
    }
    await page.goto(`${server.issuer}/account/profile`)
    await page.locator('#website').fill('http://alice.example')
    await page.locator('main form [type=submit]').click()
    await page.locator('#website-problem').waitFor()
    await assertAccessible(page, `profile, refused ${locale}`)
    await page.goto(`${server.issuer}/account/password`)
    await page.locator('#password').fill('wrong wrong')
    await page.locator('#new_password').fill('another long passphrase')
    await page.locator('#new_password_again').fill('another long passphrase')
    await page.locator('main form [type=submit]').click()
    await page.locator('#failure').waitFor()
    await assertAccessible(page, `password, refused ${locale}`)
    assert.deepEqual(heard, [])
    await context.close()
  }
})

test('an app with a beginning of its own is opened there, by a click and by keyboard, at every width', async () => {
  for (const [width, byKeyboard] of [[1280, false], [320, true]]) {
    const { context, page } = await signedIn({ viewport: { width, height: 800 } })
    const heard = complaints(page)
    let asked
    // Somebody else's https address: the browser gets no further than asking for it.
    await page.route('https://shop.example/**', (route) => {
      asked = route.request()
      return route.fulfill({ contentType: 'text/html', body: '<!doctype html><html lang="en"><title>Shop</title><h1 id="shop">Shop</h1></html>' })
    })
    await page.goto(`${server.issuer}/account`)
    const open = page.locator('#apps li', { hasText: 'Example Shop' }).getByRole('link', { name: 'Open Example Shop' })
    await open.waitFor()
    const box = await open.boundingBox()
    assert.ok(box.height >= 40 && box.x >= 0 && box.x + box.width <= width, JSON.stringify(box))
    if (byKeyboard) {
      await open.focus()
      await page.keyboard.press('Enter')
    } else await open.click()
    await page.locator('#shop').waitFor()
    assert.deepEqual([...new URL(asked.url()).searchParams], [['from', 'account'], ['iss', server.issuer], ['login_hint', ALICE.username]])
    assert.equal((await asked.allHeaders()).referer, undefined, 'where the person came from stays here')
    assert.deepEqual(heard, [])
    await context.close()
  }
})

test('without JavaScript a person edits the profile, ends a session, takes access back and changes the password', async () => {
  const phone = await signedIn({ userAgent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 Version/18.6 Mobile/15E148 Safari/604.1' })
  const { context, page } = await signedIn()
  await page.goto(`${server.issuer}/account`)
  const sessions = page.locator('#sessions li')
  await page.locator('#sessions li', { hasText: 'Safari · iPhone' }).locator('button').click()
  await page.locator('[role=status]').waitFor()
  assert.equal(await page.locator('#sessions li', { hasText: 'iPhone' }).count(), 0)
  assert.ok((await sessions.first().innerText()).includes('This browser'))
  await phone.page.goto(`${server.issuer}/account`)
  await phone.page.locator('input[name=username]').waitFor()
  await phone.context.close()

  await page.locator('#profile a').click()
  await page.locator('#nickname').fill('Al')
  await page.keyboard.press('Enter')
  await page.locator('[role=status]').waitFor()
  assert.ok((await page.locator('#profile').innerText()).includes('Al'))

  await page.locator('#apps li', { hasText: 'Example Shop' }).locator('button').click()
  await page.locator('[role=status]').waitFor()
  assert.equal(await page.locator('#apps li').count(), 0)

  await page.goto(`${server.origin}/.well-known/change-password`)
  await page.waitForURL(`${server.issuer}/account/password`)
  await page.locator('#password').fill(ALICE.password)
  await page.locator('#new_password').fill('another long passphrase')
  await page.locator('#new_password_again').fill('another long passphrase')
  await page.keyboard.press('Enter')
  await page.waitForURL(`${server.issuer}/account?done=password-changed`)
  await page.goto(`${server.issuer}/account`)
  assert.equal(await sessions.count(), 1)
  await button(page, 'sign_out', 'here').click()
  await page.goto(`${server.issuer}/account`)
  await logIn(page, { ...ALICE, password: 'another long passphrase' })
  await page.locator('#sessions').waitFor()
  await context.close()
})
