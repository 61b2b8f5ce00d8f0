// Two-step sign-in: an authenticator app with and without JavaScript, recovery codes, and passkeys with Chromium's own authenticator.

import assert from 'node:assert/strict'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'

import { assertAccessible, complaints, launch, logIn, screenshot, serveApp } from '../support/browser.js'
import { ALICE, Server } from '../support/server.js'

const BOB = { username: 'bob', password: 'another correct horse', name: 'Bob Baker', email: 'bob@example.com' }
const DAVE = { username: 'dave', password: 'a fourth correct horse', name: 'Dave Dunn', email: 'dave@example.com' }
const CAROL = { username: 'carol', password: 'a third correct horse', name: 'Carol Clark', email: 'carol@example.com' }

let server, app, browser, client, strict

before(async () => {
  server = await Server.start()
  for (const user of [ALICE, BOB, CAROL, DAVE]) server.addUser(user)
  app = await serveApp((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html><html lang="en"><title>App</title><h1 id="app">Back in the app</h1></html>')
  })
  client = server.addClient({ client_name: 'Example Shop', redirect_uris: [`${app.origin}/callback`] })
  strict = server.addClient({ client_name: 'Example Bank', redirect_uris: [`${app.origin}/bank`], second_factor: 'required' })
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await app?.stop()
  await server?.stop()
})

/** RFC 6238 with the secret as the page shows it. */
function totp(text, steps = 0) {
  const bits = [...text.replaceAll(' ', '')].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('')
  const secret = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)))
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps))
  const mac = createHmac('sha1', secret).update(counter).digest()
  const offset = mac[19] & 15
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

function authorize(registered, path, more = {}) {
  const url = new URL(`${server.issuer}/authorize`)
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id: registered.client_id,
    redirect_uri: `${app.origin}${path}`,
    scope: 'openid',
    state: 's',
    code_challenge: createHash('sha256').update(randomBytes(32).toString('base64url')).digest('base64url'),
    code_challenge_method: 'S256',
    ...more,
  })
  return url.href
}

/** A platform authenticator that knows its person. */
async function authenticator(page) {
  const session = await page.context().newCDPSession(page)
  await session.send('WebAuthn.enable', { enableUI: false })
  const options = { protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true }
  const { authenticatorId } = await session.send('WebAuthn.addVirtualAuthenticator', { options })
  return { session, authenticatorId }
}

const allow = 'button[name=decision][value=allow]'

for (const javaScriptEnabled of [true, false]) {
  const who = javaScriptEnabled ? ALICE : BOB
  test(`an app demands a second factor, and it is set up and proved ${javaScriptEnabled ? 'in every scheme and size' : 'without JavaScript'}`, async () => {
    const context = await browser.newContext({ javaScriptEnabled, locale: 'en-GB' })
    const page = await context.newPage()
    const heard = complaints(page)
    await page.goto(authorize(strict, '/bank'))
    await logIn(page, who)
    const secret = await page.locator('#secret').innerText()
    if (javaScriptEnabled) {
      await assertAccessible(page, 'enrol')
      await screenshot(page, 'enrol')
    }
    const modules = await page.locator('svg.qr').boundingBox()
    assert.ok(modules.width > 150 && Math.abs(modules.width - modules.height) < 2, `a QR code that can be scanned: ${JSON.stringify(modules)}`)
    await page.locator('input[name=code]').fill('000000')
    await page.locator('main form button.primary').click()
    assert.equal(await page.locator('[role=alert]').count(), 1)
    assert.equal(await page.locator('#secret').innerText(), secret, 'the same secret, since the phone has it already')
    await page.locator('input[name=code]').fill(totp(secret))
    await page.locator('main form button.primary').click()
    const codes = await page.locator('.recovery code').allInnerTexts()
    assert.equal(codes.length, 10)
    if (javaScriptEnabled) {
      await assertAccessible(page, 'recovery codes')
      await screenshot(page, 'recovery-codes')
    }
    await page.locator('main a.button').click()
    await page.locator(allow).click()
    await page.locator('#app').waitFor()

    // The next time: password, then code. What was shown at enrolment is used up, so the next step's code.
    await context.clearCookies()
    await page.goto(authorize(strict, '/bank'))
    await logIn(page, who)
    assert.equal(await page.locator('input[name=code]').getAttribute('autocomplete'), 'one-time-code')
    if (javaScriptEnabled) {
      await assertAccessible(page, 'second factor')
      await screenshot(page, 'second-factor')
    }
    await page.locator('input[name=code]').fill(totp(secret, 1))
    await page.locator('main form button.primary').click()
    await page.locator('#app').waitFor()

    // And with a recovery code.
    await context.clearCookies()
    await page.goto(authorize(strict, '/bank'))
    await logIn(page, who)
    await page.getByRole('link', { name: 'Use a recovery code instead' }).click()
    if (javaScriptEnabled) await assertAccessible(page, 'recovery code')
    await page.locator('input[name=code]').fill(codes[0])
    await page.locator('main form button.primary').click()
    await page.locator('#app').waitFor()

    await page.goto(`${server.issuer}/account/factors`)
    assert.match(await page.locator('main').innerText(), /9 recovery codes/)
    if (javaScriptEnabled) {
      await assertAccessible(page, 'factors')
      await screenshot(page, 'factors')
    }
    const shown = server.command('user', 'show', who.username)
    assert.match(shown, /^authenticator app +added \S+, last used \S+$/m)
    assert.match(shown, /^recovery codes +9 left$/m)
    // A code does in place of the password, wherever that is asked for again.
    await page.goto(`${server.issuer}/account/confirm?to=profile`)
    await page.getByRole('link', { name: 'Use a code of your authenticator app instead' }).click()
    assert.equal(await page.locator('input[name=password]').count(), 0)
    assert.equal(await page.locator('input[name=code]').getAttribute('autocomplete'), 'one-time-code')
    if (javaScriptEnabled) {
      await assertAccessible(page, 'confirm with a code')
      await screenshot(page, 'confirm-code')
      assert.deepEqual(heard, [])
    }
    await context.close()
  })
}

