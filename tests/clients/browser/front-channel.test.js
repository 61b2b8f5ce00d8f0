// Front-channel logout in Chromium: the page after signing out shows the apps' own pages unseen and goes on, with and without JavaScript.

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot, serveApp } from '../support/browser.js'
import { ALICE, Server, until } from '../support/server.js'

let server, browser
const apps = []

/** An app that keeps a session in a cookie and ends it on the page that is shown in a frame. */
async function start(name, host) {
  const app = { heard: [], hangs: false }
  const page = (text) => `<!doctype html><html lang="en"><title>${name}</title><h1 id="app">${text}</h1></html>`
  const { origin, stop } = await serveApp((request, response) => {
    const url = new URL(request.url, app.origin)
    const headers = { 'content-type': 'text/html; charset=utf-8' }
    if (url.pathname === '/callback') headers['set-cookie'] = `${name}=session; HttpOnly; Path=/`
    if (url.pathname === '/out') {
      app.heard.push({ ...Object.fromEntries(url.searchParams), cookie: request.headers.cookie ?? '', referer: request.headers.referer })
      if (app.hangs) return
      headers['set-cookie'] = `${name}=; Max-Age=0; Path=/`
    }
    response.writeHead(200, headers).end(page(url.pathname))
  })
  app.origin = origin.replace('127.0.0.1', host)
  app.stop = stop
  app.client = server.addClient({
    client_name: name,
    redirect_uris: [`${app.origin}/callback`],
    post_logout_redirect_uris: [`${app.origin}/bye`],
    frontchannel_logout_uri: `${app.origin}/out?x=1`,
    frontchannel_logout_session_required: true,
    token_endpoint_auth_method: 'none',
  })
  apps.push(app)
  return app
}

before(async () => {
  server = await Server.start()
  server.addUser()
  // One at the server's own site, whose cookies come along in a frame, and one elsewhere.
  await start('near', 'localhost')
  await start('far', '127.0.0.1')
  browser = await launch()
})
after(async () => {
  await browser?.close()
  for (const app of apps) await app.stop()
  await server?.stop()
})

/** Signs in to an app; the claims of its ID token, and the token. */
async function signIn(page, { client, origin }) {
  const verifier = randomBytes(32).toString('base64url')
  const url = new URL(`${server.issuer}/authorize`)
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: client.client_id,
    redirect_uri: `${origin}/callback`,
    scope: 'openid',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  await page.goto(url.href)
  if (await page.locator('input[name=password]').count()) await logIn(page, ALICE)
  if (!page.url().startsWith(origin)) await page.locator('button[name=decision][value=allow], #app').first().waitFor()
  const allow = page.locator('button[name=decision][value=allow]')
  if (await allow.count()) await allow.click()
  await page.waitForURL(`${origin}/callback**`)
  const answer = await fetch(`${server.issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      code: new URL(page.url()).searchParams.get('code'),
      redirect_uri: `${origin}/callback`,
      client_id: client.client_id,
      code_verifier: verifier,
    }),
  })
  const { id_token } = await answer.json()
  return { id_token, claims: JSON.parse(Buffer.from(id_token.split('.')[1], 'base64url')) }
}

/** Somebody who is signed in to both apps. */
async function signedIn(options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', ...options })
  const page = await context.newPage()
  const tokens = []
  for (const app of apps) {
    app.heard = []
    app.hangs = false
    tokens.push(await signIn(page, app))
  }
  return { context, page, tokens }
}

function endSession(token, app, state = 'a b"<&') {
  const url = new URL(`${server.issuer}/logout`)
  url.search = new URLSearchParams({ id_token_hint: token.id_token, post_logout_redirect_uri: `${app.origin}/bye`, state })
  return url.href
}

const [near, far] = [0, 1]

test('every app of the session hears, and the browser goes on when they have', async () => {
  // The quickest of several: a busy machine adds what it likes to one.
  const took = []
  while (took.length < 3 && !(took.at(-1) < 4000)) took.push(await everyAppHears())
  assert.ok(took.at(-1) < 4000, `it waits for the apps, not for the clock: ${took} ms`)
})

/** How many milliseconds it took until the browser went on. */
async function everyAppHears() {
  const { context, page, tokens } = await signedIn()
  const heard = complaints(page)
  let policy
  page.on('response', (response) => {
    if (response.url().startsWith(`${server.issuer}/logout`)) policy = response.headers()['content-security-policy']
  })
  const begun = Date.now()
  await page.goto(endSession(tokens[near], apps[near]), { waitUntil: 'commit' })
  await page.waitForURL(`${apps[near].origin}/bye**`)
  const took = Date.now() - begun
  assert.equal(new URL(page.url()).search, `?${new URLSearchParams({ state: 'a b"<&' })}`.replaceAll('+', '%20'))
  for (const [number, app] of apps.entries()) {
    assert.equal(app.heard.length, 1, app.client.client_name)
    const [{ iss, sid, x, referer }] = app.heard
    assert.deepEqual({ iss, sid, x, referer }, { iss: server.issuer, sid: tokens[number].claims.sid, x: '1', referer: undefined })
  }
  assert.equal(apps[near].heard[0].cookie.includes('near=session'), true, 'its own cookie comes along')
  assert.ok(!(await context.cookies()).some(({ name }) => name === 'near'), 'and is gone')
  const frames = policy.split('; ').find((part) => part.startsWith('frame-src')).split(' ').slice(1)
  assert.deepEqual(frames.sort(), apps.map((app) => app.origin).sort())
  assert.deepEqual(heard, [])
  await context.close()
  return took
}

test('an app that hangs holds nobody up for long', async () => {
  const { context, page, tokens } = await signedIn()
  apps[far].hangs = true
  const begun = Date.now()
  await page.goto(endSession(tokens[near], apps[near]), { waitUntil: 'commit' })
  await page.locator('#onward').waitFor()
  await page.waitForURL(`${apps[near].origin}/bye**`)
  const took = Date.now() - begun
  assert.ok(took > 3500 && took < 20_000, `${took} ms`)
  assert.deepEqual(apps.map((app) => app.heard.length), [1, 1])
  await context.close()
})

test('without JavaScript the browser goes on by itself, or by the link where an app hangs', async () => {
  for (const hangs of [false, true]) {
    const { context, page, tokens } = await signedIn({ javaScriptEnabled: false })
    apps[far].hangs = hangs
    await page.goto(endSession(tokens[near], apps[near]), { waitUntil: 'commit' })
    if (hangs) {
      await until('both apps heard', () => apps.every((app) => app.heard.length === 1), 10)
      await page.locator('#onward').click()
    }
    await page.waitForURL(`${apps[near].origin}/bye**`)
    assert.deepEqual(apps.map((app) => app.heard.length), [1, 1])
    await context.close()
  }
})

test('signing out here ends with a page that is accessible', async () => {
  const { context, page } = await signedIn()
  await page.goto(`${server.issuer}/account`)
  await page.locator('button[name=sign_out][value=here]').click()
  await page.locator('h1').waitFor()
  await until('both apps heard', () => apps.every((app) => app.heard.length === 1), 10)
  assert.equal(await page.locator('iframe').count(), 2)
  await assertAccessible(page, 'signed out')
  await screenshot(page, 'signed-out')
  await context.close()
})
