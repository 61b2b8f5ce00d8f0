// The reference of the admin API: a page like the others, without any script, at the origin where people sign in; and Swagger UI, at no origin.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

let server, browser

before(async () => {
  server = await Server.start()
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

test('the reference is accessible, names every operation and needs no script', async () => {
  const document = await (await fetch(`${server.issuer}/admin/api/openapi.json`)).json()
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods))
  assert.ok(operations.length > 10)
  const context = await browser.newContext({ reducedMotion: 'reduce' })
  const page = await context.newPage()
  const heard = complaints(page)
  const foreign = []
  page.on('request', (request) => request.url().startsWith(server.origin) || foreign.push(request.url()))
  await page.goto(`${server.issuer}/admin/api`)
  await assertAccessible(page, 'reference')
  await screenshot(page, 'reference')
  for (const { operationId, summary } of operations) {
    const operation = page.locator(`details#${operationId}`)
    await operation.locator('summary').click()
    assert.ok((await operation.innerText()).includes(summary), operationId)
    assert.match(await operation.locator('pre').first().innerText(), /^curl /, operationId)
  }
  await assertAccessible(page, 'reference, everything open')
  assert.deepEqual([heard, foreign], [[], []])
  await context.close()

  const plain = await browser.newContext({ javaScriptEnabled: false })
  const same = await plain.newPage()
  await same.goto(`${server.issuer}/admin/api/`)
  await same.locator('details#addClient summary').click()
  assert.ok(await same.locator('details#addClient pre').first().isVisible())
  await plain.close()
})

test('Swagger UI shows every operation and is cut off from everything else', async () => {
  server.addUser()
  const document = await (await fetch(`${server.issuer}/admin/api/openapi.json`)).json()
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods))
  const context = await browser.newContext({ reducedMotion: 'reduce' })
  const page = await context.newPage()
  // Somebody who is signed in, whose cookies must stay out of it.
  await page.goto(`${server.issuer}/account`)
  await logIn(page, ALICE)
  await page.waitForURL('**/account')
  assert.ok((await context.cookies()).length > 0)

  const heard = complaints(page)
  const asked = []
  page.on('request', (request) => asked.push(request.allHeaders().then((headers) => ({ url: request.url(), cookie: headers.cookie }))))
  await page.goto(`${server.issuer}/admin/api`)
  await page.getByRole('link', { name: 'Swagger UI' }).click()
  await page.waitForURL('**/admin/api/ui')
  await page.locator('.opblock').nth(operations.length - 1).waitFor()
  assert.equal(await page.locator('.opblock').count(), operations.length)
  for (const { summary } of operations) assert.ok(await page.getByText(summary, { exact: true }).first().isVisible(), summary)
  const first = page.locator('.opblock').first()
  await first.locator('button').first().click()
  await first.getByText('Responses').first().waitFor()
  assert.equal(await page.getByRole('button', { name: /try it out|authorize/i }).count(), 0)
  await screenshot(page, 'reference-ui')
  for (const [colorScheme, shown] of [['light', 'html:not(.dark-mode)'], ['dark', 'html.dark-mode']]) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width: 360, height: 740 })
    await page.locator(shown).waitFor()
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), 0)
  }
  assert.deepEqual(heard, [])
  // Last: axe asks for the style sheets by requests of its own, which the page may not make.
  await assertAccessible(page, 'Swagger UI', [])
  const scripts = (await Promise.all(asked)).filter(({ url }) => url.includes('/assets/') && url.endsWith('.js'))
  assert.ok(scripts.length >= 2 && scripts.every(({ url, cookie }) => url.startsWith(server.origin) && !cookie), 'from here, and without cookies')

  // What a script of it could do, were it not ours any more.
  const could = await page.evaluate(async (issuer) => {
    const attempt = async (what) => {
      try {
        return await what()
      } catch (error) {
        return error.name
      }
    }
    const frame = document.createElement('iframe')
    frame.src = `${issuer}/account`
    document.body.append(frame)
    const form = document.createElement('form')
    form.action = `${issuer}/account`
    form.method = 'post'
    document.body.append(form)
    return {
      origin: self.origin,
      cookie: await attempt(() => document.cookie),
      storage: await attempt(() => localStorage.length),
      account: await attempt(async () => (await fetch(`${issuer}/account`, { credentials: 'include' })).status),
      elsewhere: await attempt(async () => (await fetch('http://127.0.0.1:9/', { mode: 'no-cors' })).type),
      window: await attempt(() => String(window.open(`${issuer}/account`))),
      form: await attempt(() => form.submit()),
    }
  }, server.issuer)
  assert.deepEqual(could, {
    origin: 'null',
    cookie: 'SecurityError',
    storage: 'SecurityError',
    account: 'TypeError',
    elsewhere: 'TypeError',
    window: 'null',
    form: undefined,
  })
  assert.equal(page.url(), `${server.issuer}/admin/api/ui`)
  await context.close()

  const plain = await browser.newContext({ javaScriptEnabled: false })
  const other = await plain.newPage()
  await other.goto(`${server.issuer}/admin/api/ui`)
  await other.getByRole('link', { name: 'the other one' }).click()
  await other.waitForURL('**/admin/api')
  await plain.close()
})
