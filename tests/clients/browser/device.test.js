// Letting a device in (RFC 8628), as people do it in a browser: the code typed or scanned, yes and no, and what the page says.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
const allow = 'button[name=decision][value=allow]'
const deny = 'button[name=decision][value=deny]'
let server, browser, tv

before(async () => {
  server = await Server.start()
  server.addUser()
  server.addResource({
    identifier: 'https://api.example.com',
    name: 'Recordings',
    scopes: [{ name: 'recordings:read', description: 'See your recordings' }],
  })
  tv = server.addClient({
    client_name: 'Living-room TV',
    redirect_uris: [],
    grant_types: [GRANT, 'refresh_token'],
    token_endpoint_auth_method: 'none',
    client_uri: 'https://tv.example.com/',
    policy_uri: 'https://tv.example.com/privacy',
    scope: 'openid profile offline_access recordings:read',
  })
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

const post = async (path, fields) => {
  const response = await fetch(server.issuer + path, { method: 'POST', body: new URLSearchParams({ client_id: tv.client_id, ...fields }) })
  return { status: response.status, ...(await response.json()) }
}
const begin = () => post('/device/code', { scope: 'openid profile offline_access recordings:read' })
const poll = (device) => post('/token', { grant_type: GRANT, device_code: device.device_code })

test('a code is typed, the page says who asks for what, and yes and no look alike', async () => {
  const page = await browser.newPage({ locale: 'en-GB' })
  const heard = complaints(page)
  const device = await begin()
  await page.goto(device.verification_uri)
  await assertAccessible(page, 'typing a code')
  await screenshot(page, 'device')
  assert.equal(await page.evaluate(() => document.activeElement.name), 'user_code')
  assert.equal(await page.locator('main form').count(), 1)

  await page.locator('input[name=user_code]').fill(device.user_code.toLowerCase().replace('-', ''))
  await page.keyboard.press('Enter')
  await page.locator('input[name=password]').waitFor()
  await assertAccessible(page, 'login for a device')
  await logIn(page, { ...ALICE, password: 'wrong password' })
  await logIn(page, ALICE)
  await page.locator(allow).waitFor()
  await assertAccessible(page, 'deciding about a device')
  await screenshot(page, 'device-decide')
  const words = await page.locator('main').innerText()
  for (const expected of ['Living-room TV', device.user_code, 'See your recordings', 'Stay connected', '127.0.0.1']) assert.ok(words.includes(expected), `the page does not say ${expected}:\n${words}`)
  assert.match(await page.locator('#warning').innerText(), /deny/)
  const [yes, no] = [await page.locator(allow).boundingBox(), await page.locator(deny).boundingBox()]
  assert.ok(Math.abs(yes.height - no.height) <= 2 && Math.abs(yes.width - no.width) <= 2, JSON.stringify([yes, no]))

  await page.locator(allow).click()
  await page.locator('.note.good').waitFor()
  await assertAccessible(page, 'a device let in')
  const tokens = await poll(device)
  assert.equal(tokens.status, 200, JSON.stringify(tokens))
  assert.ok(tokens.refresh_token && tokens.id_token)
  assert.deepEqual(heard, [])
  await page.close()
})

test('without JavaScript and in German: by the address of a QR code, and no', async () => {
  const context = await browser.newContext({ javaScriptEnabled: false, locale: 'de-DE' })
  const page = await context.newPage()
  const device = await begin()
  await page.goto(device.verification_uri_complete)
  await logIn(page, ALICE)
  await page.locator(deny).waitFor()
  assert.equal(await page.locator('html').getAttribute('lang'), 'de')
  assert.equal(await page.locator('#shown-code').innerText(), device.user_code)
  await page.locator(deny).click()
  await page.locator('main form').waitFor({ state: 'detached' })
  assert.equal((await poll(device)).error, 'access_denied')
  await context.close()
})

test('by keyboard alone, and a code that is none says so', async () => {
  const page = await browser.newPage({ locale: 'en-GB' })
  await page.goto(`${server.issuer}/device`)
  await page.keyboard.type('nothing')
  await page.keyboard.press('Enter')
  await page.locator('[role=alert]').waitFor()
  await assertAccessible(page, 'a code that is none')
  const device = await begin()
  await page.locator('input[name=user_code]').fill('')
  await page.locator('input[name=user_code]').focus()
  await page.keyboard.type(device.user_code)
  await page.keyboard.press('Enter')
  await page.locator('input[name=username]').focus()
  await page.keyboard.type(ALICE.username)
  await page.keyboard.press('Tab')
  await page.keyboard.type(ALICE.password)
  await page.keyboard.press('Enter')
  await page.locator(allow).waitFor()
  for (let presses = 0; presses < 20; presses++) {
    if (await page.evaluate(() => document.activeElement.value === 'allow')) break
    await page.keyboard.press('Tab')
  }
  await page.keyboard.press('Enter')
  await page.locator('.note.good').waitFor()
  assert.equal((await poll(device)).status, 200)
  await page.close()
})