test('a passkey is made on the account page, signs in by itself, and is offered where a username is typed', async () => {
  const context = await browser.newContext({ locale: 'en-GB' })
  const page = await context.newPage()
  const heard = complaints(page)
  const { session, authenticatorId } = await authenticator(page)
  // Nothing is offered by itself until the test says so: the browser would sign in before the page is looked at.
  await session.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled: true })
  await page.goto(`${server.issuer}/login`)
  await logIn(page, CAROL)
  await page.goto(`${server.issuer}/account/factors`)
  await page.locator('button[data-passkey=create]').click()
  await page.locator('.recovery').waitFor()
  const { credentials } = await session.send('WebAuthn.getCredentials', { authenticatorId })
  assert.equal(credentials.length, 1)
  assert.equal(credentials[0].rpId, 'localhost')
  await page.locator('main a.button').click()
  await page.locator('button[name=remove_passkey]').waitFor()
  await assertAccessible(page, 'factors with a passkey')
  await screenshot(page, 'passkeys')

  // Usernameless: the button, or what the browser offers in the field, whichever the authenticator answers first.
  await context.clearCookies()
  await page.goto(authorize(client, '/callback'))
  const button = page.locator('button[data-passkey=get]')
  await Promise.race([page.locator(allow).waitFor(), button.click().then(() => page.locator(allow).waitFor())])
  assert.match(await page.locator('main').innerText(), /carol@example\.com/)
  await page.locator(allow).click()
  await page.locator('#app').waitFor()

  // As a second factor, after the password.
  await context.clearCookies()
  await session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false })
  await page.goto(authorize(client, '/callback'))
  await logIn(page, CAROL)
  await page.waitForURL(/second-factor/)
  await assertAccessible(page, 'second factor with a passkey')
  await screenshot(page, 'second-factor-passkey')
  await session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true })
  await page.locator('button[data-passkey=get]').click()
  await page.locator('#app').waitFor()
  assert.deepEqual(heard, [])
  await context.close()
})

/** A browser in which Dave's passkey lives: he makes it where the bank's app demands a second factor. */
async function davesPasskey() {
  const context = await browser.newContext({ locale: 'en-GB' })
  const page = await context.newPage()
  const { session, authenticatorId } = await authenticator(page)
  const answers = (enabled) => session.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled })
  const verifies = (isUserVerified) => session.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified })
  return { context, page, session, authenticatorId, answers, verifies, heard: complaints(page) }
}

