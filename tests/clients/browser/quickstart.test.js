// `chancery quickstart` and its demo, as somebody sees them in their first five minutes.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot } from '../support/browser.js'
import { Server, until } from '../support/server.js'

let server, browser, admin

before(async () => {
  server = await Server.start({ command: ['quickstart'] })
  await until('the welcome', () => /password\s+\S+/.test(server.output))
  admin = { username: /username\s+(\S+)/.exec(server.output)[1], password: /password\s+(\S+)/.exec(server.output)[1] }
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

test('the three addresses that it prints can be opened', async () => {
  const addresses = server.output.match(/http:\/\/\S+/g)
  for (const path of ['/demo', '/account', '/.well-known/openid-configuration']) {
    assert.ok(addresses.includes(server.issuer + path), server.output)
    assert.ok((await fetch(server.issuer + path)).ok)
  }
})

test('the demo signs in, shows every claim with its meaning, refreshes and signs out', async () => {
  const page = await browser.newPage({ locale: 'en-GB' })
  const heard = complaints(page)
  // Opened by the machine's other name, it goes where its client is registered.
  await page.goto(`${server.origin.replace('localhost', '127.0.0.1')}/demo`)
  await page.waitForURL(`${server.issuer}/demo`)
  await page.locator('#step-discovery').waitFor()
  await assertAccessible(page, 'demo')

  await page.locator('#sign-in').click()
  await logIn(page, admin)
  await page.locator('button[name=decision][value=allow]').click()
  await page.locator('#tokens table').first().waitFor()
  assert.equal(page.url(), `${server.issuer}/demo`, 'the code does not stay in the address line')
  const words = await page.locator('#tokens').innerText()
  for (const expected of ['iss', 'sub', 'nonce', 'auth_time', 'at+jwt', 'admin@example.com', server.issuer]) assert.ok(words.includes(expected), `${expected} is not shown`)
  const meanings = await page.locator('#tokens tbody tr').evaluateAll((rows) => rows.map((row) => row.lastElementChild.textContent))
  assert.ok(meanings.length > 15 && meanings.every((meaning) => meaning.length > 5), 'every claim has its meaning')
  await assertAccessible(page, 'demo, signed in')
  await screenshot(page, 'demo')

  const before = await page.locator('#tokens').innerHTML()
  await page.locator('#refresh').click()
  await page.waitForFunction((before) => document.getElementById('tokens').innerHTML !== before, before)
  assert.deepEqual(heard, [])

  await page.locator('#sign-out').click()
  await page.locator('#sign-in').waitFor()
  assert.equal(await page.locator('#tokens table').count(), 0)
  assert.deepEqual(heard, [])
  await page.close()
})

test('the demo is a device: it shows its QR code, and what was allowed in another window', async () => {
  const context = await browser.newContext({ locale: 'en-GB' })
  const page = await context.newPage()
  const heard = complaints(page)
  await page.goto(`${server.issuer}/demo`)
  await page.locator('#step-discovery.done').waitFor()
  await page.locator('#device-begin').click()
  const qr = page.locator('#device-qr svg')
  await qr.waitFor()
  const code = await page.locator('#device-code').innerText()
  assert.match(code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
  assert.equal(await qr.getAttribute('aria-label'), code)
  const box = await qr.boundingBox()
  assert.ok(box.width > 150 && Math.abs(box.width - box.height) < 1, JSON.stringify(box))
  const dark = await page.evaluate(() => document.querySelector('#device-qr path:last-child').getAttribute('d').match(/M/g).length)
  assert.ok(dark > 100, `${dark} runs`)
  await assertAccessible(page, 'demo, as a device')
  await screenshot(page, 'demo-device')

  const phone = await context.newPage()
  await phone.goto(await page.locator('#device-uri').getAttribute('href'))
  await logIn(phone, admin)
  await phone.locator('button[name=decision][value=allow]').click()
  await phone.locator('.note.good').waitFor()
  await page.locator('#tokens table').first().waitFor({ timeout: 15_000 })
  assert.ok((await page.locator('#tokens').innerText()).includes('admin@example.com'))
  // Chromium tells of every 400 that it fetched: a poll before the decision is one.
  assert.deepEqual(heard.filter((text) => !/status of 400/.test(text)), [])
  await context.close()
})
