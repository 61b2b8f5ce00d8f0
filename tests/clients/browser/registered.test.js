// The consent page of a client that registered itself: what it says of itself is shown as its own word, its picture comes from the server.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { crc32, deflateSync } from 'node:zlib'

import { assertAccessible, complaints, launch, logIn, screenshot } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

let server, host, browser, folder
let visits = []

/** A square of one colour. */
function png(side) {
  const chunk = (kind, data) => {
    const body = Buffer.concat([Buffer.from(kind), data])
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    check.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, check])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(side, 0)
  header.writeUInt32BE(side, 4)
  header.set([8, 2, 0, 0, 0], 8)
  const line = Buffer.concat([Buffer.from([0]), Buffer.from('2d6a4f', 'hex').toString('binary').repeat(side)].map((part) => Buffer.from(part, 'binary')))
  const data = deflateSync(Buffer.concat(Array(side).fill(line)))
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', Buffer.alloc(0))])
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'chancery-logo-'))
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(folder, name))
  const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=logo', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', cert]
  const made = spawnSync('openssl', words, { encoding: 'utf8' })
  assert.equal(made.status, 0, made.stderr)
  host = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    visits.push(request.headers)
    if (request.url === '/logo.png') response.writeHead(200, { 'content-type': 'image/png' }).end(png(64))
    else response.writeHead(200, { 'content-type': 'image/svg+xml' }).end('<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
  })
  await new Promise((resolve) => host.listen(0, '127.0.0.1', resolve))
  server = await Server.start({ config: `\n[registration]\nmode = "open"\n\n[outbound]\nallow = ["127.0.0.0/8"]\nextra_ca_file = "${cert}"\n` })
  server.addUser()
  browser = await launch()
})
after(async () => {
  await browser?.close()
  host?.closeAllConnections()
  host?.close()
  await server?.stop()
  if (folder) rmSync(folder, { recursive: true, force: true })
})

async function register(logo) {
  const response = await fetch(`${server.issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: 'Ledger of the Northern Trading Company',
      redirect_uris: ['https://ledger.example.com/callback'],
      logo_uri: `https://127.0.0.1:${host.address().port}${logo}`,
      client_uri: 'https://ledger.example.com/',
      policy_uri: 'https://a-rather-long-host-name-for-legal-matters.example.com/privacy',
      tos_uri: 'https://ledger.example.com/terms',
      contacts: ['support@ledger.example.com', '+49 30 1234567'],
    }),
  })
  assert.equal(response.status, 201)
  return response.json()
}

function authorize(client) {
  const url = new URL(`${server.issuer}/authorize`)
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: client.redirect_uris[0],
    scope: 'openid profile email',
    code_challenge: createHash('sha256').update(randomBytes(32).toString('base64url')).digest('base64url'),
    code_challenge_method: 'S256',
  })
  return url.href
}

const logo = (page) => page.locator('.tile img').evaluate((image) => ({ width: image.naturalWidth, done: image.complete, from: new URL(image.src).origin }))

for (const [locale, unverified] of [
  ['en', 'This app registered itself here.'],
  ['de', 'Diese App hat sich selbst registriert.'],
]) {
  test(`a client that registered itself is shown as what it says it is (${locale})`, async () => {
    const client = await register('/logo.png')
    const context = await browser.newContext({ locale })
    const page = await context.newPage()
    const heard = complaints(page)
    const asked = []
    page.on('request', (request) => asked.push(new URL(request.url()).origin))
    await page.goto(authorize(client))
    await assertAccessible(page, 'login of a registered client')
    const links = await page.locator('.links').innerText()
    assert.match(links, /ledger\.example\.com/)
    await logIn(page, ALICE)
    await page.locator('button[name=decision][value=allow]').waitFor()
    await page.waitForLoadState('networkidle')
    await assertAccessible(page, 'consent to a registered client')
    await screenshot(page, `registered-${locale}`)
    const words = await page.locator('main').innerText()
    for (const expected of [unverified, 'Ledger of the Northern', 'a-rather-long-host-name-for-legal-matters.example.com', 'support@ledger.example.com', '+49 30 1234567']) {
      assert.ok(words.includes(expected), `the page does not say ${expected}:\n${words}`)
    }
    for (const link of await page.locator('.links a').all()) {
      assert.equal(await link.getAttribute('rel'), 'noopener noreferrer nofollow')
    }
    assert.deepEqual(await logo(page), { width: 64, done: true, from: server.origin })
    // The person's browser has told nobody else that it was here; what the host heard, the server said.
    assert.deepEqual([...new Set(asked)], [server.origin])
    assert.ok(visits.length && visits.every((headers) => headers['user-agent'].startsWith('chancery/') && !headers.cookie && !headers.referer))
    assert.deepEqual(heard, [])
    await context.close()
  })
}

test('a picture that could run a script is none, and the letter stays', async () => {
  const client = await register('/logo.svg')
  const page = await browser.newPage()
  await page.goto(authorize(client))
  await logIn(page, ALICE)
  await page.locator('button[name=decision][value=allow]').waitFor()
  await page.waitForLoadState('networkidle')
  assert.equal((await logo(page)).width, 1, 'nothing to be seen')
  assert.equal((await page.locator('.tile').first().innerText()).trim(), 'L')
  await screenshot(page, 'registered-without-logo')
  const direct = await fetch(await page.locator('.tile img').evaluate((image) => image.src))
  assert.equal(direct.status, 404)
  await page.close()
})