test('a passkey: made where an app demands a second factor, offered with the username, and confirming in place of the password', async () => {
  const { context, page, session, authenticatorId, answers, verifies, heard } = await davesPasskey()
  await page.goto(authorize(strict, '/bank'))
  await logIn(page, DAVE)
  await page.locator('#secret').waitFor()
  await assertAccessible(page, 'enrol, with a passkey offered')
  await screenshot(page, 'enrol-demanded')
  // Whoever cancels reads why nothing happened, and can go on.
  await verifies(false)
  await page.locator('button[data-passkey=create]').click()
  await page.locator('.recovery, #passkey-failed:visible').first().waitFor()
  await verifies(true)
  if (await page.locator('#passkey-failed').isVisible()) await page.locator('button[data-passkey=create]').click()
  await page.locator('.recovery').waitFor()
  assert.equal((await page.locator('.recovery code').allInnerTexts()).length, 10)
  await page.locator('main a.button').click()
  await page.locator(allow).click()
  await page.locator('#app').waitFor()
  const { credentials } = await session.send('WebAuthn.getCredentials', { authenticatorId })
  assert.deepEqual(credentials.map(({ rpId, isResidentCredential }) => [rpId, isResidentCredential]), [['localhost', true]])

  // Conditional mediation: no name is typed and nothing is pressed; the browser offers the passkey with the username field.
  await context.clearCookies()
  await answers(false)
  await page.goto(authorize(client, '/callback'))
  await page.waitForFunction(() => document.querySelector('input[name=username]').autocomplete === 'username webauthn')
  await assertAccessible(page, 'login with passkeys')
  assert.ok(await page.locator('input[name=username]').isVisible(), 'nothing happens while the person does not choose it')
  // Chromium's virtual authenticator chooses it as soon as it is asked.
  await answers(true)
  await page.reload()
  await page.locator(allow).waitFor()
  assert.match(await page.locator('main').innerText(), /dave@example\.com/)
  await page.locator(allow).click()
  await page.locator('#app').waitFor()

  // A password is no way around it: the page for sensitive things takes the passkey in its place.
  await page.goto(`${server.issuer}/account/confirm?to=password`)
  await page.locator('button[data-passkey=get]').waitFor()
  await assertAccessible(page, 'confirm with a passkey')
  await screenshot(page, 'confirm-passkey')
  await page.locator('button[data-passkey=get]').click()
  await page.waitForURL(`${server.issuer}/account/password`)
  assert.ok(await page.locator('input[name=password]').isVisible())

  // Without a password: the passkey confirms, and a first password is set.
  server.forgetPassword(DAVE.username)
  await page.goto(`${server.issuer}/account`)
  await assertAccessible(page, 'account without a password')
  await screenshot(page, 'account-no-password')
  await page.goto(`${server.issuer}/account/confirm?to=password`)
  assert.equal(await page.locator('input[name=password]').count(), 0)
  await assertAccessible(page, 'confirm with nothing but a passkey')
  await screenshot(page, 'confirm-passkey-alone')
  await page.locator('button[data-passkey=get]').click()
  await page.waitForURL(`${server.issuer}/account/password`)
  assert.equal(await page.locator('input[name=password]').count(), 0)
  await assertAccessible(page, 'a first password')
  await screenshot(page, 'password-first')
  for (const field of ['new_password', 'new_password_again']) await page.locator(`#${field}`).fill('a brand-new passphrase')
  await page.locator('main form button.primary').click()
  await page.waitForURL(`${server.issuer}/account?done=password-changed`)
  await page.goto(`${server.issuer}/account/factors`)
  await assertAccessible(page, 'factors with a passkey and its browser')
  await screenshot(page, 'factors-passkey')
  assert.match(await page.locator('.passkeys').innerText(), /in Chrom/)
  assert.match(server.command('user', 'show', DAVE.username), /^passkey +added \S+ in Chrom.*, last used \S+$/m)
  assert.deepEqual(heard, [])

  // An authenticator that does not verify its person signs nobody in by itself.
  await context.clearCookies()
  await verifies(false)
  await page.goto(`${server.issuer}/login`)
  await page.waitForFunction(() => document.querySelector('input[name=username]').autocomplete === 'username webauthn')
  await page.waitForTimeout(500)
  assert.ok(page.url().startsWith(`${server.issuer}/login`) && (await page.locator('input[name=password]').isVisible()))
  await context.close()
})
