// The reference of the admin API: a page like the others, without any script, at the origin where people sign in.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, screenshot } from '../support/browser.js'
import { Server } from '../support/server.js'

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
