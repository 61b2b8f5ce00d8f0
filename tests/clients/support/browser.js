// Chromium, kept away from the network, and what every page must satisfy in it.

import assert from 'node:assert/strict'
import { mkdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const require = createRequire(import.meta.url)
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

/** `hosts` are names on port 443 that lead to a port of this machine. */
export function launch({ hosts = {} } = {}) {
  const rules = Object.entries(hosts).map(([name, port]) => `MAP ${name}:443 127.0.0.1:${port}`)
  return chromium.launch({
    executablePath: process.env.CHANCERY_TEST_CHROMIUM || '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      `--host-resolver-rules=${[...rules, 'MAP * ~NOTFOUND', 'EXCLUDE localhost', 'EXCLUDE 127.0.0.1'].join(', ')}`,
    ],
  })
}

const phone = { width: 360, height: 740 }
const desktop = { width: 1280, height: 800 }

/** Lets the page take on what was emulated: colours on their way between two schemes have no contrast to measure. */
function settled(page) {
  return page.evaluate(
    () =>
      new Promise((resolve) =>
        requestAnimationFrame(() =>
          requestAnimationFrame(() => {
            for (const animation of document.getAnimations()) animation.finish()
            resolve()
          }),
        ),
      ),
  )
}

/** WCAG 2.2 AA by axe-core, in light and dark, on a desktop and on a phone, where nothing may need sideways scrolling. */
export async function assertAccessible(page, name, more = ['best-practice']) {
  for (const colorScheme of ['light', 'dark']) {
    for (const viewport of [desktop, phone]) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize(viewport)
      await settled(page)
      const where = `${name}, ${colorScheme}, ${viewport.width} px`
      await page.evaluate(axe)
      const { violations, passes } = await page.evaluate(
        // eslint-disable-next-line no-undef
        (tags) => axe.run(document, { runOnly: tags }),
        ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', ...more],
      )
      const told = violations.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.map((node) => node.html).join('\n    ')}`)
      assert.deepEqual(told, [], where)
      assert.ok(passes.length > 5, `axe looked at nothing: ${where}`)
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
      assert.equal(wide, 0, `${where}: scrolls sideways by ${wide} px`)
    }
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize(desktop)
}

/** Pictures of the page, light and dark; into docs/screenshots with UPDATE_SCREENSHOTS=1, else into a work folder, as a phone shows it too. */
export async function screenshot(page, name) {
  const target = process.env.UPDATE_SCREENSHOTS === '1' ? '../../../docs/screenshots/' : '../../.work/screenshots/'
  const folder = fileURLToPath(new URL(target, import.meta.url))
  mkdirSync(folder, { recursive: true })
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize({ width: 900, height: 760 })
    await settled(page)
    const path = `${folder}${name}${colorScheme === 'dark' ? '-dark' : ''}`
    await page.screenshot({ path: `${path}.png`, animations: 'disabled', fullPage: true })
    if (process.env.UPDATE_SCREENSHOTS === '1') continue
    await page.setViewportSize({ width: 390, height: 844 })
    await settled(page)
    await page.screenshot({ path: `${path}-phone.png`, animations: 'disabled', fullPage: true })
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize(desktop)
}

/** Everything that the browser complained about: CSP violations, failed scripts, pages that threw. */
export function complaints(page) {
  const heard = []
  page.on('console', (message) => message.type() === 'error' && heard.push(message.text()))
  page.on('pageerror', (error) => heard.push(error.message))
  return heard
}

/** A web server for an app: `handle(request, response, body)`. Answers with its origin and a way to stop it. */
export async function serveApp(handle) {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const part of request.setEncoding('utf8')) body += part
    handle(request, response, body)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { origin: `http://127.0.0.1:${server.address().port}`, stop: () => new Promise((done) => { server.closeAllConnections(); server.close(done) }) }
}

/** Types what a person types on the login page. */
export async function logIn(page, { username, password }) {
  await page.locator('input[name=username]').fill(username)
  await page.locator('input[name=password]').fill(password)
  await page.locator('main form').first().locator('[type=submit], button:not([type=button])').first().click()
}
